"""The bytes of every command, as they were when they were shipped: what is in a log must be readable for ever.

A new field goes to the end, with a default. The file of the old encoding stays (`Name.1.hex`) and a new one is added
(`Name.2.hex`): run `python -m tests.unit.store.test_golden` for those that are missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from chronos.model.execution import Attempt, AttemptStatus, Kind, Ongoing, RangeRecord, SkipReason, Waited
from chronos.model.job import Dependencies, HistoryPolicy, JobSpec, Pause, RetryPolicy
from chronos.model.member import MemberRecord, MemberState
from chronos.model.notify import Notify, NotifyEmail, NotifySlack, NotifyWebhook
from chronos.model.target import BearerAuth, Completion, HttpTarget, ProcessTarget
from chronos.store.commands import (
    Backfill,
    BeginCatchup,
    Cancel,
    Catchup,
    ClockNote,
    Command,
    Decide,
    DeleteJob,
    Drop,
    ExpireDead,
    Idem,
    KeepHistory,
    KeepingRule,
    LogEntry,
    NewLeader,
    Next,
    NoteClock,
    Owed,
    PutDocument,
    PutJob,
    RecordMembers,
    Redrive,
    Report,
    ResetClock,
    Seal,
    SetMember,
    SetPause,
    Settle,
    Settlement,
    Start,
    StartAttempt,
    Trigger,
    decode_entry,
    encode_entry,
)

GOLDEN = Path(__file__).parent / "golden"

IDEM = Idem("default/me/POST /jobs", "key-1", "ab" * 16)
OWED = Owed("J1", 1_800_000_000, 1_800_000_000_500_000, True, ("2027-01-15T08:00:00",))
RANGE = RangeRecord(
    "J1",
    "default",
    1_799_999_000,
    1_799_999_940,
    16,
    SkipReason.MISFIRE,
    "occ_1",
    1_800_000_000_000_000,
    "facts",
    "one",
)
LEFT_OUT = RangeRecord("J1", "default", 1_800_000_060, 1_800_000_060, 1, SkipReason.BLACKOUT, facts="closed")
SPEC = JobSpec(
    name="one",
    description="first",
    schedules=["*/5 * * * *", "@every 30s"],
    timezone="Europe/Berlin",
    target=HttpTarget(
        url="http://localhost:1/",
        headers={"X-A": "b"},
        body="{}",
        auth=BearerAuth(token="sealed:t"),
        success_codes=[204],
        completion=Completion.CALLBACK,
        deadline="2h",
        heartbeat="5m",
    ),
    retry_policy=RetryPolicy(max_attempts=5),
    timeout="5s",
    tags={"team": "a"},
    start_at=datetime(2027, 1, 1, tzinfo=UTC),
    jitter="1s",
    notify=Notify(
        channels=[NotifyWebhook(url="http://localhost/"), NotifySlack(url="sealed:u"), NotifyEmail(to=["a@localhost"])]
    ),
    dependencies=Dependencies(depends_on=["two"]),
    history=HistoryPolicy(retention="7d", max_count=100),
)
PAUSE = Pause(reason="r", until=datetime(2027, 2, 1, tzinfo=UTC), by="me", at=datetime(2027, 1, 1, tzinfo=UTC))
ATTEMPT = Attempt(
    0, 1, "n1/1", "0.1.2", 1, 2, 3, AttemptStatus.FAILED, 503, "http", "HTTP 503", 12, "cd" * 32, "no", "ref",
    Waited(1, 2, 3, 4, 5, 6), True, ("note",), Ongoing(1, 2, 3, 4, 5, "some"),
)  # fmt: skip
MEMBER = MemberRecord("n1", "10.0.0.1:7443", "10.0.0.1:7444", "http://10.0.0.1:8080", MemberState.JOINING, "ab12")

SAMPLES: list[Command] = [
    NewLeader("n1", "n1-01J"),
    PutJob(
        "J1",
        SPEC,
        "me",
        3,
        [OWED],
        1_800_000_060,
        True,
        1_800_000_000,
        IDEM,
        "why",
        [RANGE],
        1_800_000_001_000_000,
        [LEFT_OUT],
    ),
    DeleteJob("J1", "me", 4, IDEM, 0, [RANGE]),
    SetPause("J1", PAUSE, "me", 4, [OWED], 1_800_000_060, IDEM, [RANGE], 1_800_000_001_000_000, [LEFT_OUT]),
    Decide(0, 1_800_000_000, 1_800_000_060, 7, [OWED], [RANGE], "n1#01J", ["n1#01J", "n2#01J"]),
    BeginCatchup(0, 1_800_000_000, 1_800_000_060, 7),
    Catchup(0, "J1", "J2", 7, [OWED], [RANGE], "n1#01J", ["n1#01J", "n2#01J"]),
    Start([StartAttempt("occ_1", 1, "n1", 1_800_000_000_000_000)]),
    Settle([Settlement("occ_1", ATTEMPT, Next.RETRY, 1_800_000_001_000_000, True, "why")]),
    Trigger("occ_1", "J1", Kind.MANUAL, "01J", 1_800_000_000, "me", True, False, "occ_0", 2, IDEM),
    Backfill("J1", "01J", [1, 2, 3], "me", IDEM),
    Cancel("occ_1", "me", "why", IDEM),
    Redrive(["occ_1", "occ_2"], "me", IDEM),
    ExpireDead(1_800_000_000_000_000, 10, 1_799_000_000_000_000),
    PutDocument("calendars", "default", "holidays", b"\x00\xff", "me", 2, True, IDEM),
    ResetClock(1_800_000_000, "me", 1_799_999_999, True),
    NoteClock(ClockNote.JUMP, "me", "why"),
    Report("occ_1", 1, 40, "half of it"),
    Seal(3, 1_000, 1_799_999_000, 1_800_000_000, bytes(32), 900, 5_000, 1_799_900_000_000_000, 1_800_000_000_000_000),
    Drop(3, 1_000, True, "kept for 30d"),
    KeepHistory({"default": KeepingRule("7d", 100)}),
    RecordMembers([MEMBER]),
    SetMember(MEMBER, "me", MEMBER),
]
# A process target travels inside PutJob; it is pinned by one of its own.
PROCESS = PutJob("J2", JobSpec(name="two", schedules=["@daily"], target=ProcessTarget(argv=["true"])), "me")
ENTRY = LogEntry(1, 1_800_000_000_000_000, bytes(range(16)), [*SAMPLES, PROCESS], {"n2#01J": 7})


def newest(name: str) -> Path | None:
    return max(GOLDEN.glob(f"{name}.*.hex"), key=lambda path: int(path.suffixes[0][1:]), default=None)


def pinned(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())


def test_every_command_is_pinned() -> None:
    assert [type(sample) for sample in SAMPLES] == list(get_args(Command))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_command_is_written_as_it_always_was(sample: Command) -> None:
    path = newest(type(sample).__name__)
    assert path is not None
    assert msgspec.msgpack.encode(sample) == pinned(path)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.hex")), ids=lambda path: path.stem)
def test_what_was_ever_written_can_be_read(path: Path) -> None:
    if path.stem.startswith("LogEntry."):
        assert decode_entry(pinned(path)).format == 1
    else:
        command = msgspec.msgpack.decode(pinned(path), type=Command)
        assert type(command).__name__ == path.stem.partition(".")[0]


def test_an_entry_is_written_as_it_always_was_and_read_back_whole() -> None:
    path = newest("LogEntry")
    assert path is not None
    assert encode_entry(ENTRY) == pinned(path)
    assert decode_entry(pinned(path)) == ENTRY


def pin(name: str, data: bytes) -> None:
    """Write the next version of a golden file, if the newest one differs."""
    path = newest(name)
    if path is None or pinned(path) != data:
        version = int(path.suffixes[0][1:]) + 1 if path else 1
        (GOLDEN / f"{name}.{version}.hex").write_text(data.hex() + "\n")


if __name__ == "__main__":
    for each in SAMPLES:
        pin(type(each).__name__, msgspec.msgpack.encode(each))
    pin("LogEntry", encode_entry(ENTRY))
