"""Who is told, whether word gets through, and what became of it, from the command line."""

from __future__ import annotations

from typing import Any

from tests.unit.cli.conftest import Ctl

BASE = "/api/v1/notify"
SLACK = {"source": "server", "on": ["failure"], "channels": [{"type": "slack", "name": "slack"}], "mail": False}


def a_notice(**more: Any) -> dict[str, Any]:
    return {"id": "n1", "event": "failure", "job_name": "nightly", "channel": "slack", "attempts": 2, **more}


def test_who_is_told_is_shown_and_that_nobody_is(ctl: Ctl) -> None:
    ctl.server.on("GET", f"{BASE}/channels", 200, SLACK)
    done = ctl("notify", "channels")
    assert (done.code, done.out.splitlines()[-1].split()) == (0, ["slack", "slack", "failure"])
    ctl.server.on("GET", f"{BASE}/channels", 200, {**SLACK, "channels": []})
    assert ctl("notify", "channels").out.startswith("Nobody is told.")


def test_the_channels_of_a_job_are_asked_for_by_the_beginning_of_its_name(ctl: Ctl) -> None:
    import httpx2

    job = ctl.server.add("nightly")

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params["job"] == job["id"]:
            return httpx2.Response(200, json={**SLACK, "source": "job"})
        return httpx2.Response(404, json={"type": "job-not-found", "detail": "No."})

    ctl.server.answers["GET", f"{BASE}/channels"] = answer
    done = ctl("notify", "channels", "nigh")
    assert (done.code, done.out.splitlines()[0]) == (0, "The job says whom to tell:")


def test_a_test_message_that_one_channel_did_not_take_is_exit_code_1(ctl: Ctl) -> None:
    good, bad = {"channel": "slack", "ok": True, "reason": ""}, {"channel": "webhook h", "ok": False, "reason": "404"}
    ctl.server.on("POST", f"{BASE}/test", 200, {"message_id": "t", "results": [good]})
    assert ctl("notify", "test").code == 0
    ctl.server.on("POST", f"{BASE}/test", 200, {"message_id": "t", "results": [good, bad]})
    done = ctl("notify", "test", "nightly")
    assert (done.code, done.out.splitlines()[-1].split()) == (1, ["webhook", "h", "failed", "404"])
    assert ctl.server.bodies("POST") == [{}, {"job": "nightly"}]


def test_what_waits_and_what_was_lost_is_listed(ctl: Ctl) -> None:
    ctl.server.on("GET", f"{BASE}/waiting", 200, {"waiting": [], "total": 0})
    ctl.server.on("GET", f"{BASE}/lost", 200, {"lost": [], "total": 0})
    assert ctl("notify", "waiting").out == "No message waits.\n"
    assert ctl("notify", "lost").out == "No message was lost.\n"
    ctl.server.on("GET", f"{BASE}/waiting", 200, {"waiting": [a_notice(next_try_at=None)], "total": 1})
    ctl.server.on("GET", f"{BASE}/lost", 200, {"lost": [a_notice(reason="answered 404")], "total": 1})
    assert "nightly" in ctl("notify", "waiting").out
    assert "answered 404" in ctl("notify", "lost").out
    assert ctl("notify", "lost", "-o", "json").json[0]["id"] == "n1"
