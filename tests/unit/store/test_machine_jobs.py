from __future__ import annotations

from msgspec.structs import replace
from tests.unit.store.fold.harness import BEGIN_S, FORBID, S, a_machine, a_range, owed, schedule_id

from chronos.model.events import EventType
from chronos.model.execution import SkipReason, Status
from chronos.model.job import Job, Pause
from chronos.store.commands import BeginCatchup, Catchup, DeleteJob, ExpireDead, Next, PutJob, SetPause
from chronos.store.tables import DELETED_RING, NAMES, REVISIONS, SLOTS, revision_key


def test_a_new_job_is_at_version_one_and_owes_from_log_time_on() -> None:
    machine = a_machine().at(3)
    job = machine.create(enabled=True)
    assert (job.revision, job.created_at_us, job.owed_since_us) == (1, machine.now_us, machine.now_us)
    assert (job.created_by, job.updated_by, job.paused, job.spec.enabled) == ("ann", "ann", None, None)
    assert job.anchor_s == BEGIN_S + 3
    assert (machine.meta.jobs, machine.meta.jobs_enabled) == (1, 1)
    assert machine.told(EventType.JOB_CREATED)[0].job == job


def test_a_job_may_be_born_paused() -> None:
    machine = a_machine()
    job = machine.create(enabled=False, owed=[owed("J-nightly", 1)])
    assert job.paused is not None
    assert job.paused.reason == "disabled"
    assert (machine.meta.jobs, machine.meta.jobs_enabled) == (1, 0)


def test_a_name_belongs_to_one_job_of_a_namespace() -> None:
    machine = a_machine()
    machine.create("a")
    refused = machine.put("a", job_id="J2", expect=0)
    assert (refused.error, refused.facts["job_id"]) == ("name-taken", "J-a")
    assert machine.put("a", job_id="J3", expect=0, namespace="other").ok
    assert machine.meta.jobs == 2


def test_a_renamed_job_gives_its_name_free() -> None:
    machine = a_machine()
    job = machine.create("a")
    assert machine.put("b", job_id=job.id).ok
    assert machine.view.get(NAMES, "default/a") is None
    assert machine.put("a", job_id="J2", expect=0).ok
    assert machine.put("a", job_id=job.id).error == "name-taken"


def test_a_write_on_a_stale_version_is_refused() -> None:
    machine = a_machine()
    job = machine.create()
    assert machine.put(expect=1, description="x").ok
    refused = machine.put(expect=1, description="y")
    assert (refused.error, refused.facts["revision"]) == ("version-conflict", 2)
    assert machine.do(DeleteJob(job.id, "ann", 1)).error == "version-conflict"
    assert machine.do(SetPause(job.id, Pause(), "ann", 1, owed_to=BEGIN_S)).error == "version-conflict"
    assert machine.put(expect=0).error == "version-conflict"


def test_an_edit_never_brings_a_deleted_job_back() -> None:
    machine = a_machine()
    job = machine.create()
    machine.do(DeleteJob(job.id, "ann"))
    assert machine.put(expect=-1).error == "job-not-found"
    assert machine.put(expect=1).error == "job-not-found"
    assert machine.meta.jobs == 0


def test_a_job_keeps_its_namespace() -> None:
    machine = a_machine()
    machine.create()
    assert machine.put(namespace="other").error == "job-invalid"


def test_every_version_is_kept() -> None:
    machine = a_machine()
    job = machine.create()
    machine.put(description="two")
    machine.pause(job)
    kept = [machine.view.get(REVISIONS, revision_key(job.id, n)) for n in (1, 2, 3)]
    assert [(k.job.spec.description, k.job.paused is None) for k in kept if k] == [
        ("", True),
        ("two", True),
        ("two", False),
    ]


def test_what_a_new_job_owes_up_to_the_mark_comes_with_it() -> None:
    machine = a_machine()
    machine.decide(3)
    job = machine.at(1.5).create(owed=[owed("J-nightly", s) for s in (1, 2, 3, 4)])
    assert machine.slots(job).waiting == (schedule_id(job, 2), schedule_id(job, 3))


