"""The reference lists every reason, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from chronos.features.explain.model import Reason

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "explain.md"


def test_the_page_lists_every_reason_in_the_order_of_the_code() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE) == [reason.value for reason in Reason]
