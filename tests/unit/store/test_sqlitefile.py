"""Rows go into a file many at a time, and arrive as one by one."""

from __future__ import annotations

import apsw
import pytest

from chronos.store.sqlitefile import PIECE_ROWS, PIECE_STEPS, ROWS_AT_ONCE, in_pieces, pausing, write_rows

PUT = "INSERT INTO kept VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


@pytest.fixture
def db() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value INT)")
    return db


@pytest.mark.parametrize("rows", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 7])
def test_as_many_arrive_as_were_given(db: apsw.Connection, rows: int) -> None:
    given = [(f"key-{n:04d}", n) for n in range(rows)]
    write_rows(db, PUT, given)
    assert db.execute("SELECT key, value FROM kept ORDER BY key").fetchall() == given


def test_of_rows_under_one_key_the_last_one_stands(db: apsw.Connection) -> None:
    write_rows(db, PUT, [("same", n) for n in range(2 * ROWS_AT_ONCE + 3)])
    assert db.execute("SELECT key, value FROM kept").fetchall() == [("same", 2 * ROWS_AT_ONCE + 2)]


def test_a_row_that_is_refused_is_told_of(db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        write_rows(db, "INSERT INTO kept VALUES (?, ?)", [("same", n) for n in range(ROWS_AT_ONCE)])


@pytest.mark.parametrize("gone", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 7])
def test_as_many_go_as_were_named_and_all_others_stay(db: apsw.Connection, gone: int) -> None:
    given = [(f"key-{n:04d}", n) for n in range(3 * ROWS_AT_ONCE)]
    write_rows(db, PUT, given)
    write_rows(db, "DELETE FROM kept WHERE key IN (VALUES (?))", [(key,) for key, _ in given[:gone]])
    assert db.execute("SELECT key, value FROM kept ORDER BY key").fetchall() == given[gone:]


@pytest.mark.parametrize(("rows", "pauses"), [(0, 0), (PIECE_ROWS - 1, 0), (PIECE_ROWS, 1), (3 * PIECE_ROWS + 7, 3)])
def test_all_rows_come_in_pieces_with_a_pause_behind_each(rows: int, pauses: int) -> None:
    paused: list[int] = []
    assert list(in_pieces(range(rows), lambda: paused.append(1))) == list(range(rows))
    assert len(paused) == pauses


def test_one_long_statement_is_done_in_pieces_too_and_comes_to_its_end(db: apsw.Connection) -> None:
    write_rows(db, PUT, [(f"key-{n:04d}", n) for n in range(3 * PIECE_STEPS)])
    paused: list[int] = []
    pausing(db, lambda: paused.append(1))
    db.execute("CREATE TABLE copied AS SELECT * FROM kept")
    assert db.execute("SELECT count(*) FROM copied").fetchall() == [(3 * PIECE_STEPS,)]
    assert len(paused) > 10