def test_a_job_written_for_an_older_mark_is_refused() -> None:
    machine = a_machine()
    machine.decide(3)
    assert machine.put(expect=0, owed_to=BEGIN_S + 2).error == "plan-moved"
    assert machine.meta.jobs == 0


def test_a_change_that_would_lose_an_instant_of_the_old_definition_is_refused() -> None:
    machine = a_machine()
    job = machine.create()
    at_us = (BEGIN_S + 5) * S
    edit = PutJob(job.id, replace(job.spec, description="x"), "ann", -1, [], BEGIN_S, undecided_us=at_us)
    pause = SetPause(job.id, Pause(), "ann", owed_to=BEGIN_S, undecided_us=at_us)
    delete = DeleteJob(job.id, "ann", undecided_us=at_us)
    machine.at(5)
    assert [machine.do(command).error for command in (edit, pause, delete)] == ["plan-moved"] * 3
    machine.at(4.999999)
    assert [machine.do(command).ok for command in (edit, pause, delete)] == [True] * 3


def test_an_edit_of_the_target_leaves_what_is_pending_alone() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    version = machine.shard.plan_version
    assert machine.at(0.9).put(same=True, description="x").ok
    assert machine.open(key).status is Status.PENDING
    assert machine.shard.plan_version == version
    assert machine.job(job).owed_since_us == job.owed_since_us


def test_an_edit_that_says_what_is_there_already_changes_nothing() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    plan, changes = machine.shard.plan_version, machine.meta.changes
    assert machine.at(0.9).put().ok
    assert machine.do(PutJob(job.id, replace(job.spec, enabled=True), "bob", 1, [], BEGIN_S)).ok
    assert machine.job(job) == job
    assert machine.open(key).status is Status.PENDING
    assert (machine.shard.plan_version, machine.meta.changes) == (plan, changes)
    paused = PutJob(job.id, replace(job.spec, enabled=False), "bob", 1, [], machine.shard.hwm_s)
    assert machine.do(paused).ok
    assert machine.job(job).paused is not None


def test_an_edit_keeps_adds_and_cancels_pending_instants() -> None:
    machine = a_machine()
    job = machine.create()
    keep, drop = machine.due(job, 2, 3)
    machine.decide(4)
    assert machine.at(1).put(owed=[owed(job, 2), owed(job, 4)], description="x").ok
    assert machine.slots(job).waiting == (keep, schedule_id(job, 4))
    assert (machine.open(keep).revision, machine.open(schedule_id(job, 4)).revision) == (2, 2)
    assert (machine.end_of(drop).status, machine.end_of(drop).reason) == (Status.CANCELLED, "edited")


def test_an_edit_leaves_what_was_due_before_it() -> None:
    machine = a_machine()
    job = machine.create(concurrency="queue")
    running, waiting = machine.due(job, 1, 2)
    machine.at(2).start(running)
    machine.at(3).put(schedule="@daily")
    assert (machine.open(running).revision, machine.open(waiting).revision) == (1, 1)


def test_an_edit_recalls_what_is_staged_and_no_longer_owed() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    machine.at(0.8).start(key, not_before=1)
    assert machine.at(0.9).put(schedule="@daily").facts["recall"] == [key]
    assert machine.open(key).cancel_requested
    machine.settle(key, Next.AGAIN)
    assert (machine.end_of(key).status, machine.end_of(key).reason) == (Status.CANCELLED, "edited")


def test_an_edit_recalls_nothing_that_is_owed_still() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    machine.at(0.8).start(key, not_before=1)
    assert machine.at(0.9).put(owed=[owed(job, 1)]).facts["recall"] == []
    assert machine.open(key).revision == 1, "the staged attempt carries the old target; the record says so"


def test_an_instant_edited_away_and_back_keeps_its_one_record() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    machine.at(0.8).put(schedule="@daily")
    machine.at(0.9).put(owed=[owed(job, 1)])
    assert not machine.is_open(key)
    assert machine.end_of(key).reason == "edited"


