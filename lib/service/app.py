"""The routes of the service. All of them answer by the one `Grader`, as the dashboard and the command line do."""

import base64
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import Response

from lib.errors import Stopped, UserError
from lib.evaluation.calibration import COVERAGES
from lib.explain.pictures import overlay, to_png
from lib.grading.grader import Grader
from lib.grading.grades import Grade, GradingOptions
from lib.grading.report import FORMAT_VERSION, to_json
from lib.grading.upload_session import expand_uploads, skipped_grades
from lib.service.answers import (
    BatchAnswer,
    GradeAnswer,
    ModelAnswer,
    State,
    form_of_files,
    responses,
)
from lib.service.door import Door, problem
from lib.service.grading_queue import GradingQueue
from lib.service.metrics import CONTENT_TYPE, ServiceMetrics
from lib.service.settings import ServiceSettings
from lib.service.uploads import read_files

PATHS = ("/grade", "/grade/batch", "/health", "/ready", "/metrics", "/model", "/openapi.json")
_CHOICES = ("coverage", "largest_set", "rotations", "by_thresholds", "prevalence", "map", "cases")
_WARM_UP_SIDE_PX = 64
_ALWAYS = (401, 429)
_UPLOADS = (*_ALWAYS, 408, 413, 415, 422)


def create_app(grader: Grader, settings: ServiceSettings) -> FastAPI:
    """The service of one classifier as an ASGI application."""
    notice, metrics = grader.header.notice, ServiceMetrics(PATHS)
    queue = GradingQueue(settings.max_waiting, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.warming = queue.submit(lambda: _warm_up(grader))
        yield
        queue.close()

    app = FastAPI(
        title="Transferscope", version=str(FORMAT_VERSION), lifespan=lifespan, docs_url=None, redoc_url=None,
        description=" ".join(["Grades images by one trained classifier.", notice]).strip(),
    )  # fmt: skip
    app.add_middleware(Door, settings=settings, metrics=metrics, notice=notice)
    _add_problem_handlers(app, notice)
    with_token: dict[str, Any] = {"dependencies": [Depends(HTTPBearer(auto_error=False, description="The token."))]}

    @app.get("/health", response_model=State)
    async def health() -> Response:
        """Whether the service is there, also while it grades."""
        return _json({"status": "ok", "notice": notice})

    @app.get("/ready", response_model=State, responses={503: {"model": State, "description": "It is starting."}})
    async def ready(request: Request) -> Response:
        """Whether the network is loaded and has answered once."""
        warming = getattr(request.app.state, "warming", None)
        is_ready = warming is not None and warming.done() and warming.exception() is None
        return _json({"status": "ready" if is_ready else "starting", "notice": notice}, 200 if is_ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=responses(*_ALWAYS), **with_token)
    async def metrics_text() -> Response:
        """Requests, images and seconds, for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/model", response_model=ModelAnswer, responses=responses(*_ALWAYS), **with_token)
    async def model() -> Response:
        """What is known of the classifier."""
        return _json(_facts(grader))

    @app.post(
        "/grade", response_model=GradeAnswer, responses=responses(*_UPLOADS),
        openapi_extra=form_of_files("file", is_list=False), **with_token,
    )  # fmt: skip
    async def grade(request: Request, asked: Annotated[GradingOptions, Depends(_options(grader))]) -> Response:
        """Grade one image; one that cannot be read is refused with the reason, which is an answer too."""
        chosen = grader.deciding(asked)
        with queue.place():
            (file,) = await read_files(
                request, "file", max_bytes=settings.max_image_request_bytes, max_files=1,
                timeout_s=settings.upload_timeout_s,
            )  # fmt: skip
            content = await queue.run(request, lambda go_on: _grade(chosen, [file], metrics, go_on))
        (image,) = content["images"]
        return _json(
            {"format_version": FORMAT_VERSION, "run": content["run"], "notice": content["notice"], "image": image}
        )

    @app.post(
        "/grade/batch", response_model=BatchAnswer, responses=responses(*_UPLOADS),
        openapi_extra=form_of_files("files", is_list=True), **with_token,
    )  # fmt: skip
    async def grade_batch(request: Request, asked: Annotated[GradingOptions, Depends(_options(grader))]) -> Response:
        """Grade many images, given as files or in zip archives; the answer has one entry a file, in their order."""
        chosen = grader.deciding(asked)
        with queue.place():
            files = await read_files(
                request, "files", max_bytes=settings.max_batch_request_bytes, max_files=settings.max_files,
                timeout_s=settings.upload_timeout_s,
            )  # fmt: skip
            content = await queue.run(request, lambda go_on: _grade(chosen, files, metrics, go_on, opening=settings))
        return _json(content)

    return app


def _grade(
    grader: Grader,
    files: list[tuple[str, bytes]],
    metrics: ServiceMetrics,
    go_on: Callable[[], None],
    *,
    opening: ServiceSettings | None = None,
) -> dict[str, Any]:
    """The report of these files as `grade --json` gives it, with maps where they were asked for.

    With `opening`, archives among them are opened within its limits.
    """
    items: Iterable[tuple[str, Path | bytes]] = files
    left_out: list[Grade] = []
    if opening is not None:
        expansion = expand_uploads(files, max_bytes=opening.max_batch_bytes)
        items, left_out = expansion.items, skipped_grades(expansion.skipped)
    grades: list[Grade] = []
    maps: list[str | None] = []
    for one in itertools.chain(grader.grade(items), left_out):
        go_on()
        maps.append(_map_png(one))
        grades.append(dataclasses.replace(one, pixels=None, cam=None))  # a batch of pictures would fill the memory
        metrics.count_image(one.status)
    content: dict[str, Any] = json.loads(to_json(grades, grader.header))
    if grader.options.with_maps:
        for entry, picture in zip(content["images"], maps, strict=True):
            entry["map_png"] = picture
    return content


def _map_png(grade: Grade) -> str | None:
    if grade.cam is None or grade.pixels is None:
        return None
    return base64.b64encode(to_png(overlay(grade.pixels, grade.cam))).decode()


def _warm_up(grader: Grader) -> None:
    """Start the decoders and let the network see something, so that the first person does not wait for that."""
    pixels = np.random.default_rng(0).integers(0, 256, (_WARM_UP_SIDE_PX, _WARM_UP_SIDE_PX, 3), dtype=np.uint8)
    for _ in grader.grade([("", to_png(pixels))] * 4):
        pass


def _facts(grader: Grader) -> dict[str, Any]:
    header = grader.header
    said = {
        "result_sentence": header.result_sentence,
        "gate_sentence": header.gate_sentence,
        "confidence_meaning": header.confidence_sentence,
        "seen_sentence": header.seen_sentence,
        "why_no_map": grader.why_no_cam,
    }
    facts = {"has_maps": grader.has_cam, "has_gate": grader.gate is not None, "is_ordinal": grader.is_ordinal}
    return {**dataclasses.asdict(header), "notice": header.notice, "rule": header.rule, **facts, **said}


def _options(grader: Grader) -> Callable[..., GradingOptions]:
    """The choices of a request as its query parameters; what is not said is as the service was started."""
    usual, most = grader.options, len(grader.class_names)

    def read(
        request: Request,
        *,
        coverage: Annotated[
            float,
            Query(
                ge=COVERAGES[0],
                le=COVERAGES[-1],
                description="How often the set of classes is to hold the right one (with folds: or more).",
            ),
        ] = usual.coverage,
        largest_set: Annotated[
            int | None, Query(ge=1, le=most, description="With more classes left than this, none is given.")
        ] = usual.largest_set,
        rotations: Annotated[
            bool, Query(description="The mean over rotations by 0, 90, 180 and 270 degrees.")
        ] = usual.rotations,
        by_thresholds: Annotated[
            bool, Query(description="The class that the expected grade reaches; for ordered classes.")
        ] = usual.by_thresholds,
        prevalence: Annotated[
            float | None, Query(gt=0, lt=1, description="Share of referable images, for PPV and NPV.")
        ] = usual.prevalence,
        with_map: Annotated[
            bool, Query(alias="map", description="Whether each graded image comes with its map.")
        ] = usual.with_maps,
        cases: Annotated[
            int, Query(ge=0, le=10, description="How many of the nearest training images are told.")
        ] = usual.num_cases,
    ) -> GradingOptions:
        if unknown := [name for name in request.query_params if name not in _CHOICES]:
            raise UserError(f"There is no parameter {unknown[0][:60]!r}; there are {', '.join(_CHOICES)}.")
        return GradingOptions(
            coverage=coverage, largest_set=largest_set, rotations=rotations, by_thresholds=by_thresholds,
            prevalence=prevalence, with_maps=with_map, num_cases=cases,
        )  # fmt: skip

    return read


def _json(content: Any, status: int = 200) -> Response:
    # ASCII: the name of a file may hold what no encoding can write.
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def _add_problem_handlers(app: FastAPI, notice: str) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, StarletteHTTPException):
            known = {
                404: f"There is no such path; there are {', '.join(PATHS)}.",
                405: "This path takes another method.",
            }
            return problem(error.status_code, known.get(error.status_code, str(error.detail)), notice, error.headers)
        if isinstance(error, RequestValidationError):
            return problem(422, _first_mistake(error), notice)
        return problem(422, str(error), notice)

    async def stopped(_: Request, error: Exception) -> Response:
        return problem(408, "The grading was ended before it was done.", notice)

    for kind in (StarletteHTTPException, RequestValidationError, UserError):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(Stopped, stopped)


def _first_mistake(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where, received = first["loc"][-1], repr(first.get("input"))[:60]
    message = str(first["msg"])
    return f"The parameter {where!r} is wrong: {message[:1].lower()}{message[1:]}; received {received}."
