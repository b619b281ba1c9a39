"""Rows go into a file many at a time, and arrive as one by one."""

from __future__ import annotations

import apsw
import pytest

from chronos.store.sqlitefile import ROWS_AT_ONCE, insert_all

PUT = "INSERT INTO kept VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


@pytest.fixture
def db() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value INT)")
    return db


@pytest.mark.parametrize("rows", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 7])
def test_as_many_arrive_as_were_given(db: apsw.Connection, rows: int) -> None:
    given = [(f"key-{n:04d}", n) for n in range(rows)]
    insert_all(db, PUT, given)
    assert db.execute("SELECT key, value FROM kept ORDER BY key").fetchall() == given


def test_of_rows_under_one_key_the_last_one_stands(db: apsw.Connection) -> None:
    insert_all(db, PUT, [("same", n) for n in range(2 * ROWS_AT_ONCE + 3)])
    assert db.execute("SELECT key, value FROM kept").fetchall() == [("same", 2 * ROWS_AT_ONCE + 2)]


def test_a_row_that_is_refused_is_told_of(db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        insert_all(db, "INSERT INTO kept VALUES (?, ?)", [("same", n) for n in range(ROWS_AT_ONCE)])
