"""Data folders of servers that are down: exported and explained without a byte of them being changed."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.integration.server.shop import HandClock, a_shop, judged, stocked

from chronos.store.datafolder import DataFolder, DataFolderSettings

CHRONOS = str(Path(sys.executable).with_name("chronos"))


def bytes_of(folder: Path) -> dict[str, str]:
    """Return every file of a folder with the hash of what is in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest() for path in files}


async def chronos(*arguments: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        CHRONOS, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, said = await process.communicate()
    return process.returncode or 0, output.decode(), said.decode()


async def a_dead_server(folder: Path) -> bytes:
    """Leave a data folder behind as kill -9 would; return what its server would have exported."""
    async with a_shop(folder / "alive", seed=3, clock=HandClock()) as shop:
        await stocked(shop)
        await shop.work(80)
        export = await shop.exported()
        await shop.decide(60)  # in the log, and not in state yet
        shutil.copytree(folder / "alive", folder / "dead")
    return export


@pytest.mark.asyncio
async def test_the_folder_of_a_dead_server_is_exported_and_verified_and_stays_as_it_is(tmp_path: Path) -> None:
    before_death = await a_dead_server(tmp_path)
    head = judged(tmp_path / "export", before_death).head
    there = bytes_of(tmp_path / "dead")
    for name in ("whole.ndjson", "whole.ndjson.gz"):
        code, _, said = await chronos("export", "--data-dir", tmp_path / "dead", "--to", tmp_path / name)
        assert (code, said[:8]) == (0, "Exported")
        code, output, _ = await chronos("verify", tmp_path / name, "--head", head, "-o", "json")
        assert code == 0, output
    assert json.loads(output)["counts"]["planned"] > 50
    assert bytes_of(tmp_path / "dead") == there
    whole = (tmp_path / "whole.ndjson").read_bytes()
    assert gzip.decompress((tmp_path / "whole.ndjson.gz").read_bytes()).count(b"\n") == whole.count(b"\n")
    assert len(whole) > len(before_death)


@pytest.mark.asyncio
async def test_a_folder_is_explained_without_being_changed(tmp_path: Path) -> None:
    await a_dead_server(tmp_path)
    there = bytes_of(tmp_path / "dead")
    code, output, said = await chronos(
        "explain", "minutely", "--offline", "--data-dir", tmp_path / "dead", "-o", "json"
    )
    assert code == 0, said
    assert json.loads(output)["job_name"] == "minutely"
    assert bytes_of(tmp_path / "dead") == there


@pytest.mark.asyncio
async def test_a_folder_in_use_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    await a_dead_server(tmp_path)
    with DataFolder(tmp_path / "dead", DataFolderSettings(ballast_bytes=0)):
        code, _, said = await chronos("export", "--data-dir", tmp_path / "dead")
    assert (code, "chronosctl export" in said) == (75, True)
    code, _, said = await chronos("export", "--data-dir", tmp_path / "nowhere")
    assert (code, "not a data folder" in said) == (2, True)
    (tmp_path / "there").write_text("something")
    code, _, said = await chronos("export", "--data-dir", tmp_path / "dead", "--to", tmp_path / "there")
    assert (code, "it is there already" in said) == (2, True)


@pytest.mark.asyncio
async def test_a_compressed_export_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(await a_dead_server(tmp_path))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    code, _, said = await chronos("verify", tmp_path / "cut.gz")
    assert (code, "cut off or damaged" in said) == (2, True)
