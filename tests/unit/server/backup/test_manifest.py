"""Files into frames, and frames into files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from chronos.model.backupfile import BODY_BYTES_MAX, BackupDamaged, Frame, Kind
from chronos.server.backup.manifest import Manifest, Member, checked, manifest_in, pack, unpack, with_keys

MANIFEST = Manifest(
    version="0.1.0", node="n1", taken_us=5, first=1, last=2, base_hash="", last_hash="", first_us=1, log_us=4,
    state_entry=1, state_us=3, restore_epoch=0, jobs=1,
)  # fmt: skip


def a_file(folder: Path, name: str, body: bytes) -> Member:
    path = folder / "from" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return Member(name, path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(frames: Iterable[Frame]) -> None:
    with pytest.raises(BackupDamaged):
        list(checked(frames))


def test_files_come_out_as_they_went_in_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    bodies = {"state.db": b"x" * (BODY_BYTES_MAX + 3), "history/000001.db": b"", "keys/credentials": b"secret"}
    members = [a_file(tmp_path, name, body) for name, body in bodies.items()]

    into = tmp_path / "to"
    manifest = unpack(pack(members, MANIFEST), into)

    assert contents(into) == bodies
    assert [one.name for one in manifest.files] == list(bodies)
    assert {path.stat().st_mode & 0o777 for path in into.rglob("*") if path.is_file()} == {0o600}


def test_keys_are_put_in_behind_the_rest_and_told_of(tmp_path: Path) -> None:
    frames = pack([a_file(tmp_path, "state.db", b"s")], MANIFEST)
    whole = with_keys(frames, [a_file(tmp_path, "admin.key", b"k")])

    manifest = unpack(whole, tmp_path / "to")

    assert manifest.keys
    assert contents(tmp_path / "to") == {"state.db": b"s", "admin.key": b"k"}


def test_only_what_is_wanted_is_written_and_all_of_it_is_checked(tmp_path: Path) -> None:
    members = [a_file(tmp_path, name, b"x") for name in ("state.db", "log.entries")]
    unpack(pack(members, MANIFEST), tmp_path / "to", wanted=lambda name: name == "state.db")
    assert list(contents(tmp_path / "to")) == ["state.db"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/../b", "", "a//b", ".hidden", "a/", "a\n", "a" * 200, "a/b/c/d/e", "keys/\u00e9"],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    refused([Frame(Kind.FILE, name.encode()), Frame(Kind.END, msgspec.json.encode(MANIFEST))])


def test_a_file_too_few_too_many_or_changed_is_refused(tmp_path: Path) -> None:
    one, two = a_file(tmp_path, "one", b"1"), a_file(tmp_path, "two", b"2")
    frames = list(pack([one, two], MANIFEST))
    refused(frames[2:])
    refused([*frames[:2], *frames])
    refused([frames[0], Frame(Kind.DATA, b"3"), *frames[2:]])
    refused([Frame(Kind.DATA, b"1"), *frames])
    refused([Frame(b"?", b""), *frames])
    refused([*frames[:-1], Frame(Kind.END, b"not json")])


def test_a_link_is_not_followed_into_a_backup(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(a_file(tmp_path, "secret", b"1").path)
    with pytest.raises(OSError, match="symbolic"):
        list(pack([Member("link", tmp_path / "link")], MANIFEST))


def test_what_a_later_version_adds_to_the_manifest_is_passed_over() -> None:
    more = {**msgspec.to_builtins(MANIFEST), "mood": "good"}
    assert manifest_in(Frame(Kind.END, msgspec.json.encode(more))) == MANIFEST
