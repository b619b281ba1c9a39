"""The server's log: JSON or text, one line an event, no control characters, no credentials."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog

from chronos.model.secret import STARS
from chronos.server.settings import Logging

Event = MutableMapping[str, Any]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SENSITIVE = re.compile(r"(?i)(authorization|cookie|password|secret|token|api_?key|pepper|signing)")
_KEY_SHAPED = re.compile(r"chr_[a-z0-9]+_[A-Za-z0-9]{8}_[A-Za-z0-9]{32}_[A-Za-z0-9]{6}")
_IN_URL = re.compile(r"(?i)([?&](?:api_?key|token|secret|password)=)[^&\s]+|(://)[^/\s:@]+:[^/\s@]+@")
_TEXT_MAX = 16_384


def set_up(settings: Logging, stream: TextIO | None = None) -> None:
    """Send every log line of the process to one stream, in one format. May be called again."""
    stream = stream or (sys.stdout if settings.output == "stdout" else sys.stderr)
    level = logging.getLevelName({"warn": "WARNING"}.get(settings.level, settings.level.upper()))
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings, stream)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for quiet in ("uvicorn.access", "uvicorn.error", "httpx2", "asyncio"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Put stars in place of credentials, and escapes in place of control characters."""
    for name, value in event.items():
        event[name] = STARS if _SENSITIVE.search(name) and value else _clean(value)
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        value = _KEY_SHAPED.sub("chr_" + STARS, value[:_TEXT_MAX])
        return _IN_URL.sub(lambda m: f"{m[1] or m[2]}{STARS}" + ("@" if m[2] else ""), value)
    if isinstance(value, dict):
        return {k: STARS if _SENSITIVE.search(str(k)) and v else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def escape(text: str) -> str:
    """Return `text` on one line: control characters as `\\xNN` or `\\uNNNN`."""
    return _CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}" if ord(m[0]) > 0xFF else f"\\x{ord(m[0]):02x}", text)


def _renderers(settings: Logging, stream: TextIO) -> list[Callable[..., Any]]:
    text = settings.format in ("text", "console") or (settings.format == "auto" and stream.isatty())
    if text:
        return [_text]
    return [structlog.processors.JSONRenderer(ensure_ascii=True)]


def _text(_logger: Any, _method: str, event: Event) -> str:
    time, level = event.pop("timestamp", ""), event.pop("level", "")
    event.pop("logger", None)
    trace = event.pop("exception", "")
    what = escape(str(event.pop("event", "")))
    facts = " ".join(f"{escape(name)}={_quoted(value)}" for name, value in event.items())
    line = f"{time[:23]}Z {level.upper():<7} {what:<32} {facts}".rstrip()
    # A traceback is ours and meant to be read; its own control characters are still not the terminal's.
    return line + "".join(f"\n    {escape(part)}" for part in str(trace).splitlines())


def _quoted(value: Any) -> str:
    text = escape(str(value))
    return f'"{text}"' if " " in text or not text else text
