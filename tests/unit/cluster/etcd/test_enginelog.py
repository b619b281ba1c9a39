"""What the engine says becomes lines of ours, whatever comes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from chronos.cluster.etcd.enginelog import GRAVE_KEPT, LINE_BYTES_MAX, TOLD_IN_S, TOLD_MAX, EngineLog, Line, parse
from chronos.testing.virtual_time import VirtualClock

WARNING = b'{"level":"warn","ts":"2026-11-21T21:41:32.5Z","caller":"a/b.go:1","msg":"slow fdatasync","took":"1.2s"}\n'


def output(*pieces: bytes) -> tuple[EngineLog, list[Any]]:
    engine = EngineLog(VirtualClock())
    with capture_logs() as told:
        for piece in pieces:
            engine.feed(piece)
        engine.end()
    return engine, list(told)


def test_a_line_of_the_engine_is_a_line_of_ours() -> None:
    _, [line] = output(WARNING)
    assert line["log_level"] == "warning"
    assert (line["event"], line["says"], line["engine_took"]) == ("engine_said", "slow fdatasync", "1.2s")
    assert "engine_caller" not in line


def test_a_fatal_line_is_an_error_and_is_kept() -> None:
    engine, [line] = output(b'{"level":"fatal","msg":"discovery failed","error":"no"}\n')
    assert line["log_level"] == "error"
    assert engine.grave == [Line("fatal", "discovery failed", {"error": "no"})]
    assert str(engine.grave[0]) == "discovery failed (error=no)"


def test_where_the_bytes_are_cut_makes_no_difference() -> None:
    whole, _ = output(WARNING * 3)
    parts, _ = output(*(bytes([byte]) for byte in WARNING * 3))
    assert whole.grave == parts.grave
    assert len(whole.grave) == 3


def test_the_last_line_needs_no_end() -> None:
    engine, _ = output(b"panic: runtime error")
    assert engine.grave == [Line("plain", "panic: runtime error", {})]


def test_of_a_panic_the_beginning_is_kept() -> None:
    engine, _ = output(b"panic: first\n" + b"goroutine\n" * 500)
    assert engine.grave[0].message == "panic: first"
    assert len(engine.grave) == GRAVE_KEPT


def test_a_new_run_begins_with_nothing() -> None:
    engine, _ = output(WARNING)
    engine.begin()
    assert engine.grave == []


def test_what_is_said_at_every_start_is_not_passed_on() -> None:
    _, told = output(b'{"level":"warn","msg":"simple token is not cryptographically signed"}\n')
    assert told == []


def test_what_an_engine_says_of_its_own_end_is_not_passed_on() -> None:
    engine = EngineLog(VirtualClock())
    engine.is_ending = True
    with capture_logs() as told:
        engine.feed(WARNING)
        engine.begin()
        engine.feed(WARNING)
    assert [line["log_level"] for line in told] == ["debug", "warning"]


def test_an_engine_that_complains_without_end_does_not_fill_our_log() -> None:
    clock = VirtualClock()
    engine = EngineLog(clock)
    with capture_logs() as told:
        engine.feed(WARNING * 1_000)
        assert len(told) == TOLD_MAX
        clock.advance(TOLD_IN_S)
        engine.feed(WARNING)
    assert told[TOLD_MAX]["lines"] == 1_000 - TOLD_MAX
    assert told[TOLD_MAX]["event"] == "engine_lines_left_out"
    assert len(told) == TOLD_MAX + 2


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_nothing_that_comes_does_harm(pieces: list[bytes]) -> None:
    engine, _ = output(*pieces)
    assert len(engine.grave) <= 2 * GRAVE_KEPT


def test_a_line_without_end_costs_no_more_than_a_long_one() -> None:
    engine = EngineLog(VirtualClock())
    with capture_logs():
        for _ in range(50):
            engine.feed(b"x" * LINE_BYTES_MAX)
        engine.end()
    assert len(engine.grave[0].message) <= LINE_BYTES_MAX


def test_a_line_of_json_that_is_no_line_of_the_log_is_plain() -> None:
    assert parse(b'["level"]').level == "plain"
    assert parse(b'{"level": "warn"}').level == "plain"
    assert parse(b'{"level": "WARN", "msg": 3, "more": {"a": [1]}}') == Line("warn", "3", {"more": '{"a":[1]}'})
