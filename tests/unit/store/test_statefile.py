"""The file of the state knows what it holds without reading it again before each write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.executions import an_execution

from chronos.model.execution import Status
from chronos.store import statefile
from chronos.store.state import Key, digest_of, format_digest
from chronos.store.statefile import StateReader, StateWriter
from chronos.store.tables import OPEN, SLOTS, Slots


def opened(instants: range, priority: int = 5) -> dict[Key, Any]:
    runs = [an_execution(instant=instant, status=Status.PENDING, priority=priority) for instant in instants]
    return {(OPEN.name, run.id): run for run in runs}


class Asked:
    """What a writer reads from its file."""

    def __init__(self, writer: StateWriter) -> None:
        self.statements = 0
        writer._db.exec_trace = self._note

    def _note(self, _cursor: object, sql: str, _bindings: object) -> bool:
        self.statements += sql.startswith("SELECT value")
        return True


def test_what_the_file_cannot_have_is_written_without_asking_it(tmp_path: Path) -> None:
    writer = StateWriter(tmp_path / "state.db")
    asked, puts = Asked(writer), opened(range(300))
    writer.write(puts, 1, 1, fresh=puts.keys())
    assert asked.statements == 0
    assert format_digest(writer.digest) == digest_of(puts.items())


def test_what_was_written_lately_is_remembered_and_what_is_gone_is_not_missed(tmp_path: Path) -> None:
    writer = StateWriter(tmp_path / "state.db")
    first, changed = opened(range(300)), opened(range(100, 300), priority=9)
    writer.write(first, 1, 1, fresh=first.keys())
    asked = Asked(writer)
    gone: dict[Key, Any] = dict.fromkeys(opened(range(50)))
    writer.write({**changed, **gone}, 2, 2)
    assert asked.statements == 0
    left = {key: value for key, value in {**first, **changed}.items() if key not in gone}
    assert format_digest(writer.digest) == digest_of(left.items())
    assert [key for key, _ in StateReader(tmp_path / "state.db").everything(OPEN.name)] == sorted(k for _, k in left)


def test_what_is_written_in_pieces_is_the_same(tmp_path: Path) -> None:
    first, changed = opened(range(1_200)), opened(range(100, 1_200), priority=9)
    gone: dict[Key, Any] = dict.fromkeys(opened(range(50)))
    paused: list[int] = []
    digests: list[int] = []
    for pause in (lambda: paused.append(1), None):
        writer = StateWriter(tmp_path / f"{len(digests)}.db")
        if pause is not None:
            writer.pause_with(pause)
        writer.write(first, 1, 1, fresh=first.keys())
        writer.write({**changed, **gone}, 2, 2)
        writer.verify()
        digests.append(writer.digest)
    assert len(set(digests)) == 1
    assert len(paused) > 6


def test_of_more_than_it_remembers_the_oldest_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statefile, "SHARES_KNOWN_MAX", 100)
    writer = StateWriter(tmp_path / "state.db")
    puts = opened(range(150))
    writer.write(puts, 1, 1, fresh=puts.keys())
    again = opened(range(140, 150), priority=1)
    asked = Asked(writer)
    writer.write(again, 2, 2)
    assert asked.statements == 0, "these were the last"
    old: dict[Key, Any] = {**opened(range(20), priority=2), (SLOTS.name, "J1"): Slots(last_decided_s=7)}
    writer.write(old, 3, 3)
    assert asked.statements == 20, "and a key above all others needs no look"
    assert format_digest(writer.digest) == digest_of({**puts, **again, **old}.items())
