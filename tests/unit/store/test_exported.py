from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from tests.architecture.source import ROOT

from chronos.store.exported import AnyLine, ExecutionLine, Line, decode_line, encode_line

PAGE = (ROOT / "docs" / "reference" / "export-format.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", PAGE, re.MULTILINE))
TYPES = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyLine)}


def test_the_page_tells_of_every_type_and_of_no_other() -> None:
    assert set(ROWS) - {"type"} == set(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_page_names_every_field(name: str) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(TYPES[name])} - {"format"}
    assert fields <= set(re.findall(r"`([a-z_]+)`", ROWS[name]))


def test_a_line_keeps_the_bytes_that_were_hashed() -> None:
    data = b'{"b":1.50,  "a":"x"}'
    line = encode_line(ExecutionLine(segment=3, data=msgspec.Raw(data)))
    assert line == b'{"type":"execution","format":1,"segment":3,"data":' + data + b"}"
    assert isinstance(read := decode_line(line), ExecutionLine)
    assert bytes(read.data) == data


def test_a_field_that_a_later_version_adds_is_no_error() -> None:
    read: Line = decode_line(b'{"type":"mark","format":1,"cursor":"c","new":[1]}')
    assert read.format == 1
