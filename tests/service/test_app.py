"""The service answers as the grader does, and says in one sentence what it does not do."""

import asyncio
import base64
import hashlib
import io
import json
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from lib.grading.grades import MEDICAL_NOTICE
from lib.grading.report import image_entry
from lib.service import grading_queue
from tests.grading.squares import png
from tests.service.conftest import TOKEN, until_ready


def sentence(answer, status):
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert content["notice"] == MEDICAL_NOTICE
    assert content["detail"].endswith(".")
    assert "\n" not in content["detail"]
    return content["detail"]


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def test_an_image_gets_what_the_grader_says(service, grader):
    answer = service().post("/grade", files={"file": ("eye.png", png("red", 3))})
    assert answer.status_code == 200
    (expected,) = map(image_entry, grader.grade([("eye.png", png("red", 3))]))
    found = answer.json()["image"]
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    assert found.keys() == expected.keys()
    assert found["sha256"] == hashlib.sha256(png("red", 3)).hexdigest()
    assert (found["class_name"], found["status"], answer.json()["notice"]) == ("red", "graded", MEDICAL_NOTICE)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_a_map_comes_only_where_it_is_asked_for(service):
    client = service()
    answer = client.post("/grade?map=true", files={"file": ("eye.png", png("red", 3))}).json()["image"]
    picture = Image.open(io.BytesIO(base64.b64decode(answer["map_png"])))
    assert (picture.format, picture.size) == ("PNG", (32, 32))
    assert "map_png" not in client.post("/grade", files={"file": ("eye.png", png("red", 3))}).json()["image"]
    foreign = client.post("/grade?map=true", files={"file": ("no.png", b"words")}).json()["image"]
    assert (foreign["status"], foreign["map_png"]) == ("refused", None)


def test_broken_files_and_archives_keep_their_place(service):
    uploads = [
        ("files", ("first.png", png("red", 3))),
        ("files", ("broken.jpg", b"\xff\xd8\xff nothing more")),
        ("files", ("more.zip", archive(**{"scan 10:30.jpg": png("blue", 4), "notes.txt": b"words"}))),
        ("files", ("empty.png", b"")),
    ]
    content = service().post("/grade/batch", files=uploads).json()
    assert [(one["name"], one["status"]) for one in content["images"]] == [
        ("first.png", "graded"), ("broken.jpg", "refused"), ("more.zip/scan 10:30.jpg", "graded"),
        ("more.zip/notes.txt", "refused"), ("empty.png", "refused"),
    ]  # fmt: skip
    assert all(one["reason"] for one in content["images"])
    assert (content["counts"]["graded"], content["counts"]["refused"]) == (2, 3)


def test_an_archive_is_no_image(service):
    found = service().post("/grade", files={"file": ("a.zip", archive(a=png("red")))}).json()["image"]
    assert found["status"] == "refused"
    assert found["reason"].startswith("The file is a zip archive")


@pytest.mark.parametrize("path", ["/grade", "/grade/batch", "/model", "/metrics", "/openapi.json", "/nothing"])
def test_nothing_is_said_without_the_token(service, path):
    client = service()
    for header in ("", "Bearer", "Bearer wrong", "Basic a-token-of-the-tests", "Bearer a-token-of-the-tests2"):
        answer = client.request("POST" if "grade" in path else "GET", path, headers={"Authorization": header})
        assert "Authorization: Bearer TOKEN" in sentence(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/health", headers={"Authorization": ""}).status_code == 200


def test_too_much_is_refused_before_it_is_read(service):
    client, sent = service(max_file_bytes=1000), []

    def pieces():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for number in range(100):
            sent.append(number)
            yield bytes(2**16)

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert "66,536 bytes" in sentence(client.post("/grade", content=pieces(), headers=kind), 413)  # without a length
    announced = client.post("/grade", files={"file": ("a.png", bytes(70_000))})
    assert "66,536 bytes" in sentence(announced, 413)
    assert client.post("/grade", files={"file": ("a.png", png("red"))}).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_again(service):
    client = service(requests_per_minute=2)
    assert [client.get("/model").status_code for _ in range(2)] == [200, 200]
    answer = client.get("/model")
    assert "try again in" in sentence(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("coverage=2", "'coverage'"), ("coverage=0.995", "'coverage'"), ("coverage=nan", "'coverage'"),
        ("map=perhaps", "'map'"),
        ("prevalence=0", "'prevalence'"), ("largest_set=9", "'largest_set'"),
        ("by_thresholds=true", "no limits of the expected grade"), ("coverag=0.8", "no parameter 'coverag'"),
    ],
)  # fmt: skip
def test_wrong_choices_are_explained(service, query, said):
    assert said in sentence(service().post(f"/grade?{query}", files={"file": ("a.png", png("red"))}), 422)


def test_wrong_forms_are_explained(service):
    client = service(max_files=2)
    assert "'file'" in sentence(client.post("/grade", content=b"{}"), 415)
    assert "'file'" in sentence(client.post("/grade", files={"image": ("a.png", png("red"))}), 422)
    two = [("file", ("a.png", png("red"))), ("file", ("b.png", png("red")))]
    assert "At most 1 file" in sentence(client.post("/grade", files=two), 422)
    assert "At most 2 files" in sentence(client.post("/grade/batch", files=[("files", ("a", b"a"))] * 3), 422)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert "no part 'file'" in sentence(client.post("/grade", content=b"--b--\r\n", headers=kind), 422)
    assert "damaged" in sentence(client.post("/grade", content=b"nothing", headers=kind), 422)
    assert "no such path" in sentence(client.get("/other"), 404)
    assert "another method" in sentence(client.get("/grade"), 405)


