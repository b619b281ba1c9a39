"""Why an engine ended, from what real ones said on the way down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cluster.etcd.samples import a_member

from chronos.cluster.etcd.endings import Ending, ending
from chronos.cluster.etcd.enginelog import Line, parse

MEMBER = a_member(Path("/data"))


def said(level: str, message: str, **fields: str) -> Line:
    return parse(json.dumps({"level": level, "ts": "2026-11-21T21:41:32Z", "msg": message, **fields}).encode())


def ended(code: int, *lines: Line) -> Ending:
    return ending(code, lines, MEMBER)


REMOVED = "the member has been permanently removed from the cluster"


@pytest.mark.parametrize(
    ("code", "lines", "words"),
    [
        (1, [said("fatal", "discovery failed", error="member 79 has already been bootstrapped")], "a member already"),
        (
            0,
            [said("warn", "server error", error=REMOVED), said("warn", "data-dir used by this member must be removed")],
            "n1 was removed from the cluster",
        ),
        (
            1,
            [
                said("warn", "data-dir used by this member must be removed"),
                said("fatal", "listener failed", error="server is stopping"),
            ],
            "n1 was removed from the cluster",
        ),
        (
            1,
            [said("fatal", "discovery failed", error="error validating peerURLs: member count is unequal")],
            "`cluster.members` here",
        ),
        (2, [said("panic", "failed to open database", error="invalid database")], "is damaged"),
        (1, [said("fatal", "discovery failed", error="wal: max entry size limit exceeded")], "is damaged"),
        (1, [said("fatal", "checkInitialHashKV failed", error="n1 found data inconsistency with peers")], "is damaged"),
        (1, [said("fatal", "discovery failed", error="mismatched cluster ID")], "of another cluster"),
        (2, [said("panic", "tocommit(9) is out of range [lastIndex(3)]. Was the raft log")], "is gone or older"),
        (2, [parse(b"flag provided but not defined: -snapshot-catchup-entries")], "refuses the flags"),
    ],
)  # fmt: skip
def test_what_would_end_the_same_way_again_is_final_and_says_what_to_do(
    code: int, lines: list[Line], words: str
) -> None:
    how = ended(code, *lines)
    assert how.is_final
    assert words in how.reason


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (said("panic", "failed to open database", error="no space left on device"), "disk of the engine is full"),
        (said("fatal", "discovery failed", error="listen tcp 10.0.0.1:2380: bind: address already in use"), "in use"),
        (said("fatal", "wal: failed to sync", error="sync: input/output error"), "input/output error"),
        (said("fatal", "discovery failed", error="open /c/node.pem: no such file or directory"), "a certificate"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(line: Line, words: str) -> None:
    how = ended(1, line)
    assert not how.is_final
    assert words in how.reason


@pytest.mark.parametrize(
    "warning",
    [
        said("warn", "request cluster ID mismatch", error="cluster ID mismatch"),
        said("error", "health check failed", error="remote peer: data inconsistency"),
        said("warn", "failed to dial peer", error=REMOVED),
    ],
)
def test_a_complaint_about_others_ends_nothing(warning: Line) -> None:
    how = ended(1, warning, said("fatal", "something new"))
    assert how == Ending("The engine ended (exit code 1). Its last words: something new")


def test_whoever_is_killed_is_started_again_whatever_it_said() -> None:
    how = ended(-9, said("fatal", "discovery failed", error="member 79 has already been bootstrapped"))
    assert not how.is_final
    assert "signal 9" in how.reason


def test_an_end_without_a_word_is_told_as_one() -> None:
    assert ended(0) == Ending("The engine ended (exit code 0).")


def test_of_a_panic_the_beginning_is_told() -> None:
    how = ended(
        2, *(parse(line) for line in (b"panic: runtime error: index out of range", b"", b"goroutine 1 [running]:"))
    )
    assert "panic: runtime error: index out of range" in how.reason
