"""Every block of the documentation is run, or read by what it is for, or named here with the reason why not."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from tests.acceptance.fences import Fence, commands, fences

from chronos.cli.chronosctl.root import cli
from chronos.cli.chronosctl.session import Session
from chronos.cli.chronosctl.yamlfile import dump_yaml, load_yaml
from chronos.cli.rpr.config import configured
from chronos.errors import ChronosError
from chronos.model.formats import Marker
from chronos.model.job import JobSpec
from chronos.model.target import HttpTarget
from chronos.server import manifest
from chronos.server.config import load
from chronos.server.problems import Problem
from chronos.timing.calendar import CalendarRules

# Commands that no test types, and why. Those of chronosctl are parsed all the same.
UNRUN = {
    "make run": "it starts a server that stays; CI runs it in a fresh clone",
    "make test": "it is what runs this",
    "chronosctl cluster snapshot before-the-upgrade.backup -s http://10.0.0.2:8080": (
        "tests/acceptance/test_cluster_snapshot.py takes one of a member"
    ),
    "chronos restore before-the-upgrade.backup --data-dir there": "tests/acceptance/test_cluster_snapshot.py runs it",
    "cp /etc/chronos/n1/keys/* there/keys/": "tests/acceptance/test_cluster_snapshot.py copies them",
    "make cluster": "tests/acceptance/test_showcase.py runs what it runs, for as short as it goes",
    "python -m chronos.testing.simulate --seed 7 --minutes 10": "tests/simulation runs it, on many seeds",
    "python -m chronos.testing.simulate --seed 7 --minutes 3 --profile disk --transcript": "tests/simulation runs it",
    "python -m chronos.testing.simulate --seed 7 --nodes 3 --minutes 1": "tests/simulation/test_clusters.py runs it",
    "python -m chronos.testing.simulate --seed 7 --nodes 5 --minutes 1 --profile network --keep broken/": (
        "tests/simulation/test_clusters.py runs it, and keeps what is broken"
    ),
    "make mutants-discover ARGS=retry-in-beside": "it looks for minutes; tests/mutants replays what it has found",
    'export PATH="$PWD/.venv/bin:$PATH"': "it changes the shell it is typed in",
    "python3 -m http.server 9000 --bind 127.0.0.1": "it stays; the test has a target of its own on that port",
    "python3 listener.py": "it stays; the test has a target of its own on that port",
    "chronosctl top": "it is a live screen; tests/unit/cli/test_top.py presses its keys",
    "make bench": "it measures for minutes; CI runs every script for a few seconds",
    ".venv/bin/python -m bench --json --long > results.json": "it measures for minutes",
    ".venv/bin/python -m bench.peers --json >> results.json": "it installs other schedulers and measures for minutes",
    ".venv/bin/python -m bench.peers --shape burst --jobs 1000": "it installs other schedulers and measures",
    ".venv/bin/python bench/table.py results.json --page docs/reference/performance.md": (
        "tests/unit/test_bench_table.py writes tables into a page"
    ),
    "crontab -l > crontab.txt": "not every machine has a crontab; the test writes one",
    "chronosctl notify test nightly": "it would write to Slack and to a mail server",
    "python3 -m venv /opt/chronos": "it changes the machine",
    "/opt/chronos/bin/pip install --require-hashes -r requirements/runtime.txt": "it changes the machine",
    "/opt/chronos/bin/pip install --require-hashes -r requirements/build.txt": "it changes the machine",
    "/opt/chronos/bin/pip install --no-deps --no-build-isolation .": "it changes the machine",
    "sudo /opt/chronos/bin/chronos service install --config /etc/chronos/chronos.yaml": "it changes the machine",
    "sudo chronos service uninstall": "it changes the machine",
    "chronos service status": "it needs the service of the installation",
    "chronosctl --data-dir /var/lib/chronos key create deploy": "the folder is the one of the installation before",
    "systemctl restart chronos": "it needs the service of the installation",
    "systemctl restart chronos@n1": "it needs the service of the installation",
    "chronosctl cluster status": "it needs a cluster; test_cluster_truth.py asks three members the same",
    "chronosctl doctor": "it looks after a server of one's own; tests/unit/cli runs it",
    "curl -s localhost:8080/ready": "it needs a cluster; test_cluster_truth.py asks three members the same",
    "chronos backup last.backup --data-dir /var/lib/chronos --passphrase-file backup.pass": (
        "test_disaster.py takes it of the last of three members"
    ),
    "chronos restore last.backup --data-dir /var/lib/chronos --passphrase-file backup.pass": (
        "test_disaster.py lets a new server go on from it"
    ),
    "docker build -f deploy/container/Dockerfile -t chronos .": "it needs an engine of containers, and a registry",
    (
        "docker run --detach --name chronos --restart on-failure"
        "      --read-only --cap-drop ALL --security-opt no-new-privileges"
        "      --stop-timeout 45 --ulimit nofile=65536"
        "      --volume chronos:/data --publish 127.0.0.1:8080:8080 chronos"
    ): "it needs an engine of containers, and a registry",
    "chronos cluster init --name prod --node n1=10.0.0.1 --node n2=10.0.0.2 --node n3=10.0.0.3": (
        "tests/unit/server/founding/test_init.py runs it"
    ),
    "chronos cluster init --name prod --node n1=10.0.0.1 --keys-from /var/lib/chronos --data-dir /var/lib/chronos": (
        "test_growing.py grows a node so, on loopback"
    ),
    (
        "chronos cluster init --name prod"
        "      --node chronos-0=chronos-0.chronos-peers.jobs.svc"
        "      --node chronos-1=chronos-1.chronos-peers.jobs.svc"
        "      --node chronos-2=chronos-2.chronos-peers.jobs.svc"
    ): "it is for Kubernetes; tests/acceptance/test_cluster_deploy.py reads what the chart makes of it",
    "kubectl -n jobs create secret generic chronos-keys --from-file=chronos-0/keys": "it needs Kubernetes",
    (
        "kubectl -n jobs create secret generic chronos-tls --from-file=ca.crt=ca/ca.crt"
        "      --from-file=chronos-0.crt=chronos-0/node.crt --from-file=chronos-0.key=chronos-0/node.key"
        "      --from-file=chronos-1.crt=chronos-1/node.crt --from-file=chronos-1.key=chronos-1/node.key"
        "      --from-file=chronos-2.crt=chronos-2/node.crt --from-file=chronos-2.key=chronos-2/node.key"
    ): "it needs Kubernetes",
    "helm install chronos deploy/helm/chronos -n jobs --set cluster.name=prod --set cluster.uuid=UUID": "Kubernetes",
    "chronos server --config n1/chronos.yaml": "tests/acceptance/test_cluster.py runs three",
    "chronos cluster invite n4=10.0.0.4": "tests/unit/server/founding/test_inviting.py invites and joins so",
    "chronos cluster node n4=10.0.0.4": "tests/acceptance/test_cluster_change.py makes nodes so",
    "chronosctl cluster members": "it needs a cluster; tests/acceptance/test_cluster_change.py has one",
    "chronosctl cluster remove n4": "the same",
    "chronosctl cluster transfer-leadership n2": "the same",
    "chronos cluster show": "tests/unit/server/founding/test_init.py runs it",
    "chronos cluster renew": "tests/unit/server/founding/test_init.py runs it",
    "docker exec chronos cat /data/admin.key": "it needs an engine of containers, and a registry",
    "chronos verify april.ndjson --head b4e3ca27238605a45466ae9d33220dd461338c5582d0d5ee7b308b4f4e017ccc": "no export",
    "chronos verify export.ndjson --since 2027-03-01T00:00:00Z --until 2027-03-31T23:59:59Z -v": "no export",
    "chronos explain nightly --offline --data-dir /var/lib/chronos": "the folder is elsewhere here",
    "chronos export --data-dir /var/lib/chronos --to dead.ndjson.gz": (
        "the folder is elsewhere here; tests/integration/server/test_looking.py exports one"
    ),
    "chronos backup chronos.backup --server https://cron.example.com --api-key-file my.key --without-keys": (
        "the server is somewhere else; tests/acceptance/test_backup.py does it to one that is here"
    ),
    'chronos backup "/backups/chronos-$(date +%F).backup" --data-dir /var/lib/chronos '
    "--passphrase-file /etc/chronos/backup.pass": "its folders are the installation's",
    "chronos restore chronos.backup --data-dir there --as-of 2027-01-01T09:00:00Z": (
        "no server of a test was there then; tests/integration/server/test_backup_round_trip.py restores any instant"
    ),
    "chronos restore newer.backup --base older.backup --data-dir there --as-of 2027-01-01T09:00:00Z": (
        "no server of a test was there then; tests/integration/server/test_backup_round_trip.py does it"
    ),
    "rpr interval --every 1m --health-port 8081 --metrics-port 9091 -- ./work.sh": (
        "it stays; tests/acceptance/rpr/test_rows.py asks what is served"
    ),
    "rpr interval --every 5s --watch -- kubectl get pods": (
        "it is a live screen; tests/acceptance/rpr/test_watch.py presses its keys"
    ),
    "rpr interval --every 2s --until-match Ready --watch -- ./status.sh && ./deploy.sh": (
        "it needs a terminal; tests/acceptance/rpr/test_watch.py has one"
    ),
    "promtool check metrics < metrics.txt": "promtool is optional; the tests of the metrics run it where it is",
}
# Blocks that show something and are typed nowhere.
SHOWN = {"text", "mermaid"}


def of_kind(*kinds: str) -> list[Any]:
    return [pytest.param(fence, id=str(fence)) for fence in fences() if fence.kind in kinds]


def test_every_block_says_what_it_is_and_is_looked_at() -> None:
    looked_at = {"console", "sh", "yaml", "json", "toml", "python", "js", "go", "ini", "sql"} | SHOWN
    # A `receiver=` is run by the tests of signatures, in its own language.
    unread = [fence for fence in fences() if fence.kind not in looked_at and not fence.option("receiver")]
    assert [f"{fence} {fence.kind!r}" for fence in unread] == []


def test_every_command_is_run_or_has_a_reason() -> None:
    said = [(str(f), c) for f in fences() if f.kind == "console" and not f.option("test") for c in commands(f.text)]
    assert [f"{where}: {command}" for where, command in said if command not in UNRUN] == []
    assert set(UNRUN) - {command for _, command in said} == set(), "these are said nowhere any more"


def chronosctl_lines() -> Iterator[Any]:
    """Yield every line of the documentation that calls `chronosctl`, as its arguments."""
    for fence in fences():
        lines = (
            commands(fence.text) if fence.kind == "console" else fence.text.splitlines() if fence.kind == "sh" else []
        )
        for line in lines:
            for call in re.findall(r"(?:^|\(|[|;&] ?)(?:umask 077; )?(?:\.venv/bin/)?chronosctl ([^|;&)]*)", line):
                yield pytest.param(shlex.split(call.partition(" > ")[0].partition(" < ")[0]), id=f"{fence} {call[:50]}")


@pytest.mark.parametrize("arguments", list(chronosctl_lines()))
def test_every_line_of_chronosctl_can_be_typed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in arguments:
        if re.fullmatch(r"[\w-]+\.\w+", word):
            (tmp_path / word).touch()  # a file that an option opens while it is read
    command: click.Command = cli
    context = cli.make_context("chronosctl", list(arguments), obj=Session(environ={}))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("fence", of_kind("yaml"))
def test_every_yaml_is_what_it_is_for(fence: Fence, tmp_path: Path) -> None:
    for document in load_yaml(fence.text, str(fence)):
        assert isinstance(document, dict)
        if {"name", "schedule"} <= set(document) or "dependencies" in document:
            assert msgspec.convert(document, JobSpec).normal().target
        elif "rules" in document:
            assert msgspec.convert(msgspec.to_builtins(document["rules"]), CalendarRules)
        elif set(document) <= set(HttpTarget.__struct_fields__) and not fence.option("config"):
            assert msgspec.convert({"url": "http://example.org/", **document}, HttpTarget)  # a part of a job's target
        elif set(document) <= {"scrape_configs", "groups"}:
            assert all(isinstance(value, list) for value in document.values())  # Prometheus' own
        else:
            file = tmp_path / "chronos.yaml"
            file.write_text(dump_yaml(document))
            assert load(file, environ={}, flags={}, feature_types=manifest.sections()).notes == []


@pytest.mark.parametrize("fence", of_kind("toml"))
def test_every_toml_configures_rpr(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "rpr.toml"
    file.write_text(fence.text)
    assert configured("interval", {"config": str(file)}, {})


@pytest.mark.parametrize("fence", of_kind("json"))
def test_every_json_is_what_it_is_for(fence: Fence) -> None:
    document = msgspec.json.decode(fence.text)
    if "schedule" in document:
        assert msgspec.convert(document, JobSpec).normal().target
    elif "title" in document:
        assert msgspec.convert(document, Problem).status in range(400, 600)
    elif "format" in document:
        assert set(document) == set(Marker.__struct_fields__)
    else:
        assert set(document) == {"execution_id", "attempt", "cancel"}


@pytest.mark.parametrize("fence", of_kind("python"))
def test_every_python_is_python_whose_imports_are_there(fence: Fence) -> None:
    tree = ast.parse(fence.text)
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec("\n".join(imports), {})


@pytest.mark.parametrize("fence", of_kind("ini"))
def test_every_unit_can_be_read_and_starts_a_command_there_is(fence: Fence) -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.read_string(fence.text)
    words = unit["Service"].get("ExecStart", "chronos server").split()  # a drop-in has none
    assert Path(words[0]).name == "chronos"
    assert words[1:2] == ["server"]


@pytest.mark.parametrize("fence", of_kind("sql"))
def test_every_sql_runs(fence: Fence) -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript(fence.text)


class Database:
    """What the receiver's example needs of one."""

    def __init__(self, tables: str) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(tables)

    def transaction(self) -> Any:
        return self._database

    def execute(self, sql: str, values: list[str]) -> Any:
        return self._database.execute(sql, values)


