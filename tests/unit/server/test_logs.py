"""One line an event, and nothing in it that should not be."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from chronos.server.logs import escape, set_up
from chronos.server.settings import Logging

KEY = "chr_live_" + "a" * 8 + "_" + "b" * 32 + "_" + "c" * 6


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(form: Any, level: Any = "info", **facts: Any) -> str:
    stream = io.StringIO()
    set_up(Logging(format=form, level=level), stream)
    structlog.get_logger("chronos.test").info("it\nhappened", **facts)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_control_characters_cannot_forge_a_line_or_move_the_cursor(form: str) -> None:
    text = written(form, job="a\r\nINFO forged\x1b[2J\u2028\x9b")

    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert not any(character in text for character in "\r\x1b\x9b\u2028")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "facts",
    [
        {"authorization": "canary"},
        {"api_key": "canary"},
        {"headers": {"X-Auth-Token": "canary"}},
        {"url": "http://a.example/?token=canary&b=1"},
        {"url": "http://user:canary@a.example/"},
        {"said": f"used {KEY} canary"[: -len(" canary")]},
    ],
)
def test_credentials_do_not_reach_the_log(form: str, facts: dict[str, Any]) -> None:
    text = written(form, **facts)

    assert "canary" not in text
    assert KEY not in text
    assert "***" in text


def test_json_lines_are_json_with_level_time_and_logger() -> None:
    line = json.loads(written("json", n=3))

    assert (line["event"], line["level"], line["logger"], line["n"]) == ("it\nhappened", "info", "chronos.test", 3)
    assert line["timestamp"].endswith("Z")


def test_what_is_below_the_level_is_not_written() -> None:
    assert written("json", "error") == ""


def test_a_traceback_stays_readable_as_text() -> None:
    stream = io.StringIO()
    set_up(Logging(format="text"), stream)
    try:
        raise ValueError("odd\x1bthing")
    except ValueError as exc:
        structlog.get_logger("chronos.test").error("failed", exc_info=exc)

    text = stream.getvalue()
    assert "ValueError: odd\\x1bthing" in text
    assert "\x1b" not in text


def test_libraries_speak_through_the_same_stream() -> None:
    stream = io.StringIO()
    set_up(Logging(format="json"), stream)
    logging.getLogger("somebody.else").warning("hello %s", "there")

    assert json.loads(stream.getvalue())["event"] == "hello there"


@pytest.mark.parametrize(
    ("text", "escaped"), [("a\tb", "a\\x09b"), ("\u2028", "\\u2028"), ("ä→", "ä→"), ("\x85", "\\x85")]
)
def test_what_is_escaped_is_shown(text: str, escaped: str) -> None:
    assert escape(text) == escaped
