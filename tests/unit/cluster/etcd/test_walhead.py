"""Whose data the engine's log is, read without the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.etcd.samples import HEAD

from chronos.cluster.etcd.walhead import Owner, _owner_in, owner

OWNER = Owner("bdae9bbc11dd390d", "d1cfaf999eb97a2a")


def test_the_head_of_a_log_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "0000000000000001-0000000000000009.wal").write_bytes(b"a later one")
    (tmp_path / "0000000000000000-0000000000000000.wal").write_bytes(HEAD + bytes(1 << 16))
    assert owner(tmp_path) == OWNER


def test_where_there_is_no_log_nobody_is_known(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    assert owner(tmp_path / "none") is None


@pytest.mark.parametrize("length", range(len(HEAD)))
def test_a_head_that_is_cut_short_says_nothing_wrong(length: int) -> None:
    try:
        found = _owner_in(HEAD[:length])
    except ValueError:
        found = None
    assert found in (None, OWNER)


@given(st.binary(max_size=300))
def test_what_is_no_log_does_no_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("wal")
    (folder / "0.wal").write_bytes(data)
    owner(folder)
