"""The server against its own description: every operation works as described, and bad input is refused as described."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.acceptance.served import Served, answering, served
from tests.dose import PROOF

from chronos.features.callbacks import routes as callbacks
from chronos.features.callbacks.rules import Ticket, token_of
from chronos.model import limits
from chronos.model.formats import key_of
from chronos.server import routing
from chronos.server.outline import outline

EXAMPLES = int(os.environ.get("CHRONOS_FUZZ_EXAMPLES", "200" if PROOF else "20"))
STEPS = 5
WAYS_TO_END = 3
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.yaml"
JSON = {"Content-Type": "application/json"}
ENDLESS = {"watch_executions"}
# A server alone has nobody to change; `test_cluster_change.py` makes these requests of a cluster.
IN_A_CLUSTER = {"list_members", "add_member", "remove_member", "promote_member", "transfer_leadership"}
BY_LINE = {"batch_jobs"}  # any text is a body there; what is wrong in it is refused line by line
BODY_BYTES_MAX = {"report_execution": callbacks.BODY_BYTES_MAX}  # where it is less than elsewhere
# What a wrong body may be answered with. Unlike the tool's own list, 413 is in it: a text too long for its field
# can make the whole body too large, and that is refused before anything is read.
REFUSED = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

DOCUMENT = outline()
SCHEMA = schemathesis.openapi.from_dict(
    deepcopy(DOCUMENT),
    config=SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}}),
)
OPERATIONS = {
    operation.definition.raw["operationId"]: operation
    for operation in (cast("Any", result).ok() for result in SCHEMA.get_all_operations())
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def _as_lines(_: Any, value: Any) -> bytes:
    return str(value).encode()


class World:
    """A server with something of everything in it."""

    def __init__(self, server: Served, target: str, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.target = target
        self.session = requests.Session()
        self.session.trust_env = False
        self.done: dict[str, int] = {}
        self.beginnings = itertools.count()

    def do(self, operation_id: str, **parts: Any) -> Any:
        """Make one request that has to succeed as described; return the answer."""
        operation = OPERATIONS[operation_id]
        case = operation.Case(
            path_parameters=parts.get("path", {}),
            query=parts.get("query", {}),
            headers={**JSON, **parts.get("headers", {})},
            **({"body": parts["body"]} if "body" in parts else {}),
            media_type=parts.get("media_type", "application/json"),
        )
        response = case.call(base_url=self.server.url, session=self.session)
        described = {int(status) for status in operation.definition.raw["responses"] if status.startswith("2")}
        assert response.status_code in described, (operation_id, response.content)
        case.validate_response(response, checks=CHECKS)
        self.done[operation_id] = response.status_code
        return response.json() if response.headers.get("content-type", [""])[0].startswith("application/json") else None

    def job(self, name: str, path: str = "/yes", **more: Any) -> dict[str, Any]:
        document = {"name": name, "schedule": "0 0 1 1 *", "webhook": {"url": self.target + path}, **more}
        created: dict[str, Any] = self.do("create_job", body=document)
        return created

    def run(self, job: str) -> dict[str, Any]:
        ended: dict[str, Any] = self.do("trigger_job", path={"job": job}, query={"wait": "20s"})
        return ended


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("openapi") / "data"
    with answering() as target, served(folder) as server:
        yield World(server, target, folder)


def test_the_description_in_the_documentation_is_the_servers(world: World) -> None:
    said = world.session.get(f"{world.server.url}/openapi.json", headers={"Accept": "application/json"}).json()

    written = YAML(typ="safe").load(REFERENCE.read_text())

    assert said == written, "`chronos openapi --output docs/reference/openapi.yaml` writes it anew"
    assert said == DOCUMENT


def test_every_operation_succeeds_as_it_is_described(world: World) -> None:
    _read_the_server(world)
    _write_jobs(world)
    _run_jobs(world)
    _look_at_schedules(world)
    _keep_keys(world)
    _tell_somebody(world)
    _take_turns(world)

    missing = set(OPERATIONS) - set(world.done) - ENDLESS - IN_A_CLUSTER
    assert not missing, f"no request of this test succeeds at {sorted(missing)}"


def _read_the_server(world: World) -> None:
    public = ["get_health", "get_healthz", "get_ready", "get_readyz", "read_metrics"]
    private = [
        "whoami",
        "get_openapi",
        "cluster_status",
        "get_clock",
        "accept_clock",
        "reset_clock",
        "list_breakers",
        "take_backup",
        "take_snapshot",
        "get_stats",
    ]
    for operation in [*public, *private, "get_heartbeat", "export_history", "export_executions"]:
        world.do(operation)


def _write_jobs(world: World) -> None:
    job = world.job("first", tags={"team": "a"})
    path = {"path": {"job": job["id"]}}
    assert world.do("get_job", **path)["name"] == "first"
    world.do("explain_job", **path, query={"at": "2027-01-01T01:00:00Z"})
    assert [one["name"] for one in world.do("list_jobs", query={"text": "irs"})["jobs"]] == ["first"]
    document = {"name": "first", "schedule": "0 1 1 1 *", "webhook": {"url": world.target}}
    world.do("replace_job", **path, headers={"If-Match": '"1"'}, body=document)
    world.do("patch_job", **path, headers={"If-Match": '"2"'}, body={"description": "patched"})
    for operation_id in [name for name in OPERATIONS if "version" in name or "roll_back" in name]:
        _do_version(world, operation_id, job["id"])
    for name in ("disable", "enable", "pause", "resume"):
        world.do(f"{name}_job", **path, **({"body": {"reason": "test"}} if name == "pause" else {}))
    lines = f'{{"name":"batched","schedule":"@daily","webhook":{{"url":"{world.target}"}}}}\n'
    kind = "application/x-ndjson"
    batch = world.do("batch_jobs", body=lines, media_type=kind, headers={"Content-Type": kind})
    assert batch["succeeded"] == 1
    world.do("delete_job", path={"job": "batched"})


def _do_version(world: World, operation_id: str, job: str) -> None:
    operation = OPERATIONS[operation_id]
    path = {"job": job} | ({"version": 1} if "{version}" in operation.path else {})
    needed = [p for p in operation.definition.raw.get("parameters", []) if p["in"] == "query" and p.get("required")]
    query = {p["name"]: i + 1 for i, p in enumerate(needed)}
    world.do(operation_id, path=path, query=query, headers={"If-Match": "*"})


def _run_jobs(world: World) -> None:
    job = world.job("runner", concurrency="allow")
    ended = world.run(job["id"])
    assert ended["status"] == "success"
    one = {"path": {"execution": ended["id"]}}
    assert world.do("get_execution", **one)["attempts"][0]["status_code"] == 200
    world.do("get_job_execution", path={"job": job["id"], "execution": ended["id"]})
    world.do("get_execution_logs", **one)
    world.do("replay_execution", **one)
    world.do("replay_job_execution", path={"job": job["id"], "execution": ended["id"]})
    world.do("list_executions", query={"status": "success", "limit": 2})
    world.do("list_job_executions", path={"job": job["id"]})
    since, until = "2020-01-01T00:00:00Z", "2022-01-02T00:00:00Z"
    filled = world.do("backfill_job", path={"job": job["id"]}, body={"since": since, "until": until})
    assert filled["count"] == 3
    _report(world)
    _fail_and_redrive(world)


def _report(world: World) -> None:
    """Report what is so already: the address of an attempt is made from the server's key, as the server makes it."""
    webhook = {"url": world.target + "/yes", "completion": "callback"}
    ended = world.run(world.job("reporting", webhook=webhook)["id"])
    file = world.folder / "keys" / "callbacks"
    key = key_of(file, file.read_text())
    token = token_of(key, Ticket(ended["id"], 1, 99_999_999_999))
    told = world.do("report_execution", query={"token": token}, body={"result": "success"})
    assert told == {"execution_id": ended["id"], "status": "success", "cancelled": False}