def example_with(name: str) -> dict[str, Any]:
    """Return what the python example that defines `name` defines."""
    [fence] = [fence for fence in fences() if fence.kind == "python" and f"def {name}(" in fence.text]
    names: dict[str, Any] = {}
    exec(fence.text, names)
    return names


def test_the_receiver_of_the_documentation_does_the_work_once() -> None:
    [tables] = [fence.text for fence in fences() if "chronos_seen" in fence.text and fence.kind == "sql"]
    names = example_with("handle")
    done: list[str] = []
    names["do_the_work"] = lambda db: done.append("x")

    class Request:
        headers = {"Idempotency-Key": "occ_1"}  # noqa: RUF012

    database = Database(tables)
    assert [names["handle"](Request, database) for _ in range(3)] == [200, 200, 200]
    assert done == ["x"]


def test_the_fencing_token_of_the_documentation_is_compared_as_numbers() -> None:
    token: Callable[[str], tuple[int, ...]] = example_with("token")["token"]
    assert token("0.10.2") > token("0.9.30")


def test_what_a_console_example_runs_is_what_follows_the_dollar() -> None:
    assert commands("$ a \\\n    b\noutput\n$ c\n") == ["a      b", "c"]


def test_a_wrong_example_would_be_found() -> None:
    with pytest.raises((msgspec.ValidationError, ChronosError)):
        msgspec.convert({"name": "a", "schedule": "0 2 * * *", "webook": {}}, JobSpec)
    with pytest.raises(click.UsageError):
        cli.make_context("chronosctl", ["--no-such-flag"], obj=Session(environ={}))
