"""`{{.JobID}}` and its four brothers: names replaced by values, and nothing else.

No logic, no attributes, no recursion: whatever is not `{{.Name}}` stays as it is written. One pass of one
regular expression without ambiguity, so the time is linear in the text.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

from chronos.dispatch.port import Delivery
from chronos.errors import JobInvalid
from chronos.timing.clock import utc

EXPANSION_BYTES_MAX = 64 * 1024
"""How much longer than its template a text may become."""

# The most a value can take, percent-encoded: job names are ASCII, at most 200 characters.
VALUE_CHARS_MAX = {"JobID": 64, "JobName": 600, "ExecutionID": 64, "ScheduledTime": 32, "Attempt": 10}

_PLACE = re.compile(r"\{\{[ \t]{0,8}\.([A-Za-z_][A-Za-z0-9_]{0,63})[ \t]{0,8}\}\}")

Escape = Callable[[str], str]


class TemplateFailed(Exception):
    """A template that cannot be filled in; the message says why."""


def has_templates(*texts: str) -> bool:
    """Whether any of `texts` may have something to fill in."""
    return any("{{" in text for text in texts)


def values_of(delivery: Delivery) -> dict[str, str]:
    """Return what the variables stand for in this delivery."""
    return {
        "JobID": delivery.job_id,
        "JobName": delivery.job_name,
        "ExecutionID": delivery.execution_id,
        "ScheduledTime": rfc3339(delivery.scheduled_s),
        "Attempt": str(delivery.attempt),
    }


@lru_cache(256)  # what is due at the same time is many, and says it several times
def rfc3339(seconds: int) -> str:
    """Return `seconds` since the epoch as `2027-01-01T09:00:00Z`."""
    return utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def raw(value: str) -> str:
    return value


def in_json(value: str) -> str:
    """Escape for the inside of a JSON string."""
    return json.dumps(value)[1:-1]


def in_url(value: str) -> str:
    """Escape for any part of a URL."""
    return quote(value, safe="")


def in_header(value: str) -> str:
    """Escape for a header: what could end the line is percent-encoded."""
    return "".join(c if " " <= c <= "~" else quote(c) for c in value)


def fill(text: str, values: Mapping[str, str], escape: Escape = raw) -> str:
    """Return `text` with every `{{.Name}}` replaced by its escaped value. Values are not looked at again.

    Raises:
        TemplateFailed: A name is unknown, or the result is more than 64 KiB longer than the template.
    """
    if "{{" not in text:
        return text

    def value(place: re.Match[str]) -> str:
        if place[1] not in values:
            raise TemplateFailed(_unknown(place[1]))
        return escape(values[place[1]])

    filled = _PLACE.sub(value, text)
    if len(filled) - len(text) > EXPANSION_BYTES_MAX:
        raise TemplateFailed("the template grows by more than 64 KiB when it is filled in")
    return filled


def check_template(text: str, field: str = "body") -> None:
    """Check at the write of a job that every template in `text` can be filled in, whatever the values.

    Raises:
        JobInvalid: A name is unknown (the nearest known one is named), or the text could grow by more than 64 KiB.
    """
    if "{{" not in text:
        return
    growth = 0
    for place in _PLACE.finditer(text):
        if place[1] not in VALUE_CHARS_MAX:
            raise JobInvalid(f"{field}: {_unknown(place[1])}", field=field, token=place[0])
        growth += max(0, VALUE_CHARS_MAX[place[1]] - len(place[0]))
    if growth > EXPANSION_BYTES_MAX:
        raise JobInvalid(
            f"{field}: filled in, this could grow by {growth:,} characters, more than {EXPANSION_BYTES_MAX:,}; "
            "use fewer variables",
            field=field,
        )


def blank(text: str, filler: str = "x") -> str:
    """Return `text` with `filler` in every variable's place, for checks of what surrounds it."""
    return _PLACE.sub(filler, text)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in VALUE_CHARS_MAX], n=1, cutoff=0.0)
    nearest = next((known for known in VALUE_CHARS_MAX if near and known.lower() == near[0]), "JobID")
    known = ", ".join(f"{{{{.{each}}}}}" for each in VALUE_CHARS_MAX)
    return f"there is no variable {{{{.{name}}}}}; did you mean {{{{.{nearest}}}}}? There are {known}."