def _fail_and_redrive(world: World) -> None:
    world.job("failing", "/no")
    dead = world.run("failing")
    assert dead["status"] == "failed"
    newest, *_ = world.do("list_dead_letters")["executions"]  # others may have failed in what was tried before
    assert newest["id"] == dead["id"]
    world.do("redrive_execution", path={"execution": dead["id"]})
    world.job("failing-too", "/no")
    again = world.run("failing-too")
    world.do("redrive_executions", body={"execution_ids": [again["id"]]})
    slow = world.job("refused", "/yes", webhook={"url": "http://127.0.0.1:9/"}, retry_policy={"initial_interval": "1h"})
    waiting = world.do("trigger_job", path={"job": slow["id"]})
    world.do("cancel_execution", path={"execution": waiting["id"]}, body={"reason": "test"})
    world.do("test_webhook", body={"url": world.target + "/yes"})
    for _ in range(5):
        world.do("test_webhook", body={"url": "http://127.0.0.1:9/"})
    [breaker] = [one for one in world.do("list_breakers")["breakers"] if ":9" in one["host"]]
    world.do("reset_breaker", body={"host": breaker["host"]})


def _look_at_schedules(world: World) -> None:
    asked = {"schedule": "30 2 * * *", "timezone": "Europe/Paris"}
    assert world.do("validate_schedule", body=asked)["valid"]
    assert len(world.do("preview_schedule", body={**asked, "count": 7})["next_runs"]) == 7
    path = {"path": {"calendar": "holidays"}}
    world.do("put_calendar", **path, body={"exclude": ["2027-12-25"]})
    world.do("get_calendar", **path)
    world.do("list_calendars")
    world.do("delete_calendar", **path)


