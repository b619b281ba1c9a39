"""The reference says of every kind of file which format is written and which are read."""

from __future__ import annotations

import re

from tests.architecture.source import ROOT

from chronos.model import formats
from chronos.model.formats import FileFormat

PAGE = ROOT / "docs" / "reference" / "data-folder.md"
ROW = re.compile(r"^\| (?:`[^`]+`|–) \| ([^|]+) \| (\d+) \| ([\d, ]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_table_of_formats_is_that_of_the_code() -> None:
    known = [one for one in vars(formats).values() if isinstance(one, FileFormat)]

    assert sorted(ROW.findall(PAGE.read_text())) == sorted(
        (one.what, str(one.current), ", ".join(map(str, range(one.oldest, one.current + 1))), one.since)
        for one in known
    )
