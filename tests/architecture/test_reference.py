"""Where the reference mirrors the code, it says what the code does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec
import pytest
from tests.architecture.source import ROOT

from chronos import errors
from chronos.cli.chronosctl.exits import MEANINGS
from chronos.features.access.model import Settings as Auth
from chronos.features.metrics.model import TABLE, MetricKind
from chronos.model import limits
from chronos.model.execution import SkipReason, Status
from chronos.model.job import JobSpec
from chronos.server.config import SHORT
from chronos.server.problems import status_of
from chronos.server.settings import Settings

REFERENCE = ROOT / "docs" / "reference"
# Sections that are whole documents of their own, or say that they do not exist yet.
OPAQUE = {"features", "gitops", "federation", "chatbot"}


def json_examples() -> Iterator[tuple[str, str]]:
    """Yield every JSON example of the documentation that is a job, with the page it stands on."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for text in re.findall(r"^```json\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            if '"name"' in text:
                yield path.name, text


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def settings_keys(of: Any = Settings, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of the configuration and its default, as the reference writes it."""
    for field in msgspec.structs.fields(of):
        key = f"{prefix}{field.name}"
        if key in OPAQUE:
            continue
        if isinstance(field.default, msgspec.Struct):
            yield from settings_keys(type(field.default), f"{key}.")
        elif field.default_factory is not msgspec.NODEFAULT:
            yield key, f"`{field.default_factory()}`"
        else:
            yield key, shown(field.default)


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


@pytest.mark.parametrize(("key", "default"), [*settings_keys(), *settings_keys(Auth, "auth.")])
def test_every_key_of_the_configuration_is_there_with_its_default(key: str, default: str) -> None:
    assert f"| `{key}` | {default} |" in page("configuration.md")


def test_no_key_is_there_that_the_server_would_refuse() -> None:
    known = {key for key, _ in (*settings_keys(), *settings_keys(Auth, "auth."))}
    tables = page("configuration.md").partition("## Keys")[2].partition("## Defaults that differ")[0]
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", tables, re.MULTILINE)) == known


def test_every_short_name_in_the_environment_is_there() -> None:
    rows = re.findall(r"^\| (`CHRONOS_.*?) \| `(.*?)` \|$", page("configuration.md"), re.MULTILINE)
    assert {name: key for names, key in rows for name in re.findall(r"`(\w+)`", names)} == SHORT


def test_every_exit_code_is_there_with_its_meaning() -> None:
    rows = dict(
        re.findall(r"^\| (\d+) \| (.*?) \|$", page("exit-codes.md").partition("## chronos server")[0], re.MULTILINE)
    )
    assert rows == {str(code): meaning for code, meaning in MEANINGS.items()}


def test_every_error_is_there_under_its_status() -> None:
    table = page("rest-api.md").partition("## Errors")[2]
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|$", table, re.MULTILINE)
    said = {slug: int(status) for status, slugs in rows for slug in re.findall(r"`([a-z-]+)`", slugs)}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ChronosError)]
    assert said == {kind.slug: status_of(kind()) for kind in kinds if kind is not errors.ChronosError}


def test_every_field_of_a_job_is_there() -> None:
    table = page("rest-api.md").partition("### A job")[2].partition("An HTTP target has")[0]
    said = {name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert said == {field.name for field in msgspec.structs.fields(JobSpec)}


def test_every_status_and_reason_is_there() -> None:
    text = page("semantics.md")
    assert [word for word in (*Status, *SkipReason) if f"`{word.value}`" not in text] == []


def test_the_semantics_keep_their_numbers() -> None:
    numbers = re.findall(r"^## B(\d+) ", page("semantics.md"), re.MULTILINE)
    assert numbers == [str(n) for n in range(1, 17)]


@pytest.mark.parametrize(
    "bound",
    [
        limits.BODY_BYTES_MAX,
        limits.TAGS_MAX,
        limits.HEADERS_MAX,
        limits.SCHEDULES_MAX,
    ],
)
def test_every_bound_is_there(bound: int) -> None:
    assert re.search(rf"\| {bound:,}\b", page("limits.md"))


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_every_metric_is_there_with_its_kind(metric: Any) -> None:
    kind = "untyped" if metric.name == "jobs_total" else MetricKind(metric.kind).value
    assert re.search(rf"^\| `chronos_{metric.name}` \| {kind}", page("metrics.md"), re.MULTILINE)


@pytest.mark.parametrize(("where", "text"), list(json_examples()))
def test_every_job_in_the_documentation_is_one(where: str, text: str) -> None:
    assert msgspec.json.decode(text, type=JobSpec).normal().target, where
