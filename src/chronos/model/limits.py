"""How big anything a user writes may be. One page, so that the reference can show it and a test can try it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._ -]{0,198}[A-Za-z0-9._-])?$"
NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

BODY_BYTES_MAX = 256 * 1024
TAGS_MAX = 64
HEADERS_MAX = 64
SCHEDULES_MAX = 16

JobName = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=200, description="Unique in its namespace.")]
Namespace = Annotated[str, Meta(pattern=NAMESPACE_PATTERN, max_length=63)]
Text = Annotated[str, Meta(max_length=2_000)]
ScheduleText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        description="Five fields, six with seconds first, `@daily`, `@every 1h30m` or `@at 2027-01-01T09:00:00Z`.",
    ),
]
ZoneName = Annotated[str, Meta(min_length=1, max_length=64)]
DurationText = Annotated[
    str,
    Meta(min_length=1, max_length=32, description="Like `30s`, `1h30m`, `500ms`, `2d` or `1w`."),
]
TagKey = Annotated[str, Meta(min_length=1, max_length=63)]
TagValue = Annotated[str, Meta(max_length=256)]
Tags = Annotated[dict[TagKey, TagValue], Meta(max_length=TAGS_MAX)]
HeaderName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Meta(max_length=8_192)]
Url = Annotated[str, Meta(min_length=1, max_length=4_096)]