def _tell_somebody(world: World) -> None:
    channel = {"type": "webhook", "url": world.target + "/yes"}
    assert world.do("test_notify", body={"channels": [channel]})["results"][0]["ok"]
    for operation in ("list_lost_notices", "list_waiting_notices", "list_notify_channels"):
        world.do(operation)


def _take_turns(world: World) -> None:
    node, resource = {"path": {"node": "one"}}, {"path": {"resource": "database"}}
    world.do("register_node", **node, body={"location": "here", "tags": ["big"]})
    lease = world.do("request_lease", **resource, body={"node": "one", "request": "first"})
    assert lease["granted"]
    named = {"node": "one", "token": lease["token"]}
    assert world.do("renew_lease", **resource, body=named)["token"] == lease["token"]
    assert [one["holder"] for one in world.do("get_coordination")["resources"]] == ["one"]
    world.do("release_lease", **resource, body=named)
    world.do("remove_node", **node)


def _keep_keys(world: World) -> None:
    created = world.do("create_api_key", body={"name": "ci", "permissions": ["job:read"]})
    world.do("list_api_keys")
    world.do("get_api_key", path={"key": created["id"]})
    world.do("revoke_api_key", path={"key": created["id"]})


def test_what_is_created_leads_to_every_operation_on_it() -> None:
    made = DOCUMENT["paths"]["/api/v1/jobs"]["post"]["responses"]["201"]["links"]
    taking = {
        operation["operationId"]
        for path, methods in DOCUMENT["paths"].items()
        for operation in methods.values()
        if path.startswith("/api/v1/jobs/{job}") and path.count("{") == 1
    }

    assert set(made) == taking
    assert made["replace_job"]["parameters"] == {
        "job": "$response.body#/id",
        "header.If-Match": "$response.header.ETag",
    }


# Bodies that can work: what is drawn hardly ever is a schedule or a date.
SOUND: dict[str, dict[str, Any]] = {
    "backfill_job": {"since": "2020-01-01T00:00:00Z", "until": "2022-01-02T00:00:00Z"},
    "cancel_execution": {"reason": "followed"},
    "create_api_key": {"name": "followed", "permissions": ["job:read"]},
    "patch_job": {"description": "followed"},
    "pause_job": {"reason": "followed"},
    "put_calendar": {"exclude": ["2027-12-25"]},
}
BEGINNINGS = sorted(
    operation_id
    for operation_id, operation in OPERATIONS.items()
    if any("links" in answer for answer in operation.definition.raw["responses"].values())
)


def _begun(world: World, operation_id: str) -> Any:
    """Make what the links of an operation lead on from, and return the answer; in turn it ends in each of the ways."""
    n = next(world.beginnings)
    # One ends well, one as a dead letter, one waits for an hour and can be cancelled.
    urls = [f"{world.target}/yes", f"{world.target}/no", "http://127.0.0.1:9/"]
    job = {
        "name": f"followed-{operation_id}-{n}",
        "schedule": "0 0 1 1 *",
        "concurrency": "allow",
        "webhook": {"url": urls[n % WAYS_TO_END]},
        "retry_policy": {"initial_interval": "1h", "max_interval": "1h"},
    }
    SOUND["create_job"] = SOUND["replace_job"] = job
    path = {"calendar": f"followed-{n}"} if operation_id == "put_calendar" else {}
    if operation_id not in ("create_job", "put_calendar", "create_api_key"):
        path = {"job": world.do("create_job", body=job)["id"]}
    operation = OPERATIONS[operation_id]
    body = {"body": SOUND[operation_id]} if operation_id in SOUND else {}
    query = {"wait": "10s"} if operation_id == "trigger_job" and n % WAYS_TO_END < 2 else {}
    case = operation.Case(path_parameters=path, headers=JSON, query=query, media_type="application/json", **body)
    response = case.call(base_url=world.server.url, session=world.session, timeout=30)
    case.validate_response(response, checks=CHECKS)
    return response


def _lead(case: Any, parameters: dict[str, str], response: Any) -> None:
    """Put what a link takes from an answer into the next request."""
    for name, expression in parameters.items():
        if expression.startswith("$response.header."):
            case.headers[name.removeprefix("header.")] = response.headers["etag"][0]
        else:
            case.path_parameters[name] = response.json()[expression.partition("#/")[2]]


def _links(beginning: str) -> dict[str, Any]:
    answers = OPERATIONS[beginning].definition.raw["responses"].values()
    links: dict[str, Any] = next(answer["links"] for answer in answers if "links" in answer)
    return links