def test_metrics_count_requests_and_images(service):
    client = service()
    client.post("/grade", files={"file": ("a.png", png("red"))})
    client.post("/grade", files={"file": ("secret name.png", b"words")})
    client.get("/grade", headers={"Authorization": ""})
    client.get("/a/path/of/strangers")
    text = client.get("/metrics").text
    assert 'transferscope_images_total{status="graded"} 1.0' in text
    assert 'transferscope_images_total{status="refused"} 1.0' in text
    assert 'transferscope_requests_total{path="/grade",status="200"} 2.0' in text
    assert 'transferscope_requests_turned_away_total{status="401"} 1.0' in text
    assert 'transferscope_request_seconds_count{path="other"} 1.0' in text
    assert "secret" not in text
    assert "strangers" not in text


def test_the_model_says_what_it_is(service):
    facts = service().get("/model").json()
    assert (facts["class_names"], facts["has_gate"], facts["notice"]) == (["red", "blue"], True, MEDICAL_NOTICE)


class SlowGrader:
    """Waits until it is let go."""

    def __init__(self, grader):
        self._grader, self.go, self.began = grader, threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self._grader, name)

    def deciding(self, options):
        return self

    def grade(self, items, **options):
        self.began.set()
        assert self.go.wait(30)
        yield from self._grader.grade(items)


def test_it_is_ready_when_the_network_has_answered_once(service, grader):
    slow = SlowGrader(grader)
    client = service(answering=slow)
    assert (client.get("/ready").status_code, client.get("/ready").json()["status"]) == (503, "starting")
    assert client.get("/health").json()["status"] == "ok"
    slow.go.set()
    until_ready(client)


def test_health_answers_while_the_queue_is_full(service, grader):
    slow = SlowGrader(grader)
    client = service(answering=slow, max_waiting=1)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(client.post("/grade", files={"file": ("a.png", png("red"))}))
    )
    asking.start()
    deadline = time.monotonic() + 30
    while "transferscope_waiting 1.0" not in client.get("/metrics").text:
        assert time.monotonic() < deadline
    full = client.post("/grade", files={"file": ("b.png", png("red"))})
    assert "1 gradings to do" in sentence(full, 429)
    assert int(full.headers["retry-after"]) >= 1
    assert client.get("/health").status_code == 200
    slow.go.set()
    asking.join(30)
    assert answers[0].status_code == 200
    assert client.post("/grade", files={"file": ("b.png", png("red"))}).status_code == 200


class FailingGrader(SlowGrader):
    def grade(self, items, **options):
        if next(iter(items))[0]:
            raise RuntimeError("a secret of the inside")
        return iter(())


def test_a_fault_of_ours_is_one_sentence_and_the_service_goes_on(service, grader):
    client = service(answering=FailingGrader(grader))
    answer = client.post("/grade", files={"file": ("a.png", png("red"))})
    assert "secret" not in sentence(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/health").status_code == 200


BOUNDARY = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


async def ask(app, receive):
    """One request as a server hands it to the application; `receive` gives its parts. Status and sentence."""
    sent = []

    async def send(message):
        sent.append(message)

    kind = b"multipart/form-data; boundary=x"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/grade",
        "raw_path": b"/grade", "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "headers": [(b"authorization", f"Bearer {TOKEN}".encode()),
                                                 (b"content-type", kind)],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])["detail"]


def test_a_request_that_does_not_arrive_in_time_is_ended(service):
    client = service(upload_timeout_s=0.2)
    parts = [{"type": "http.request", "body": BOUNDARY, "more_body": True}]

    async def receive():
        if parts:
            return parts.pop()
        return await asyncio.Future()  # the rest never comes

    status, said = asyncio.run(ask(client.app, receive))
    assert (status, said) == (408, "The request took longer than 0.2 s to arrive.")
    assert client.post("/grade", files={"file": ("b.png", png("red"))}).status_code == 200


def test_what_nobody_waits_for_any_more_is_not_graded(service, grader, monkeypatch):
    monkeypatch.setattr(grading_queue, "_LISTEN_S", 0.05)
    slow, whole = SlowGrader(grader), BOUNDARY + png("red") + b"\r\n--x--\r\n"
    slow.go.set()
    client = service(answering=slow)
    until_ready(client)
    slow.go.clear()
    parts = [{"type": "http.disconnect"}, {"type": "http.request", "body": whole, "more_body": False}]
    left = threading.Timer(0.5, slow.go.set)

    async def receive():
        return parts.pop() if len(parts) > 1 else parts[0]

    left.start()
    status, said = asyncio.run(ask(client.app, receive))
    assert (status, said) == (408, "The grading was ended before it was done.")  # nobody reads it
    assert "transferscope_waiting 0.0" in client.get("/metrics").text
    assert 'status="graded"' not in client.get("/metrics").text
    assert client.post("/grade", files={"file": ("b.png", png("red"))}).status_code == 200


def test_names_of_any_letters_come_back(service):
    name = "Auge \u00e4\u6f22.png"
    assert service().post("/grade", files={"file": (name, png("red"))}).json()["image"]["name"] == name


def test_rotations_are_those_of_the_grader(service, grader):
    from dataclasses import replace

    answer = service().post("/grade?rotations=true", files={"file": ("a.png", png("red"))}).json()["image"]
    turning = grader.deciding(replace(grader.options, rotations=True))
    (expected,) = turning.grade([("a.png", png("red"))])
    assert np.allclose(list(answer["probabilities"].values()), list(expected.probabilities.values()), atol=1e-6)
    json.dumps(answer, allow_nan=False)
