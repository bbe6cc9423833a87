"""Sessions behind tokens: found again for half an hour, apart from each other, gone after Clear."""

import threading

import pytest

from lib.grading import session_store
from lib.grading.session_store import KEEP_S, UNDO_S, SessionStore


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return SessionStore(clock=clock)


def test_a_token_finds_its_session_for_half_an_hour_after_its_last_use(store, clock):
    token, session = store.begin()
    session.add([("a.png", b"a")])
    for _ in range(3):
        clock.now += KEEP_S - 1
        assert store.find(token) is session
    clock.now += KEEP_S
    assert store.find(token) is None
    assert len(session) == 0  # whoever still holds it holds no image


def test_two_sessions_never_see_each_other(store):
    (first, one), (second, two) = store.begin(), store.begin()
    one.add([("one.png", b"1")])
    two.add([("two.png", b"2")])
    assert [file.name for file in store.find(first).files] == ["one.png"]
    assert [file.name for file in store.find(second).files] == ["two.png"]
    store.end(first)
    assert store.find(first) is None
    assert len(store.find(second)) == 1


def test_tokens_cannot_be_guessed(store):
    tokens = [store.begin()[0] for _ in range(50)]
    assert len(set(tokens)) == 50
    assert min(map(len, tokens)) >= 32  # 192 bits, 6 a character
    token = tokens[0]
    for guess in (
        None,
        "",
        token[:-1],
        token + "a",
        token.swapcase(),
        f" {token}",
        "0" * 32,
        "\udcff",
        *store._entries,
    ):
        assert store.find(guess) is None
    assert token not in repr(store.__dict__)  # digests alone


def test_all_sessions_together_are_bounded(store, monkeypatch):
    monkeypatch.setattr(session_store, "MAX_ALL_BYTES", 10)
    (_, one), (token, two) = store.begin(), store.begin()
    one.add([("a.png", b"a" * 8)])
    two.add([("b.png", b"b" * 3), ("c.png", b"cc")])
    assert [file.name for file in two.files] == ["c.png"]
    assert len(one) == 1  # nobody's images go because somebody else brings some
    store.end(token)
    one.add([("d.png", b"dd")])
    assert len(one.files) == 2


def test_of_too_many_sessions_the_one_unused_for_longest_ends(store, clock, monkeypatch):
    monkeypatch.setattr(session_store, "MAX_SESSIONS", 2)
    (first, _), (second, _) = store.begin(), store.begin()
    clock.now += 1
    store.find(first)
    third, _ = store.begin()
    assert [store.find(token) is not None for token in (first, second, third)] == [True, False, True]


def test_sessions_end_in_time_on_a_server_that_nobody_visits(clock):
    store = SessionStore(clock=clock)
    _, session = store.begin()
    session.add([("a.png", b"a")])
    clock.now += KEEP_S
    store._timer.cancel()
    store._timer.function()  # what it does when its time has come
    assert len(session) == 0
    assert store._timer is None  # until somebody comes


def test_sessions_that_are_filled_and_cleared_at_once_never_wait_for_each_other(store):
    (first, one), (second, two) = store.begin(), store.begin()

    def work(session):
        for number in range(200):
            session.add([(f"{number}.png", bytes([number]) * 10)])

    threads = [threading.Thread(target=work, args=(session,), daemon=True) for session in (one, two)]
    threads += [threading.Thread(target=lambda: [store.find(token) for token in (first, second) * 100], daemon=True)]
    for thread in threads:
        thread.start()
    store.end(second)
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_cleared_session_comes_back_for_five_minutes_and_nobody_finds_it_meanwhile(store, clock, monkeypatch):
    trimmed = []
    monkeypatch.setattr(session_store, "trim_memory", lambda: trimmed.append(1))
    token, session = store.begin()
    session.add([("a.png", b"a")])
    store.put_aside(token)
    store.put_aside(token)
    assert store.find(token) is None
    assert store._room() == session_store.MAX_ALL_BYTES - 1  # it still counts
    clock.now += UNDO_S - 1
    assert store.restore(token)
    assert store.find(token) is session
    assert len(session) == 1
    store.put_aside(token)
    clock.now += UNDO_S
    assert not store.restore(token)
    assert (len(session), trimmed) == (0, [1])  # in place: whoever still holds it holds no image
    store.put_aside(None)
