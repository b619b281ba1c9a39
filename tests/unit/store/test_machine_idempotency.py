from __future__ import annotations

import pytest
from tests.unit.store.fold.harness import S, a_machine

from chronos.store.commands import Backfill, DeleteJob, Idem, PutDocument
from chronos.store.fold import idempotency
from chronos.store.tables import DOCUMENTS, IDEM, IDEM_RING


def key(name: str, body: str = "b") -> Idem:
    return Idem("default|ann|POST /jobs", name, body)


def test_the_same_request_twice_is_done_once_and_answered_twice() -> None:
    machine = a_machine()
    first = machine.put(expect=0, idem=key("k"))
    again = machine.put(job_id="J-second", expect=0, idem=key("k"))
    assert again.ok
    assert again.replayed
    assert again.facts == {"resource": first.value.id, "revision": 1}
    assert machine.meta.jobs == 1


def test_the_same_key_with_another_body_is_refused() -> None:
    machine = a_machine()
    machine.put(expect=0, idem=key("k"))
    refused = machine.put("other", expect=0, idem=key("k", "c"))
    assert (refused.error, refused.replayed) == ("idempotency-key-reused", False)


def test_a_refusal_is_answered_again_too() -> None:
    machine = a_machine()
    machine.create()
    first = machine.put(job_id="J2", expect=0, idem=key("k"))
    machine.do(DeleteJob("J-nightly", "ann"))
    again = machine.put(job_id="J3", expect=0, idem=key("k"))
    assert (again.error, again.message, again.replayed) == (first.error, first.message, True)


def test_a_verdict_that_says_try_again_is_not_kept() -> None:
    machine = a_machine()
    machine.decide(5)
    assert machine.put(expect=0, owed_to=0, idem=key("k")).error == "plan-moved"
    assert machine.put(expect=0, idem=key("k")).replayed is False


def test_scopes_do_not_share_keys() -> None:
    machine = a_machine()
    machine.put("a", expect=0, idem=Idem("ann", "k", "b"))
    assert machine.put("b", expect=0, idem=Idem("bob", "k", "b")).replayed is False


def test_a_key_is_forgotten_after_a_day() -> None:
    machine = a_machine()
    machine.put("a", expect=0, idem=key("k"))
    machine.at(24 * 3600)
    assert machine.put("b", expect=0, idem=key("k")).replayed
    machine.at(24 * 3600 + 0.000_001)
    assert machine.put("c", expect=0, idem=key("k")).value.name == "c"
    assert machine.put("d", expect=0, idem=key("k")).replayed
    assert sum(table == IDEM_RING.name for table, _ in machine.view.rows) == 1


def test_old_keys_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "KEPT_MAX", 3)
    machine = a_machine()
    for n in range(10):
        assert machine.put(f"job{n}", expect=0, idem=key(f"k{n}")).ok
    kept = [name for table, name in machine.view.rows if table == IDEM.name]
    assert [name.partition("\n")[2] for name in kept] == ["k7", "k8", "k9"]
    assert sum(table == IDEM_RING.name for table, _ in machine.view.rows) == 3


def test_a_repeated_backfill_names_the_first_one() -> None:
    machine = a_machine()
    job = machine.create()
    command = Backfill(job.id, "b1", [1_000], "ann", key("k"))
    machine.do(command)
    again = machine.do(Backfill(job.id, "b2", [1_000], "ann", key("k")))
    assert again.facts["resource"] == "b1"
    assert len(machine.slots(job).waiting) == 1


def test_a_document_is_written_read_replaced_and_deleted() -> None:
    machine = a_machine()
    put = PutDocument("calendars", "default", "bank", b"1", "ann", 0, replans=True)
    version = machine.shard.plan_version
    assert machine.do(put).facts == {"revision": 1}
    assert machine.shard.plan_version == version + 1
    assert machine.do(put).error == "version-conflict"
    assert machine.do(PutDocument("calendars", "default", "bank", b"2", "bob")).facts == {"revision": 2}
    document = machine.view.get(DOCUMENTS, "calendars/default/bank")
    assert document is not None
    assert (document.value, document.revision, document.updated_by) == (b"2", 2, "bob")
    assert document.updated_at_us % S == 0
    assert machine.do(PutDocument("calendars", "default", "bank", None, expect_revision=2)).ok
    assert machine.view.get(DOCUMENTS, "calendars/default/bank") is None
    assert machine.do(PutDocument("calendars", "default", "bank", None)).error == "not-found"
    assert machine.shard.plan_version == version + 1


def test_a_refusal_names_again_what_was_in_the_way() -> None:
    machine = a_machine()
    job = machine.create()
    holder = machine.trigger(job, "t1").value
    machine.start(holder.id)
    first = machine.trigger(job, "t2", idem=key("k"))
    again = machine.trigger(job, "t3", idem=key("k"))
    assert (again.error, again.replayed) == ("overlap", True)
    assert again.facts["blocked_by"] == first.facts["blocked_by"] == holder.id
    assert again.facts["execution_id"] == first.facts["execution_id"]
