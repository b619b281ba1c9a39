"""A server in memory, as far as the command line needs one: it keeps jobs, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httpx2

Document = dict[str, Any]
NOW = "2027-01-01T00:00:00Z"


class FakeServer:
    """Answers like Chronos' REST API; `answers` overrides a path with a canned answer."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Document] = {}
        self.requests: list[httpx2.Request] = []
        self.answers: dict[tuple[str, str], Callable[[httpx2.Request], httpx2.Response]] = {}
        self.page_size = 200

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.handle)

    def on(self, method: str, path: str, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Answer `method path` with this, whatever else there is."""
        self.answers[method, path] = lambda _: httpx2.Response(status, json=body, headers=headers)

    def add(self, name: str, **more: Any) -> Document:
        """Keep a job, as if it had been created."""
        spec = {"name": name, "schedule": "@hourly", "webhook": {"url": "http://t.example/", "method": "POST"}, **more}
        return self._keep(spec, str(more.get("namespace", "default")))

    def bodies(self, method: str) -> list[Any]:
        return [json.loads(r.content) if r.content else None for r in self.requests if r.method == method]

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        path = request.url.path
        if (canned := self.answers.get((request.method, path))) is not None:
            return canned(request)
        parts = [unquote(part) for part in path.removeprefix("/api/v1/").split("/")]
        namespace = request.headers.get("x-namespace", "default")
        if parts == ["jobs:batch"]:
            return self._batch(request, namespace)
        if parts[0] == "jobs":
            return self._jobs(request, parts[1:], namespace)
        return problem(404, "not-found", f"There is nothing at {path}.")

    def _jobs(self, request: httpx2.Request, parts: list[str], namespace: str) -> httpx2.Response:
        if not parts and request.method == "GET":
            return self._list(request, namespace)
        if not parts:
            return self._create(json.loads(request.content), namespace)
        job = self._find(parts[0], namespace)
        if job is None:
            return problem(404, "job-not-found", f"There is no job `{parts[0]}`.")
        if len(parts) == 2:
            return self._act(job, parts[1], request)
        return self._one(request, job, namespace)

    def _one(self, request: httpx2.Request, job: Document, namespace: str) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(200, json=job)
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted != f'"{job["revision"]}"':
            return problem(412, "version-conflict", "The job was changed by someone else; read it again.")
        if request.method == "DELETE":
            del self.jobs[job["namespace"], job["name"]]
            return httpx2.Response(200, json={"id": job["id"], "name": job["name"], "already_sent": []})
        body = json.loads(request.content)
        if request.method == "PATCH":
            return httpx2.Response(200, json=self._patch(job, body))
        changed = {**body, "id": job["id"], "revision": job["revision"] + 1, "namespace": job["namespace"]}
        self.jobs[job["namespace"], job["name"]] = changed
        return httpx2.Response(200, json=changed)

    def _patch(self, job: Document, patch: Document) -> Document:
        for name, value in patch.items():
            if value is None:
                job.pop(name, None)
            else:
                job[name] = {**job.get(name, {}), **value} if isinstance(value, dict) else value
        job["revision"] += 1
        return job

    def _act(self, job: Document, action: str, request: httpx2.Request) -> httpx2.Response:
        if action == "trigger":
            run = {"id": "occ_1", "job_id": job["id"], "job_name": job["name"], "status": "success"}
            return httpx2.Response(202, json={**run, "kind": "manual", "scheduled_time": NOW})
        if action in ("pause", "disable"):
            body = json.loads(request.content) if request.content else {}
            job["paused"], job["enabled"] = {"reason": body.get("reason", ""), "until": body.get("until")}, False
        if action in ("resume", "enable"):
            job["paused"], job["enabled"] = None, True
        if action == "backfill":
            return httpx2.Response(202, json={"execution_ids": ["occ_1", "occ_2"], "count": 2})
        return httpx2.Response(200, json=job)

    def _list(self, request: httpx2.Request, namespace: str) -> httpx2.Response:
        query = request.url.params
        tags = {name.removeprefix("tag."): value for name, value in query.items() if name.startswith("tag.")}
        found = [
            job
            for (where, _), job in sorted(self.jobs.items())
            if where == namespace and all(job.get("tags", {}).get(key) == value for key, value in tags.items())
        ]
        start = int(query.get("cursor", 0))
        size = min(int(query.get("limit", 50)), self.page_size)
        following = str(start + size) if start + size < len(found) else None
        return httpx2.Response(
            200, json={"jobs": found[start : start + size], "next_cursor": following, "total": len(found)}
        )

    def _create(self, spec: Document, namespace: str) -> httpx2.Response:
        where = spec.get("namespace", namespace)
        if (where, spec["name"]) in self.jobs:
            return problem(409, "name-taken", f"There is a job `{spec['name']}` already.", field="name")
        return httpx2.Response(201, json=self._keep(spec, where))

    def _keep(self, spec: Document, namespace: str) -> Document:
        number = len(self.jobs) + 1
        job = {"enabled": True, "next_run": NOW, **spec, "id": f"01JOB{number:021}", "revision": 1}
        self.jobs[namespace, spec["name"]] = {**job, "namespace": namespace}
        return self.jobs[namespace, spec["name"]]

    def _find(self, ref: str, namespace: str) -> Document | None:
        mine = [job for (where, _), job in self.jobs.items() if where == namespace]
        return next((job for job in mine if ref in (job["name"], job["id"])), None)

    def _batch(self, request: httpx2.Request, namespace: str) -> httpx2.Response:
        assert request.headers["content-type"] == "application/x-ndjson"
        results = []
        for line, text in enumerate(request.content.split(b"\n"), 1):
            spec = json.loads(text)
            new = (namespace, spec["name"]) not in self.jobs
            job = self._keep(spec, namespace)
            results.append({"line": line, "status": 201 if new else 200, "id": job["id"], "name": job["name"]})
        return httpx2.Response(200, json={"results": results, "succeeded": len(results), "failed": 0})


def problem(status: int, slug: str, detail: str, **facts: Any) -> httpx2.Response:
    """Return problem details, as the server writes them."""
    body = {"type": slug, "title": "A title.", "status": status, "detail": detail, **facts}
    return httpx2.Response(status, json=body, headers={"content-type": "application/problem+json"})
