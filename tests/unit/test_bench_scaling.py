"""The model of docs/explanation/scaling.md: what goes in was measured, and what the page says is what comes out."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from bench import scaling

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/explanation/scaling.md"


@pytest.mark.parametrize("one", scaling.MEASURED, ids=lambda one: str(one.name))
def test_what_goes_in_stands_on_the_page_that_has_measured_it(one: scaling.Measured) -> None:
    assert one.stands_there in (ROOT / one.page).read_text()
    stated = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", one.stands_there)]
    assert one.value in stated


def test_the_page_says_what_the_model_does() -> None:
    text = PAGE.read_text()
    assert scaling.placed(text) == text, "python bench/scaling.py --page docs/explanation/scaling.md"


def test_the_drawing_is_the_models() -> None:
    drawn = (ROOT / "docs/explanation/scaling.svg").read_text()
    assert drawn == scaling.plot(), "python bench/scaling.py --plot docs/explanation/scaling.svg"
    assert len(ET.fromstring(drawn).findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_the_scarcest_part_decides_and_more_cores_never_do_less() -> None:
    rates = [scaling.one_cluster(cores) for cores in (0.5, 1, 2, 4, 64)]
    assert all(fewer <= more for fewer, more in pairwise(rates))
    assert rates[-1] == scaling.planned_by(1), "one process plans, however many cores there are"
    assert all(rate <= scaling.logged() for rate in rates)


def test_shards_over_one_log_gain_less_than_cells() -> None:
    ceiling = scaling.USED * 1e6 / scaling.IN["follower_us"]
    gains = [scaling.planned_by(shards) for shards in range(1, 50)]
    assert all(fewer < more < ceiling for fewer, more in pairwise(gains))
    assert scaling.planned_by(10) < 2 * scaling.one_cluster(4)


@pytest.mark.parametrize("rate", [100, 5_000, 123_456])
@pytest.mark.parametrize("jobs", [1_000, 3_000_000])
def test_cells_hold_what_they_are_counted_for_and_one_fewer_would_not(rate: int, jobs: int) -> None:
    count = scaling.cells(rate, jobs)

    def holds(cells: int) -> bool:
        fullest = scaling.fullest(cells, jobs) / cells
        return rate * fullest <= scaling.one_cluster(4) and jobs * fullest <= 1.05e6

    assert holds(count)
    assert count == 1 or not all(holds(fewer) for fewer in range(max(1, count - 1), count))


def test_the_fullest_cell_has_more_the_fewer_jobs_there_are() -> None:
    assert scaling.fullest(1, 10) == 1.0
    assert scaling.fullest(10, 1_000) > scaling.fullest(10, 100_000) > 1.0


def test_a_cluster_spread_over_a_city_claims_and_is_replaced_as_one_in_a_room() -> None:
    assert (scaling.claim_lead_ms(0.5), scaling.takeover_s(0.5)) == (250.0, 1.5)
    assert (scaling.claim_lead_ms(50), scaling.takeover_s(50)) == (250.0, 1.5)
    assert scaling.claim_lead_ms(100) > 250.0
    assert scaling.takeover_s(100) == pytest.approx(3.0)


def test_it_prints_the_tables() -> None:
    command = [sys.executable, "-m", "bench.scaling"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == scaling.tables()


def test_a_page_without_marks_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no"):
        scaling.placed("# a page\n")
