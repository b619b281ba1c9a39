from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import gaps, starts

from chronos.repeater.modes.load_adaptive import LoadAdaptive, factor
from chronos.repeater.port import Load, ModeInvalid

PERCENT = st.floats(0, 100)


class Host:
    """A host as busy as it is told to be; counts how often it was asked."""

    def __init__(self, *loads: Load) -> None:
        self._loads = list(loads)
        self.readings = 0

    def read(self) -> Load:
        self.readings += 1
        return self._loads.pop(0) if len(self._loads) > 1 else self._loads[0]


IDLE, AT_TARGET, BUSY = Load(0, 8, 0), Load(70, 40, 0.5), Load(None, 8, 3.0)


def test_the_largest_share_of_a_target_decides() -> None:
    assert factor(Load(35, 80, 0.5), cpu_percent=70, memory_percent=80, load1=1) == 1
    assert factor(Load(70, 40, 2.5), cpu_percent=70, memory_percent=80, load1=1) == 2.5
    assert factor(Load(None, 20, 0), cpu_percent=70, memory_percent=80, load1=1) == 0.25


def test_at_the_targets_the_wait_is_the_base_interval() -> None:
    assert gaps(starts(LoadAdaptive(2, Host(AT_TARGET)), runs=4)) == [2, 2, 2]


def test_a_busy_host_is_left_alone_longer_and_an_idle_one_less() -> None:
    assert gaps(starts(LoadAdaptive(2, Host(BUSY)), runs=3)) == [6, 6]
    assert gaps(starts(LoadAdaptive(2, Host(IDLE)), runs=3)) == pytest.approx([0.2, 0.2])


def test_the_load_is_read_at_the_start_and_at_most_every_five_seconds() -> None:
    host = Host(AT_TARGET)
    assert starts(LoadAdaptive(1, host), runs=12)[-1] == 11
    assert host.readings == 3  # after 0, 5 and 10 seconds


def test_a_change_of_the_load_counts_for_the_very_next_wait() -> None:
    assert gaps(starts(LoadAdaptive(6, Host(AT_TARGET, BUSY)), runs=4)) == [6, 18, 18]


@given(st.builds(Load, PERCENT, PERCENT, st.floats(0, 1e6)), st.floats(0.001, 1e6))
def test_the_wait_stays_between_a_tenth_and_ten_times_the_base(load: Load, base_s: float) -> None:
    [gap] = gaps(starts(LoadAdaptive(base_s, Host(load)), runs=2))
    assert base_s / 10 - 1e-6 <= gap <= base_s * 10 + 1e-6


def test_without_immediate_the_first_run_is_one_interval_later() -> None:
    assert starts(LoadAdaptive(2, Host(BUSY), immediate=False), runs=1) == [2]


@pytest.mark.parametrize(
    ("options", "field", "why"),
    [
        ({"target_cpu": 150}, "target-cpu", "greater than 0 and at most 100; it is 150"),
        ({"target_memory": -10}, "target-memory", "it is -10"),
        ({"target_load": 0}, "target-load", "greater than 0; it is 0"),
        ({"min_s": 5, "max_s": 1}, "min-interval", "shorter than --max-interval"),
        ({"base_s": 0}, "base-interval", "longer than 0s"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, float], field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        LoadAdaptive(options.pop("base_s", 1), Host(IDLE), **options)  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_a_load_adaptive_mode_says_what_it_aims_at() -> None:
    said = LoadAdaptive(2, Host(IDLE)).describe()
    assert said == "2s at 70% CPU, 80% memory or load 1, between 200ms and 20s"
