"""Job files: YAML (one job, several documents, or a list under `jobs:`) and JSON, read strictly."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect

from chronos.cli.chronosctl.yamlfile import TEXT_CHARS_MAX, load_yaml
from chronos.errors import ChronosError, Invalid
from chronos.model.job import JobSpec
from chronos.timing.schedule import parse_schedule

JOBS_MAX = 10_000
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")


class FileJob(NamedTuple):
    """A job as it stands in a file.

    Attributes:
        where: File and place, for messages.
        document: As it was written, `null` values left out.
        spec: The same, checked.
    """

    where: str
    document: dict[str, Any]
    spec: JobSpec


def read_text(name: str) -> str:
    """Return the text of a file; `-` is standard input.

    Raises:
        Invalid: It cannot be read, is no UTF-8, or is too long.
    """
    try:
        if name == "-":
            return sys.stdin.read(TEXT_CHARS_MAX + 1)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(TEXT_CHARS_MAX + 1)
    except OSError as exc:
        raise Invalid(f"{name} cannot be read: {(exc.strerror or str(exc)).lower()}.") from exc
    except UnicodeDecodeError as exc:
        raise Invalid(f"{name} is not UTF-8 text.") from exc


def read_jobs(names: Iterable[str], *, namespace: str | None = None) -> list[FileJob]:
    """Return the jobs of all files, checked as the server would check them, as far as that needs no server.

    Raises:
        Invalid: The first thing that is wrong, with file and field.
    """
    jobs = [job for name in names for job in parse_jobs(read_text(name), _shown(name), namespace=namespace)]
    if not jobs:
        raise Invalid("There is no job in what was given.")
    if len(jobs) > JOBS_MAX:
        raise Invalid(f"{len(jobs):,} jobs are too many at once; the limit is {JOBS_MAX:,}.")
    _refuse_twins(jobs)
    return jobs


def parse_jobs(text: str, where: str, *, namespace: str | None = None) -> list[FileJob]:
    """Return the jobs in the text of one file.

    Raises:
        Invalid: It is not YAML or JSON, or a job in it is wrong.
    """
    found: list[FileJob] = []
    for place, document in _documents(text, where):
        if namespace and isinstance(document, dict):
            document = {"namespace": namespace, **document}
        found.append(check_job(document, place))
    return found


def check_job(document: Any, where: str) -> FileJob:
    """Return a document as a job.

    Raises:
        Invalid: A field is unknown, missing or wrong, or a schedule never fires.
    """
    if not isinstance(document, dict):
        raise Invalid(f"{where}: a job is a mapping of fields, not {_kind(document)}.")
    plain = {name: value for name, value in document.items() if value is not None}
    where = f"{where} ({plain['name']})" if isinstance(plain.get("name"), str) else where
    try:
        spec = msgspec.convert(plain, JobSpec)
        for schedule in spec.normal().schedules:
            parse_schedule(
                schedule,
                timezone=spec.timezone,
                gap=spec.dst.gap.value,
                overlap=spec.dst.overlap.value,
                hash_key=f"{spec.namespace}/{spec.name}",
            )
    except msgspec.ValidationError as exc:
        raise Invalid(f"{where}: {exc}.{_hint(str(exc))}") from exc
    except ChronosError as exc:
        raise Invalid(f"{where}: {exc}", **exc.facts) from exc
    return FileJob(where, msgspec.to_builtins(plain), spec)


def _hint(refusal: str) -> str:
    """Return the nearest field that there is, for a refusal that names one there is not."""
    from difflib import get_close_matches

    unknown = _UNKNOWN.search(refusal)
    near = get_close_matches(unknown["name"], fields_of(msgspec.inspect.type_info(JobSpec)), n=1) if unknown else []
    return f" Did you mean `{near[0]}`?" if near else ""


def fields_of(kind: msgspec.inspect.Type) -> set[str]:
    """Return the name of every field in a type and in what it holds."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            return {field.encode_name for field in fields}.union(*(fields_of(field.type) for field in fields))
        case msgspec.inspect.UnionType(types=kinds):
            return set[str]().union(*map(fields_of, kinds))
        case msgspec.inspect.ListType(item_type=held) | msgspec.inspect.DictType(value_type=held):
            return fields_of(held)
    return set()


def _documents(text: str, where: str) -> list[tuple[str, Any]]:
    if len(text) > TEXT_CHARS_MAX:
        raise Invalid(f"{where} is larger than {TEXT_CHARS_MAX:,} characters.")
    roots = _json_or_yaml(text, where)
    found: list[tuple[str, Any]] = []
    for number, root in enumerate(roots, 1):
        place = where if len(roots) == 1 else f"{where}, document {number}"
        found += _entries(root, place)
    return found


def _json_or_yaml(text: str, where: str) -> Sequence[Any]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [msgspec.json.decode(text)]
        except msgspec.DecodeError as exc:
            if where.endswith(".json"):
                raise Invalid(f"{where}: not JSON: {exc}.") from exc
    return [root for root in load_yaml(text, where) if root is not None]


def _entries(root: Any, where: str) -> list[tuple[str, Any]]:
    if isinstance(root, Mapping) and "jobs" in root:
        if extra := sorted(str(key) for key in root if key != "jobs"):
            raise Invalid(f"{where}: beside `jobs:` there may be nothing else, but there is `{extra[0]}`.")
        root = root["jobs"]
        if not isinstance(root, list):
            raise Invalid(f"{where}: `jobs:` holds a list of jobs, not {_kind(root)}.")
    if isinstance(root, list):
        return [(f"{where}, job {number}", entry) for number, entry in enumerate(root, 1)]
    return [(where, root)]


def _refuse_twins(jobs: list[FileJob]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for job in jobs:
        key = (job.spec.namespace, job.spec.name)
        if key in seen:
            raise Invalid(f"{job.where}: there is a job of this name before, at {seen[key]}.")
        seen[key] = job.where


_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "a truth value", type(None): "nothing"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name