FOLLOWING = [(beginning, name) for beginning in BEGINNINGS for name in sorted(_links(beginning))]
NEEDS_QUERY = {"diff_versions": {"from": 1, "to": 1}}


@pytest.mark.parametrize(("beginning", "name"), FOLLOWING)
def test_what_a_link_leads_to_works_with_what_the_answer_gave(world: World, beginning: str, name: str) -> None:
    statuses = []
    for _ in range(WAYS_TO_END):
        begun = _begun(world, beginning)
        body = {"body": deepcopy(SOUND[name])} if name in SOUND else {}
        case = OPERATIONS[name].Case(
            path_parameters={}, query=NEEDS_QUERY.get(name, {}), headers=JSON, media_type="application/json", **body
        )
        _lead(case, _links(beginning)[name]["parameters"], begun)
        response = case.call(base_url=world.server.url, session=world.session, timeout=30)
        case.validate_response(response, checks=CHECKS)
        statuses.append(response.status_code)
    assert any(status < 300 for status in statuses), statuses


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_operations_that_follow_from_each_other_are_answered_as_described(world: World, beginning: str) -> None:
    links = _links(beginning)

    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def follow(data: Any) -> None:
        # Drawn before anything is sent, so that what is drawn depends on nothing but the seed.
        names = data.draw(st.lists(st.sampled_from(sorted(links)), min_size=1, max_size=STEPS))
        drawn = [(name, data.draw(OPERATIONS[name].as_strategy()), data.draw(st.booleans())) for name in names]
        begun = _begun(world, beginning)
        for name, case, is_sound in drawn:
            case.headers = {**(case.headers or {})}
            for part in ("wait", "follow", "namespace", *(["kind", "cursor", "since", "until"] if is_sound else [])):
                (case.query or {}).pop(part, None)
            if is_sound and name in SOUND:
                case.body = SOUND[name]
            _lead(case, links[name]["parameters"], begun)
            response = case.call(base_url=world.server.url, session=world.session, timeout=30)
            case.validate_response(response, checks=CHECKS)

    follow()


@pytest.mark.parametrize(
    ("character", "status"),
    [pytest.param("a", 422, id="fits-the-server"), pytest.param("\U000d7a98", 413, id="too-large-for-the-server")],
)
def test_a_text_too_long_for_its_field_is_refused_as_described(world: World, character: str, status: int) -> None:
    operation = OPERATIONS["test_webhook"]
    body = {"url": world.target, "body": character * (limits.BODY_BYTES_MAX + 1)}
    case = operation.Case(body=body, headers=JSON, media_type="application/json")

    response = case.call(base_url=world.server.url, session=world.session, timeout=30)

    assert response.status_code == status
    case.validate_response(response, checks=CHECKS)


def _assert_too_large(operation_id: str, response: Any) -> None:
    """Nothing may be called too large that is not: it would hide what is wrong in it."""
    body = response.request.body or b""
    size = len(body.encode() if isinstance(body, str) else body)
    assert size > BODY_BYTES_MAX.get(operation_id, routing.BODY_BYTES_MAX), (operation_id, size)


def _known(world: World) -> dict[str, list[str]]:
    """Things that exist, so that paths lead somewhere now and then."""
    runs = world.session.get(f"{world.server.url}/api/v1/executions?limit=20").json()["executions"]
    jobs = world.session.get(f"{world.server.url}/api/v1/jobs?limit=20").json()["jobs"]
    return {"job": [one["id"] for one in jobs] or ["none"], "execution": [one["id"] for one in runs] or ["none"]}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation_id", sorted(set(OPERATIONS) - ENDLESS))
def test_whatever_is_sent_is_answered_as_described(world: World, operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    known = _known(world)

    @given(case=operation.as_strategy(), data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def attack(case: Any, data: Any) -> None:
        for name, values in known.items():
            if name in (case.path_parameters or {}) and data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(values))
        if operation_id == "trigger_job" and case.query:
            case.query.pop("wait", None)  # a minute each is more patience than a test has
        response = case.call(base_url=world.server.url, session=world.session, timeout=30)
        case.validate_response(response, checks=CHECKS)

    attack()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "operation_id",
    sorted(name for name, op in OPERATIONS.items() if "requestBody" in op.definition.raw and name not in BY_LINE),
)
def test_what_the_description_forbids_is_refused(world: World, operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @given(case=wrong)
    @settings(
        max_examples=max(1, EXAMPLES // 4),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def attack(case: Any) -> None:
        response = case.call(base_url=world.server.url, session=world.session, timeout=30)
        case.validate_response(response, checks=[*CHECKS, negative_data_rejection])
        if response.status_code == 413:
            _assert_too_large(operation_id, response)

    attack()
