"""Where the reference mirrors the code, it says what the code does."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

import msgspec
import pytest
from tests.architecture.source import ROOT, modules

import chronos
from chronos import errors
from chronos.cli.chronosctl.exits import MEANINGS
from chronos.features.metrics.model import TABLE, MetricKind
from chronos.model import limits
from chronos.model.execution import SkipReason, Status
from chronos.model.job import JobSpec
from chronos.server import manifest
from chronos.server.config import SHORT
from chronos.server.problems import status_of
from chronos.server.settings import WITHOUT_EFFECT, Settings

REFERENCE = ROOT / "docs" / "reference"
# What belongs to Chronos' own tables, and what is written in the file under another name.
SECTIONS = {"": Settings, **{f"{section}.": kind for section, kind in manifest.sections().items()}}


def json_examples() -> Iterator[tuple[str, str]]:
    """Yield every JSON example of the documentation that is a job, with the page it stands on."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for text in re.findall(r"^```json\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            if '"name"' in text:
                yield path.name, text


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


KEY_TABLES = page("configuration.md").partition("## Keys")[2].partition("## Defaults that differ")[0]


def settings_keys(of: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield every key of the configuration and its default, as the reference writes it."""
    for field in msgspec.structs.fields(of):
        key = f"{prefix}{field.encode_name}"
        if isinstance(field.default, msgspec.Struct):
            yield from settings_keys(type(field.default), f"{key}.")
            continue
        yield key, shown(field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
        if (inner := section_in(field.type)) is not None:
            yield from settings_keys(inner, f"{key}.")


def section_in(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct in `Struct | None`, a section that may be left out; None for anything else."""
    held = [one for one in get_args(kind) if one is not type(None)]
    is_section = len(held) == 1 and isinstance(held[0], type) and issubclass(held[0], msgspec.Struct)
    return held[0] if is_section and type(None) in get_args(kind) else None


def shown(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "needed"
    return "–" if value is None else f"`{plain(value)}`"


def plain(value: Any) -> str:
    """Return a value as the file spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return str(value.value if isinstance(value, Enum) else value)


def later_keys(known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys that are accepted before what they belong to is there."""
    for key in WITHOUT_EFFECT:
        if not any(one == key or one.startswith(f"{key}.") for one in known):
            yield key, "–"


KEYS = [row for prefix, kind in SECTIONS.items() for row in settings_keys(kind, prefix)]
KEYS += later_keys({key for key, _ in KEYS})


@pytest.mark.parametrize(("key", "default"), KEYS)
def test_every_key_of_the_configuration_is_there_with_its_default(key: str, default: str) -> None:
    assert f"| `{key}` | {default} |" in page("configuration.md")


def test_every_row_of_the_configuration_says_what_the_key_means() -> None:
    rows = re.findall(r"^\| `[a-z_.0-9]+` \| .*? \| (.*?) ?\|$", KEY_TABLES, re.MULTILINE)
    assert len(rows) == len(KEYS)
    assert [row for row in rows if len(row) < 5] == []


def test_every_section_of_the_server_has_rows() -> None:
    assert {"", "auth.", "secrets.", "metrics.", "versions.", "notify."} <= set(SECTIONS)
    assert "notify.smtp.password" in dict(KEYS)


def test_no_key_is_there_that_the_server_would_refuse() -> None:
    assert sorted(re.findall(r"^\| `([a-z_.0-9]+)` \|", KEY_TABLES, re.MULTILINE)) == sorted(dict(KEYS))


def test_every_key_without_effect_says_so() -> None:
    silent = [
        key
        for key in WITHOUT_EFFECT
        if not re.search(rf"^\| `{re.escape(key)}[a-z_.]*` \|.*[Nn]o effect", KEY_TABLES, re.MULTILINE)
    ]
    assert silent == []


def test_every_default_that_is_said_to_differ_is_the_one_there_is() -> None:
    table = page("configuration.md").partition("## Defaults that differ")[2]
    rows = re.findall(r"^\| `([a-z_.]+)` \| .*? \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    assert len(rows) >= 8
    assert [
        key for key, here, why in rows if here not in (dict(KEYS)[key], "the job's `max_concurrent`") or not why
    ] == []


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


def kinds_of_error(of: type[errors.ChronosError] = errors.ChronosError) -> Iterator[type[errors.ChronosError]]:
    """Yield every error there is in the package, wherever it stands."""
    for kind in of.__subclasses__():
        if kind.__module__.startswith("chronos."):
            yield kind
        yield from kinds_of_error(kind)


def slugs_of_the_transport() -> Iterator[tuple[str, str]]:
    """Yield slug and status of every refusal that no error stands for; `any` where the status is not fixed."""
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HttpProblem":
                status, slug = (arg.value if isinstance(arg, ast.Constant) else "any" for arg in node.args[:2])
                # What a client may send that is no HTTP is 400, whatever the framework found.
                yield str(slug), "400" if slug == "bad-request" else str(status)


def test_every_slug_has_a_cause_and_a_remedy() -> None:
    for module in pkgutil.walk_packages(chronos.__path__, "chronos."):
        importlib.import_module(module.name)
    text = page("errors.md")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+|any) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    said = {slug: status for slug, status, _, _ in rows}
    assert len(said) == len(rows)
    served = [kind for kind in kinds_of_error() if kind.__module__ != "chronos.client.problems"]
    of_errors = {kind.slug: str(status_of(kind())) for kind in served}
    assert said == dict(slugs_of_the_transport()) | of_errors
    assert [slug for slug in ("server-failed", "unknown-answer") if f"`{slug}`" not in text] == []


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
