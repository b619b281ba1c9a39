"""Which releases of etcd a cluster runs on."""

from __future__ import annotations

import pytest

from chronos.cluster.etcd.versions import Version, judge, parse


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("etcd Version: 3.6.16\nGit SHA: Not provided (use ./build instead of go build)\n", Version(3, 6, 16)),
        ("etcd Version: 3.4.23\nGit SHA: Not provided\nGo Version: go1.19.8", Version(3, 4, 23)),
        ("etcd Version: 3.7.0-rc.1\n", Version(3, 7, 0)),
        ("2026/11/21 some warning\netcd Version: v3.5.26\n", Version(3, 5, 26)),
    ],
)
def test_the_version_is_read_from_what_etcd_prints(said: str, version: Version) -> None:
    assert parse(said) == version


@pytest.mark.parametrize("said", ["", "bash: etcd: command not found", "Go Version: go1.26.8", "etcd Version: three"])
def test_what_is_no_etcd_has_no_version(said: str) -> None:
    assert parse(said) is None


@pytest.mark.parametrize("patch", [0, 1, 2])
def test_releases_that_lose_data_under_kill_are_refused(patch: int) -> None:
    assert "3.5.3 mended that" in judge(Version(3, 5, patch)).refusal


@pytest.mark.parametrize("version", [Version(2, 3, 8), Version(3, 3, 27)])
def test_releases_before_3_4_are_refused(version: Version) -> None:
    assert judge(version).refusal


@pytest.mark.parametrize("version", [Version(3, 5, 26), Version(3, 5, 30), Version(3, 6, 0), Version(3, 7, 3)])
def test_of_a_current_release_there_is_nothing_to_say(version: Version) -> None:
    verdict = judge(version)
    assert not verdict.refusal
    assert not verdict.warnings


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (Version(3, 4, 23), ["is old", "may lose watch events"]),
        (Version(3, 4, 31), ["is old"]),
        (Version(3, 5, 3), ["is old", "may lose watch events", "forgets that a learner was promoted"]),
        (Version(3, 5, 13), ["is old", "forgets that a learner was promoted"]),
        (Version(3, 8, 0), ["newer than this Chronos knows"]),
    ],
)
def test_an_old_release_is_used_with_warnings(version: Version, words: list[str]) -> None:
    verdict = judge(version)
    assert not verdict.refusal
    assert len(verdict.warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, verdict.warnings, strict=True))
