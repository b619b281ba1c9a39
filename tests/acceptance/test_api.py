"""The API as a client meets it: a real server, requests over a socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from tests.acceptance.served import Served, answering, served

from chronos.timing.zone import tzdata_version

JSON = {"Content-Type": "application/json"}


class Api:
    """One server, asked in short."""

    def __init__(self, server: Served, target: str) -> None:
        self.server = server
        self.target = target
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        return self.session.request(method, self.server.url + path, data=data, headers={**JSON, **names}, timeout=70)

    def job(self, name: str, path: str = "/yes", **more: Any) -> dict[str, Any]:
        document: dict[str, Any] = {
            "name": name,
            "schedule": "0 0 1 1 *",
            "webhook": {"url": self.target + path},
            **more,
        }
        answer = self.ask("POST", "/api/v1/jobs", document)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering() as target, served(tmp_path_factory.mktemp("api") / "data") as server:
        yield Api(server, target)


def test_a_job_is_found_by_id_name_and_beginning_of_its_id(api: Api) -> None:
    job = api.job("by-any-name")

    for ref in (job["id"], "by-any-name", job["id"][:24]):
        assert api.ask("GET", f"/api/v1/jobs/{ref}").json()["id"] == job["id"]
    assert api.ask("GET", "/api/v1/jobs/nobody").status_code == 404
    assert api.ask("GET", "/api/v1/jobs/by-any-name?namespace=other").status_code == 404


def test_what_is_read_can_be_written_back_without_what_the_server_owns(api: Api) -> None:
    auth = {"type": "bearer", "token": "s3cret-token"}
    job = api.job("round-trip", webhook={"url": api.target, "auth": auth, "headers": {"X-Api-Key": "k3y"}})
    read = api.ask("GET", "/api/v1/jobs/round-trip")
    document = read.json()
    assert document["webhook"]["auth"]["token"] == document["webhook"]["headers"]["X-Api-Key"] == "***"
    assert "s3cret" not in read.text

    refused = api.ask("PUT", "/api/v1/jobs/round-trip", document, If_Match=read.headers["ETag"])
    assert (refused.status_code, refused.json()["type"]) == (422, "field-unknown")
    assert (
        refused.json()["detail"] == f"`{refused.json()['field']}` is set by the server; leave it out of what you send."
    )

    owned = (
        "id revision created_at updated_at created_by updated_by paused next_run next_runs effective_at last_execution"
        " last_success_at overdue_since"
    )
    mine = {name: value for name, value in document.items() if name not in owned.split()}
    written = api.ask("PUT", "/api/v1/jobs/round-trip", mine, If_Match=read.headers["ETag"])
    assert written.status_code == 200, written.text
    assert written.json()["revision"] == job["revision"], "it says what is there already"
    again = api.ask("GET", "/api/v1/jobs/round-trip").json()
    assert {name: again[name] for name in mine} == mine


def test_stars_where_there_was_no_credential_are_refused(api: Api) -> None:
    document: dict[str, Any] = {
        "name": "stars",
        "schedule": "@daily",
        "webhook": {"url": api.target, "auth": {"type": "bearer", "token": "***"}},
    }
    refused = api.ask("POST", "/api/v1/jobs", document)

    assert (refused.status_code, refused.json()["field"]) == (422, "target.auth.token")


def test_a_write_needs_the_etag_and_a_stale_one_changes_nothing(api: Api) -> None:
    job = api.job("etag")
    patch = {"description": "new"}

    assert api.ask("PATCH", "/api/v1/jobs/etag", patch).status_code == 428
    stale = api.ask("PATCH", "/api/v1/jobs/etag", patch, If_Match='"99"')
    assert (stale.status_code, stale.json()["type"]) == (412, "version-conflict")
    assert api.ask("GET", "/api/v1/jobs/etag").json()["revision"] == job["revision"]
    done = api.ask("PATCH", "/api/v1/jobs/etag", patch, If_Match='"1"')
    assert (done.status_code, done.headers["ETag"], done.json()["description"]) == (200, '"2"', "new")


def test_a_merge_patch_replaces_keeps_and_takes_away(api: Api) -> None:
    api.job("patched", tags={"a": "1", "b": "2"}, timeout="10s", retry_policy={"max_attempts": 7, "multiplier": 3})
    patch = {
        "tags": {"a": None, "c": "3"},
        "timeout": None,
        "retry_policy": {"max_attempts": 2},
        "schedules": ["@hourly", "@daily"],
    }

    after = api.ask("PATCH", "/api/v1/jobs/patched", patch, If_Match="*").json()

    assert after["tags"] == {"b": "2", "c": "3"}
    assert after["timeout"] is None
    assert (after["retry_policy"]["max_attempts"], after["retry_policy"]["multiplier"]) == (2, 3)
    assert after["schedules"] == ["@hourly", "@daily"]
    assert "schedule" not in after


def test_a_name_is_taken_once_per_namespace(api: Api) -> None:
    api.job("only-one")
    document: dict[str, Any] = {"name": "only-one", "schedule": "@daily", "webhook": {"url": api.target}}

    taken = api.ask("POST", "/api/v1/jobs", document)
    elsewhere = api.ask("POST", "/api/v1/jobs?namespace=blue", document)

    assert (taken.status_code, taken.json()["type"]) == (409, "name-taken")
    assert (elsewhere.status_code, elsewhere.json()["namespace"]) == (201, "blue")


def test_a_repeated_request_is_done_once_and_another_one_under_its_key_is_refused(api: Api) -> None:
    document: dict[str, Any] = {"name": "idempotent", "schedule": "@daily", "webhook": {"url": api.target}}
    first = api.ask("POST", "/api/v1/jobs", document, Idempotency_Key="key-1")
    again = api.ask("POST", "/api/v1/jobs", document, Idempotency_Key="key-1")
    other = api.ask("POST", "/api/v1/jobs", {**document, "name": "idempotent-2"}, Idempotency_Key="key-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")
    runs = [api.ask("POST", "/api/v1/jobs/idempotent/trigger", Idempotency_Key="run-1").json()["id"] for _ in range(2)]
    assert runs[0] == runs[1]


def test_of_many_requests_with_one_key_at_once_one_is_done(api: Api) -> None:
    document: dict[str, Any] = {"name": "at-once", "schedule": "@daily", "webhook": {"url": api.target}}

    def create(_: int) -> requests.Response:
        return requests.post(
            f"{api.server.url}/api/v1/jobs", json=document, headers={"Idempotency-Key": "at-once"}, timeout=20
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_lists_are_filtered_and_paged_and_a_cursor_is_for_its_own_list(api: Api) -> None:
    for i in range(5):
        api.job(f"page-{i}", tags={"set": "page", "odd": str(i % 2)})
    api.ask("POST", "/api/v1/jobs/page-3/disable")

    names, cursor = [], ""
    for _ in range(5):
        page = api.ask("GET", f"/api/v1/jobs?tag.set=page&limit=2{cursor}").json()
        names += [job["name"] for job in page["jobs"]]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert names == [f"page-{i}" for i in range(5)]
    assert page["total"] == 5
    odd = api.ask("GET", "/api/v1/jobs?tag.set=page&tag.odd=1&enabled=true").json()["jobs"]
    assert [job["name"] for job in odd] == ["page-1"]
    foreign = api.ask("GET", f"/api/v1/jobs?tag.set=other&limit=2{cursor}")
    changed = api.ask("GET", f"/api/v1/jobs?tag.set=page&limit=2{cursor[:-2]}AA")
    assert (foreign.status_code, changed.status_code) == (400, 400)


def test_a_pause_says_why_and_a_resume_ends_it(api: Api) -> None:
    api.job("pausing")
    paused = api.ask(
        "POST", "/api/v1/jobs/pausing/pause", {"reason": "maintenance", "until": "2099-01-01T00:00:00Z"}
    ).json()
    assert paused["enabled"] is False
    assert paused["next_run"] is None
    assert (paused["paused"]["reason"], paused["paused"]["by"]) == ("maintenance", "anonymous")

    resumed = api.ask("POST", "/api/v1/jobs/pausing/enable").json()
    assert (resumed["enabled"], resumed["paused"]) == (True, None)
    assert resumed["next_run"]
    past = api.ask("POST", "/api/v1/jobs/pausing/pause", {"until": "2001-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["field"]) == (422, "until")


def test_a_run_by_hand_is_waited_for_and_shows_its_attempts(api: Api) -> None:
    api.job("by-hand")
    run = api.ask("POST", "/api/v1/jobs/by-hand/trigger?wait=20s")

    assert run.status_code == 200
    assert run.headers["Location"] == f"/api/v1/executions/{run.json()['id']}"
    assert (run.json()["status"], run.json()["attempts"][0]["status_code"]) == ("success", 200)
    assert run.json()["kind"] == "manual"
    assert api.ask("GET", "/api/v1/jobs/by-hand").json()["last_execution"]["status"] == "success"
    assert api.ask("POST", "/api/v1/jobs/by-hand/trigger?wait=61s").status_code == 422


def test_a_failed_run_is_a_dead_letter_until_it_is_redriven(api: Api) -> None:
    api.job("dying", "/no")
    dead = api.ask("POST", "/api/v1/jobs/dying/trigger?wait=20s").json()
    assert (dead["status"], dead["status_code"]) == ("failed", 400)

    ids = [one["id"] for one in api.ask("GET", "/api/v1/dead-letters").json()["executions"]]
    assert dead["id"] in ids
    again = api.ask("POST", f"/api/v1/executions/{dead['id']}/redrive")
    assert (again.status_code, again.json()["id"], again.json()["series"]) == (202, dead["id"], 1)


def test_executions_are_filtered_by_status_and_time(api: Api) -> None:
    api.job("filtered")
    run = api.ask("POST", "/api/v1/jobs/filtered/trigger?wait=20s").json()
    path = "/api/v1/jobs/filtered/executions"

    assert [one["id"] for one in api.ask("GET", f"{path}?status=success,failed").json()["executions"]] == [run["id"]]
    assert api.ask("GET", f"{path}?status=failed").json()["executions"] == []
    assert api.ask("GET", f"{path}?until={run['scheduled_time']}").json()["executions"] == []
    assert len(api.ask("GET", f"{path}?since={run['scheduled_time']}").json()["executions"]) == 1
    assert api.ask("GET", f"{path}?status=nonsense").status_code == 422


def test_a_batch_answers_for_every_line_and_replaces_by_name(api: Api) -> None:
    good = {"schedule": "@daily", "webhook": {"url": api.target}}
    lines = [{"name": "bulk-1", **good}, {"name": "bulk-2", "schedule": "nonsense", "webhook": good["webhook"]}, "no"]
    body = "\n".join(json.dumps(line) for line in lines) + "\n{\n"

    def send() -> Any:
        kind = {"Content-Type": "application/x-ndjson"}
        return requests.post(f"{api.server.url}/api/v1/jobs:batch", data=body, headers=kind, timeout=20).json()

    first, second = send(), send()
    assert [item["status"] for item in first["results"]] == [201, 422, 422, 400]
    assert (first["succeeded"], first["failed"]) == (1, 3)
    assert first["results"][1]["error"]["type"] == "schedule-invalid"
    assert [item["status"] for item in second["results"]] == [200, 422, 422, 400]
    assert first["results"][0]["id"] == second["results"][0]["id"]


def test_a_preview_says_when_in_words_and_what_clock_changes_do(api: Api) -> None:
    asked = {"schedule": "30 2 * * *", "timezone": "America/New_York", "after": "2027-03-13T12:00:00Z", "count": 2}
    preview = api.ask("POST", "/api/v1/schedules/preview", asked).json()

    assert preview["next_runs"] == ["2027-03-14T07:00:00Z", "2027-03-15T06:30:00Z"]
    assert preview["runs"][0]["local"] == "2027-03-14 03:00:00"
    assert preview["dst_notes"][0]["kind"] == "gap"
    assert preview["dst_notes"][0]["affected"]
    assert "02:30" in preview["description"]


def test_a_preview_of_every_second_for_a_century_is_refused(api: Api) -> None:
    asked = {"schedule": "* * * * * *", "after": "2027-01-01T00:00:00Z", "until": "2127-01-01T00:00:00Z"}
    refused = api.ask("POST", "/api/v1/schedules/preview", asked)

    assert (refused.status_code, refused.json()["field"]) == (422, "until")


def test_an_invalid_schedule_is_told_what_is_wrong(api: Api) -> None:
    answer = api.ask("POST", "/api/v1/schedules/validate", {"schedule": "61 * * * *"}).json()

    assert answer["valid"] is False
    assert "61" in answer["error"]


def test_a_calendar_that_jobs_name_stays(api: Api) -> None:
    assert api.ask("PUT", "/api/v1/calendars/shut", {"exclude": ["2099-01-01"]}).status_code == 200
    job = api.job("shut-out", calendar="shut")
    assert job["next_run"] is not None

    used = api.ask("DELETE", "/api/v1/calendars/shut")
    assert (used.status_code, used.json()["jobs"]) == (409, ["shut-out"])
    api.ask("DELETE", "/api/v1/jobs/shut-out")
    assert api.ask("DELETE", "/api/v1/calendars/shut").status_code == 200


def test_a_stream_tells_of_runs_and_goes_on_where_it_broke_off(api: Api) -> None:
    api.job("streamed")
    url = f"{api.server.url}/api/v1/executions/stream?job=streamed"

    def finished(headers: dict[str, str], act: bool) -> tuple[str, dict[str, Any]]:
        with requests.get(url, headers=headers, stream=True, timeout=20) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines: Iterator[Any] = stream.iter_lines(decode_unicode=True)
            assert next(lines) == ": watching"
            if act:
                threading.Thread(target=api.ask, args=("POST", "/api/v1/jobs/streamed/trigger")).start()
            mark = name = ""
            for line in lines:
                field, _, value = line.partition(": ")
                mark, name = (value if field == "id" else mark), (value if field == "event" else name)
                if field == "data" and name == "execution_finished":
                    return mark, json.loads(value)
        raise AssertionError("the stream ended")

    mark, run = finished({}, act=True)
    assert run["status"] == "success"
    index, _, seq = mark.partition(".")
    _, told_again = finished({"Last-Event-ID": f"{int(index) - 1}.{seq}"}, act=False)
    assert told_again["id"] == run["id"]


def test_a_webhook_is_tried_through_the_guard(api: Api) -> None:
    tried = api.ask("POST", "/api/v1/webhooks/test", {"url": f"{api.target}/yes"}).json()
    own = api.ask("POST", "/api/v1/webhooks/test", {"url": f"{api.server.url}/api/v1/jobs"}).json()
    metadata = api.ask("POST", "/api/v1/webhooks/test", {"url": "http://169.254.169.254/latest"})

    assert (tried["success"], tried["status_code"]) == (True, 200)
    assert (own["success"], own["error_class"]) == (False, "egress")
    assert metadata.status_code in (200, 403, 422)
    assert metadata.status_code != 200 or metadata.json()["error_class"] == "egress"


def test_programs_as_targets_are_off(api: Api) -> None:
    document: dict[str, Any] = {
        "name": "program",
        "schedule": "@daily",
        "target": {"type": "process", "argv": ["true"]},
    }
    refused = api.ask("POST", "/api/v1/jobs", document)

    assert (refused.status_code, refused.json()["field"]) == (422, "target.type")


def test_a_key_is_shown_once_may_what_it_may_and_is_revoked_at_once(api: Api) -> None:
    made = api.ask("POST", "/api/v1/api-keys", {"name": "reader", "permissions": ["job:read"]})
    key = made.json()["key"]
    listed = api.ask("GET", "/api/v1/api-keys")
    assert key not in listed.text

    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert requests.get(f"{api.server.url}/api/v1/jobs", headers=headers, timeout=10).status_code == 200
    assert api.ask("POST", "/api/v1/jobs/x/trigger", X_API_Key=key).status_code == 403
    assert api.ask("GET", "/api/v1/jobs", X_API_Key=key[:-1] + ("A" if key[-1] != "A" else "B")).status_code == 401
    assert api.ask("DELETE", f"/api/v1/api-keys/{made.json()['id']}").status_code == 200
    assert api.ask("GET", "/api/v1/jobs", X_API_Key=key).status_code == 401


def test_a_key_cannot_make_one_that_may_more(api: Api) -> None:
    key = api.ask("POST", "/api/v1/api-keys", {"name": "maker", "permissions": ["key:create", "job:read"]}).json()[
        "key"
    ]

    refused = api.ask("POST", "/api/v1/api-keys", {"name": "more", "permissions": ["*"]}, X_API_Key=key)
    fine = api.ask("POST", "/api/v1/api-keys", {"name": "less", "permissions": ["job:read"]}, X_API_Key=key)

    assert (refused.status_code, fine.status_code) == (403, 201)


def test_the_page_is_served_with_a_policy_that_lets_only_its_own_files_run(api: Api) -> None:
    for path in ("/", "/app.js", "/style.css", "/favicon.svg"):
        answer = api.ask("GET", path)
        assert answer.status_code == 200
        assert "unsafe" not in answer.headers["content-security-policy"]
    page = api.ask("GET", "/").text
    assert "innerHTML" not in api.ask("GET", "/app.js").text
    assert " onclick=" not in page
    assert "style=" not in page


READS = ["/api/v1/jobs", "/api/v1/executions", "/api/v1/cluster/status", "/api/v1/calendars", "/api/v1/dead-letters"]


@pytest.mark.parametrize("path", READS)
def test_a_read_says_how_new_it_is_and_may_be_asked_of_the_node_alone(api: Api, path: str) -> None:
    before = int(api.ask("GET", path).headers["Chronos-Applied-Index"])
    api.ask("PUT", f"/api/v1/calendars/seen-{before}", {"exclude": ["2027-12-25"]})
    for asked in ("consistency=local", "consistency=linearizable", "consistent=true", "consistent=false"):
        answer = api.ask("GET", f"{path}?{asked}")
        assert answer.status_code == 200
        assert int(answer.headers["Chronos-Applied-Index"]) > before


def test_another_consistency_is_refused_and_a_write_has_none(api: Api) -> None:
    refused = api.ask("GET", "/api/v1/jobs?consistency=eventual")
    written = api.ask("POST", "/api/v1/jobs?consistency=local", {})

    assert (refused.status_code, refused.json()["field"]) == (422, "consistency")
    assert "`local`" in refused.json()["detail"]
    assert written.status_code == 422


def test_waiting_for_a_run_that_ends_in_time_is_answered_200_and_any_other_202(api: Api) -> None:
    api.job("quick")
    api.job("stuck", webhook={"url": "http://127.0.0.1:9/"}, retry_policy={"initial_interval": "1h"})

    ended = api.ask("POST", "/api/v1/jobs/quick/trigger?wait=30s")
    assert (ended.status_code, ended.json()["status"]) == (200, "success")
    assert api.ask("POST", "/api/v1/jobs/quick/trigger").status_code == 202
    waiting = api.ask("POST", "/api/v1/jobs/stuck/trigger?wait=200ms")
    assert (waiting.status_code, waiting.json()["completed_at"]) == (202, None)


def test_a_list_of_jobs_shows_how_each_ran_last_and_runs_next(api: Api) -> None:
    api.job("listed-ran")
    api.job("listed-never")
    ended = api.ask("POST", "/api/v1/jobs/listed-ran/trigger?wait=30s").json()

    jobs = api.ask("GET", "/api/v1/jobs?text=listed-").json()["jobs"]
    ran = next(one for one in jobs if one["name"] == "listed-ran")
    never = next(one for one in jobs if one["name"] == "listed-never")

    last = ran["last_execution"]
    names = ("id", "status", "scheduled_time", "started_at", "completed_at")
    assert {name: last[name] for name in names} == {name: ended[name] for name in names}
    assert never["last_execution"] is None
    assert ran["next_run"].endswith("-01-01T00:00:00Z")
    assert api.ask("GET", "/api/v1/jobs/listed-ran").json()["last_execution"] == last


def test_the_status_says_by_which_rules_the_node_plans(api: Api) -> None:
    status = api.ask("GET", "/api/v1/cluster/status").json()

    assert status["tzdata_version"] == tzdata_version()
    assert (status["engine"], status["state"], status["is_leader"]) == ("local", "leader", True)
    assert status["commit_index"] >= status["applied_index"] > 0
    assert {"version", "leader_address", "peers", "next_runs", "jobs_total", "running"} <= status.keys()


def raw(api: Api, request: bytes) -> bytes:
    """Send bytes and return what comes back until the server closes, or a second passes."""
    port = int(api.server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        line.settimeout(5)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
    return answer


HEAD = b"GET /api/v1/whoami HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"X-Folded: a\r\n b\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"\n",
        HEAD + b"X-Many: " + b"a" * 40_000 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: a\r\n" % i for i in range(150)) + b"\r\n",
        HEAD + b"Bad Header: a\r\n\r\n",
        HEAD + b"Host: evil.example\r\n\r\n",
        b"GET http://evil.example/api/v1/whoami HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_requests_that_two_programs_would_read_differently_are_refused(api: Api, request_bytes: bytes) -> None:
    answer = raw(api, request_bytes)

    assert b" 200 " not in answer.partition(b"\r\n")[0], answer[:200]
    assert b'"permissions"' not in answer
