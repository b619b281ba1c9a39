from __future__ import annotations

import hashlib
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields, replace

from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status
from chronos.model.job import Job, JobSpec, Pause, RetryPolicy
from chronos.model.target import HttpTarget
from chronos.store import proof
from chronos.store.commands import PutDocument, ResetClock, Seal
from chronos.store.machine import apply
from chronos.store.port import At
from chronos.store.state import MemoryState
from chronos.store.tables import KEPT_DOCUMENTS, META, RESETS, SEALS, Meta

RUN = Execution("occ_1", "J", "one", "default", Kind.SCHEDULE, "5", 5, 5_000_000, 1, 5, 4_000_000, Status.SUCCESS)


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1: split at the largest power of two below the number of leaves."""
    if not leaves:
        return hashlib.blake2b(b"", digest_size=32).digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return proof.node(by_definition(leaves[:half]), by_definition(leaves[half:]))


@pytest.mark.parametrize("size", [*range(20), 64, 65, 100])
def test_a_tree_that_grows_has_the_root_of_the_definition(size: int) -> None:
    leaves = [proof.leaf(str(n).encode()) for n in range(size)]
    tree = proof.Tree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == by_definition(leaves)


def test_a_field_that_a_later_version_adds_leaves_the_line_as_it_was() -> None:
    class Old(Struct, frozen=True):
        id: str
        notes: list[str] = []

    class New(Struct, frozen=True):
        id: str
        notes: list[str] = []
        added: int = 0

    assert proof.plain(Old("a")) == proof.plain(New("a")) == {"id": "a"}
    assert proof.plain(New("a", ["b"], 2)) == {"id": "a", "notes": ["b"], "added": 2}


def _defaults_left_out(value: Any) -> Any:
    """The same by definition: field after field."""
    if isinstance(value, Struct):
        kept = {}
        for field in fields(value):
            held = getattr(value, field.name)
            default = field.default if field.default is not NODEFAULT else field.default_factory
            default = default() if callable(default) else default
            if type(held) is not type(default) or held != default:
                kept[field.name] = _defaults_left_out(held)
        tag = value.__struct_config__.tag
        return {**kept, "type": tag} if tag else kept
    if isinstance(value, list):
        return [_defaults_left_out(item) for item in value]
    return {key: _defaults_left_out(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("packed", [False, True])
@given(
    st.builds(HttpTarget, url=st.just("http://a/"), method=st.sampled_from(["POST", "GET"])),
    st.builds(RetryPolicy, max_attempts=st.integers(1, 5), multiplier=st.sampled_from([2.0, 3.0])),
    st.dictionaries(st.sampled_from("ab"), st.text(max_size=3)),
    st.booleans(),
)
def test_of_a_job_its_line_leaves_out_what_has_its_default_whether_it_was_given_or_read(
    packed: bool, target: HttpTarget, retry: RetryPolicy, tags: dict[str, str], is_said: bool
) -> None:
    said: dict[str, Any] = {"description": "", "timezone": "".join(["U", "TC"]), "priority": 5} if is_said else {}
    spec = JobSpec(name="a", target=target, schedules=["@daily"], retry_policy=retry, tags=tags, **said)
    job = Job(id="J", spec=spec, revision=1, created_at_us=5, updated_at_us=5, paused=Pause() if tags else None)
    if packed:  # nothing is the object that the type has as its default any more
        job = msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Job)

    assert proof.plain(job) == _defaults_left_out(job)


def test_a_line_says_all_that_was_recorded() -> None:
    assert proof.record_line(RUN).decode() == (
        '{"decided_at_us":4000000,"discriminator":"5","effective_us":5000000,"id":"occ_1","job_id":"J","job_name":"one",'
        '"kind":"schedule","namespace":"default","priority":5,"revision":1,"scheduled_s":5,"status":"success",'
        '"type":"execution"}'
    )
    assert proof.record_line(replace(RUN, reason="why")) != proof.record_line(RUN)


def test_planned_instants_are_counted_by_run_and_by_range() -> None:
    skipped = RangeRecord("J", "default", 6, 9, 4, SkipReason.PAUSED)
    assert proof.planned([RUN, replace(RUN, series=1), replace(RUN, kind=Kind.MANUAL), skipped]) == (1, 4)


# The fold.


def fold(state: MemoryState, command: object) -> str:
    at = At(state.applied_index + 1, 1_000_000 * (state.applied_index + 1))
    change = apply(state, command, at)  # type: ignore[arg-type]
    state.commit([change], at.index, at.time_us)
    return change.result.error


def test_each_seal_carries_the_hash_of_the_one_before() -> None:
    state = MemoryState()
    for segment in (1, 2, 4):
        assert fold(state, Seal(segment, 10, 5, 9, bytes([segment]) * 32, 8, 2, 1, 2)) == ""
    first, second, third = [seal for _, seal in state.scan(SEALS, "", "~", 9)]
    assert first.previous == b""
    assert second.previous == proof.leaf(proof.seal_line(first))
    assert third.previous == proof.leaf(proof.seal_line(second))
    meta = state.get(META, "meta")
    assert meta is not None
    assert (meta.sealed, meta.seal_hash) == (4, proof.leaf(proof.seal_line(third)))


def test_a_segment_is_sealed_once_and_never_after_a_later_one() -> None:
    state = MemoryState()
    assert fold(state, Seal(2, 10, 5, 9, bytes(32), 8, 2, 1, 2)) == ""
    assert fold(state, Seal(2, 11, 5, 9, bytes(32), 8, 2, 1, 2)) == "version-conflict"
    assert fold(state, Seal(1, 10, 5, 9, bytes(32), 8, 2, 1, 2)) == "version-conflict"


def test_every_change_of_what_is_owed_is_a_link_of_one_chain() -> None:
    state = MemoryState()
    fold(state, PutDocument("calendars", "default", "c", b"{}", "ann", replans=True))
    fold(state, PutDocument("other", "default", "c", b"{}", "ann"))
    fold(state, ResetClock(77, "ann"))
    fold(state, PutDocument("calendars", "default", "c", None, "ann", replans=True))
    kept = [document for _, document in state.scan(KEPT_DOCUMENTS, "", "~", 9)]
    [(_, reset)] = state.scan(RESETS, "", "~", 9)
    assert [document.seq for document in kept] == [1, 3]
    assert [document.hwm_s for document in kept] == [0, 77]
    assert (reset.seq, reset.from_s, reset.to_s) == (2, 0, 77)
    lines = [proof.document_line(kept[0]), proof.reset_line(reset), proof.document_line(kept[1])]
    meta = state.get(META, "meta") or Meta()
    assert (meta.changes, meta.changes_hash) == (3, reduce(proof.link, lines, b""))