def test_a_pause_skips_what_is_pending_and_resuming_does_not_bring_it_back() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    paused = machine.at(0.8).pause(job, reason="holiday")
    assert paused.value.paused == Pause(reason="holiday", by="ann", at=paused.value.paused.at)
    assert machine.skips(job) == [("paused", 1, 1, 1)]
    machine.at(0.9).resume(job, [owed(job, 1)])
    assert not machine.is_open(key)
    assert machine.meta.jobs_enabled == 1


def test_a_pause_recalls_every_attempt_that_may_not_have_left() -> None:
    machine = a_machine()
    job = machine.create(concurrency="allow")
    due, staged = machine.due(job, 1, 2)
    machine.at(1).start(due)
    machine.at(1.8).start(staged, not_before=2)
    assert machine.at(1.9).pause(job).facts["recall"] == [due, staged]
    for key in (due, staged):
        machine.settle(key, Next.AGAIN)
    assert machine.skips(job) == [("paused", 1, 2, 2)]


def test_what_had_left_when_the_pause_came_ends_as_it_ends() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    machine.at(0.8).start(key, not_before=1)
    machine.at(0.9).pause(job)
    machine.at(2).settle(key, Next.SUCCEED)
    assert machine.end_of(key).status is Status.SUCCESS


def test_retries_and_backfills_wait_for_the_end_of_a_pause() -> None:
    machine = a_machine()
    job = machine.create(concurrency="allow")
    [key] = machine.due(job, 1)
    machine.at(1).start(key)
    machine.settle(key, Next.RETRY, retry_in=1)
    [filled] = machine.backfill(job, -100)
    machine.at(1.5).pause(job)
    assert machine.at(3).start(key, filled) == []
    machine.resume(job)
    assert machine.start(key, filled) == [key, filled]


def test_a_paused_job_can_be_run_by_hand() -> None:
    machine = a_machine()
    job = machine.create()
    machine.at(1).pause(job)
    by_hand = machine.at(2).trigger(job).value.id
    assert machine.start(by_hand) == [by_hand]


def test_a_planned_run_never_starts_in_a_pause() -> None:
    machine = a_machine()
    job = machine.create()
    machine.at(0.5).pause(job)
    [key] = machine.due(job, 1)
    assert machine.at(1).start(key) == []
    assert machine.skips(job) == [("paused", 1, 1, 1)]


def test_pausing_twice_replaces_the_reason_and_resuming_twice_does_nothing() -> None:
    machine = a_machine()
    job = machine.create()
    machine.pause(job, reason="a")
    assert machine.pause(job, reason="b").value.paused.reason == "b"
    assert machine.meta.jobs_enabled == 0
    assert machine.resume(job).value.revision == 4
    assert machine.resume(job).value.revision == 4
    assert machine.meta.jobs_enabled == 1


def test_an_edit_can_pause_and_resume() -> None:
    machine = a_machine()
    job = machine.create()
    assert machine.put(enabled=False).value.paused.reason == "disabled"
    assert machine.put(description="still").value.paused is not None
    assert machine.put(enabled=True).value.paused is None
    assert machine.job(job).revision == 4
    assert machine.meta.jobs_enabled == 1


def test_a_job_whose_outage_is_undecided_cannot_be_rescheduled() -> None:
    machine = a_machine()
    job = machine.create()
    machine.at(100).do(BeginCatchup(0, BEGIN_S, BEGIN_S + 100))
    assert machine.put(schedule="@daily").error == "catching-up"
    assert machine.pause(job).error == "catching-up"
    assert machine.put(same=True, description="x").ok


def test_a_deleted_job_cancels_what_is_pending_and_leaves_no_slots() -> None:
    machine = a_machine()
    job = machine.create()
    pending, staged = machine.due(job, 1, 2)
    machine.at(0.9).start(pending, not_before=1)
    assert machine.do(DeleteJob(job.id, "bob")).facts["recall"] == [pending]
    assert (machine.end_of(staged).status, machine.end_of(staged).by) == (Status.CANCELLED, "bob")
    machine.settle(pending, Next.AGAIN)
    assert machine.end_of(pending).reason == "job_deleted"
    assert machine.view.get(SLOTS, job.id) is None
    assert (machine.meta.jobs, machine.meta.jobs_enabled) == (0, 0)
    assert machine.view.get(NAMES, "default/nightly") is None


