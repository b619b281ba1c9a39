"""Spans leave in the background, within bounds, whatever the collector does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.exporting import (
    BATCH_MAX,
    QUEUE_MAX,
    TRIES_MAX,
    Answer,
    Collector,
    Exporter,
    post_to,
    read_answer,
)

LATE_S = 30.0


def joined(spans: Sequence[bytes]) -> bytes:
    return b" ".join(spans)


class Recorder:
    """A collector that answers as it is told, and the last answer for ever after."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [Answer()]
        self.got: list[list[bytes]] = []
        self.asked = threading.Semaphore(0)

    def __call__(self, body: bytes) -> Answer:
        self.got.append(body.split())
        self.asked.release()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def test_every_span_arrives_once_and_in_order_in_batches_that_are_bounded() -> None:
    collector, spans = Recorder(), [str(number).encode() for number in range(2_000)]
    exporter = Exporter(joined, collector)
    for span in spans:
        exporter.add(span)
    exporter.close()
    exporter.close()
    assert [span for batch in collector.got for span in batch] == spans
    assert max(len(batch) for batch in collector.got) <= BATCH_MAX
    assert exporter.lost == (0, "")


def test_without_spans_nothing_is_sent() -> None:
    collector = Recorder()
    Exporter(joined, collector).close()
    assert collector.got == []


def test_while_a_collector_hangs_so_many_spans_wait_and_the_rest_is_lost_and_counted() -> None:
    began, released = threading.Event(), threading.Event()

    def hang(body: bytes) -> Answer:
        began.set()
        assert released.wait(LATE_S)
        return Answer()

    exporter = Exporter(joined, hang, last_s=LATE_S)
    for _ in range(BATCH_MAX):
        exporter.add(b"x")
    assert began.wait(LATE_S)
    for _ in range(QUEUE_MAX + 100):
        exporter.add(b"x")
    released.set()
    exporter.close()
    assert exporter.lost == (100, "more came than could be sent")


def test_a_collector_that_never_answers_does_not_keep_us_from_ending() -> None:
    released = threading.Event()
    exporter = Exporter(joined, lambda _: Answer() if released.wait(LATE_S) else Answer("late"), last_s=0.01)
    exporter.add(b"x")
    exporter.close()
    assert exporter.lost == (1, "no answer")
    released.set()


def test_what_may_pass_is_tried_again_and_arrives() -> None:
    collector = Recorder(Answer("HTTP 503", again=True), Answer("refused", again=True), Answer())
    exporter = Exporter(joined, collector, gather_s=0.0, pause_s=0.0)
    exporter.add(b"x")
    for _ in range(3):
        assert collector.asked.acquire(timeout=LATE_S)
    exporter.close()
    assert collector.got == [[b"x"]] * 3
    assert exporter.lost == (0, "")


def test_nothing_is_tried_for_ever() -> None:
    collector = Recorder(Answer("HTTP 503", again=True))
    exporter = Exporter(joined, collector, gather_s=0.0, pause_s=0.0)
    exporter.add(b"x")
    for _ in range(TRIES_MAX):
        assert collector.asked.acquire(timeout=LATE_S)
    exporter.close()
    assert collector.got == [[b"x"]] * TRIES_MAX
    assert exporter.lost == (1, "HTTP 503")


def test_the_end_does_not_wait_for_a_pause_but_tries_once_more() -> None:
    collector = Recorder(Answer("HTTP 503", again=True, after_s=3600.0), Answer())
    exporter = Exporter(joined, collector, gather_s=0.0, last_s=LATE_S)
    exporter.add(b"x")
    assert collector.asked.acquire(timeout=LATE_S)
    exporter.close()
    assert len(collector.got) == 2
    assert exporter.lost == (0, "")


def test_what_cannot_pass_is_not_tried_again_and_what_comes_after_is() -> None:
    collector = Recorder(Answer("HTTP 400"), Answer())
    exporter = Exporter(joined, collector)
    for _ in range(BATCH_MAX):
        exporter.add(b"x")
    assert collector.asked.acquire(timeout=LATE_S)
    exporter.add(b"y")
    exporter.close()
    assert collector.got == [[b"x"] * BATCH_MAX, [b"y"]]
    assert exporter.lost == (BATCH_MAX, "HTTP 400")


@given(st.lists(st.integers(1, 1_500), max_size=3))
def test_added_is_arrived_and_lost(rounds: list[int]) -> None:
    arrived = 0

    def choosy(body: bytes) -> Answer:
        nonlocal arrived
        count = len(body.split())
        refused = min(3, count)
        arrived += count - refused
        return Answer("the collector refused some", refused=refused)

    exporter = Exporter(joined, choosy)
    for count in rounds:
        for _ in range(count):
            exporter.add(b"x")
    exporter.close()
    assert exporter.lost[0] + arrived == sum(rounds)


@pytest.mark.parametrize(
    ("status", "retry_after", "said", "answer"),
    [
        (200, "", b"", Answer()),
        (200, "", b"{}", Answer()),
        (202, "", b"ok", Answer()),
        (200, "", b"[" * 60_000, Answer()),
        (200, "", b'{"partialSuccess": {"rejectedSpans": "3"}}', Answer("the collector refused 3", refused=3)),
        (200, "", b'{"partialSuccess": {"rejectedSpans": -3}}', Answer()),
        (200, "", b'{"partialSuccess": null}', Answer()),
        (301, "", b"", Answer("HTTP 301")),
        (400, "5", b"", Answer("HTTP 400", after_s=5.0)),
        (429, "5", b"", Answer("HTTP 429", again=True, after_s=5.0)),
        (503, "Fri, 31 Dec 2027 23:59:59 GMT", b"", Answer("HTTP 503", again=True)),
        (503, "9" * 400, b"", Answer("HTTP 503", again=True)),
    ],
)
def test_an_answer_is_read_as_otlp_says(status: int, retry_after: str, said: bytes, answer: Answer) -> None:
    assert read_answer(status, retry_after, said) == answer


def answered(say: Callable[[socket.socket], None], *, timeout_s: float = LATE_S) -> Answer:
    """Return what a request comes to when `say` is what answers it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:
        listener.settimeout(LATE_S)

        def once() -> None:
            connection, _ = listener.accept()
            connection.settimeout(LATE_S)
            with connection:
                heard = b""
                while not heard.endswith(b"{}"):
                    heard += connection.recv(65_536)
                say(connection)

        done = threads.submit(once)
        answer = post_to(Collector("127.0.0.1", listener.getsockname()[1], "/v1/traces"), timeout_s)(b"{}")
        done.result(LATE_S)
        return answer


def test_whatever_answers_is_an_answer() -> None:
    assert answered(lambda it: it.close()).again
    assert "garbage" in answered(lambda it: it.sendall(b"garbage\r\n\r\n")).error
    assert answered(lambda it: it.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")) == Answer()
    assert answered(lambda it: it.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")) == Answer()


def test_a_collector_that_is_silent_is_given_up() -> None:
    released = threading.Event()

    def silent(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass
        released.set()

    assert answered(silent, timeout_s=0.05) == Answer("timed out", again=True)
    assert released.is_set()


def test_where_nobody_listens_the_error_says_so() -> None:
    assert post_to(Collector("127.0.0.1", 1, "/v1/traces"))(b"") == Answer("Connection refused", again=True)