def test_a_job_created_anew_has_executions_of_its_own() -> None:
    machine = a_machine()
    first = machine.create()
    machine.do(DeleteJob(first.id, "ann"))
    second = machine.put(job_id="J2", expect=0).value
    assert isinstance(second, Job)
    assert schedule_id(first, 1) != schedule_id(second, 1)


def test_a_run_by_hand_is_refused_while_another_holds_the_slot_and_leaves_a_record() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    [key] = machine.due(job, 1)
    machine.at(1).start(key)
    refused = machine.trigger(job)
    assert (refused.error, refused.facts["blocked_by"]) == ("overlap", key)
    skipped = machine.end_of(refused.facts["execution_id"])
    assert (skipped.status, skipped.reason, skipped.blocked_by) == (Status.SKIPPED, "overlap", key)


def test_what_is_decided_ahead_does_not_block_a_run_by_hand() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    machine.decide(5, owed(job, 5, jitter=0.9))
    assert machine.at(5.1).trigger(job).ok
    assert machine.at(5.95).trigger(job, "t2").error == "overlap"


def test_a_full_queue_refuses_a_run_by_hand() -> None:
    machine = a_machine()
    job = machine.create(concurrency="queue", queue_limit=1)
    [key] = machine.due(job, 1)
    machine.at(1).start(key)
    assert machine.trigger(job, "t1").ok
    assert machine.trigger(job, "t2").error == "overlap"


def test_a_trigger_that_arrives_twice_is_one_execution() -> None:
    machine = a_machine()
    job = machine.create()
    first = machine.trigger(job).value
    assert machine.trigger(job).value == first
    assert machine.slots(job).waiting == (first.id,)


def test_a_backfill_of_the_same_name_owes_nothing_twice() -> None:
    machine = a_machine()
    job = machine.create()
    assert len(machine.at(100).backfill(job, 1, 2, 2)) == 2
    assert machine.backfill(job, 1, 2) == []


def test_what_passed_in_a_pause_is_recorded_when_the_job_is_deleted_during_it() -> None:
    machine = a_machine()
    job = machine.create()
    machine.pause(job)
    assert machine.at(9).do(DeleteJob(job.id, "ann", ranges=[a_range(job, 1, 9, SkipReason.PAUSED)])).ok
    assert machine.skips(job) == [("paused", 1, 9, 9)]
    assert ("slots", job.id) not in machine.view.rows


def test_a_job_whose_outage_is_undecided_cannot_be_deleted() -> None:
    machine = a_machine()
    job = machine.create()
    machine.at(100).do(BeginCatchup(0, BEGIN_S, BEGIN_S + 100))
    assert machine.do(DeleteJob(job.id, "ann")).error == "catching-up"
    machine.do(Catchup(0, "", "", machine.shard.plan_version))
    assert machine.do(DeleteJob(job.id, "ann")).ok


def test_the_versions_of_a_deleted_job_go_when_history_has_gone() -> None:
    machine = a_machine()
    gone, stays = machine.create(), machine.create("other")
    for number in range(4):
        machine.put(description=f"edit {number}")
    machine.at(10).do(DeleteJob(gone.id, "ann"))

    def versions(job: Job) -> list[int]:
        return [n for n in range(1, 10) if machine.view.get(REVISIONS, revision_key(job.id, n)) is not None]

    machine.do(ExpireDead(0, forgotten_us=(BEGIN_S + 10) * S))
    assert versions(gone) == [1, 2, 3, 4, 5]
    machine.do(ExpireDead(0, most=2, forgotten_us=(BEGIN_S + 11) * S))
    assert versions(gone) == [1, 2, 3]
    machine.do(ExpireDead(0, most=10, forgotten_us=(BEGIN_S + 11) * S))
    assert versions(gone) == []
    assert versions(stays) == [1]
    assert not any(table == DELETED_RING.name for table, _ in machine.view.rows)
