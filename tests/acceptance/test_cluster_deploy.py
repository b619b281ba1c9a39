"""What is deployed of a cluster: compose file, chart and unit fit what `chronos cluster init` makes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from tests.acceptance.image import stages
from tests.architecture.source import ROOT

from chronos.cli.server import main
from chronos.cluster.peers.roster import Identity
from chronos.cluster.peers.tls import Credentials
from chronos.errors import ConfigInvalid
from chronos.server import manifest
from chronos.server.clustered import Clustered, clustered
from chronos.server.config import Config, load
from chronos.server.founding.keys import plant_keys
from chronos.timing.clock import SystemClock

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
CHART = DEPLOY / "helm" / "chronos"
UNIT = DEPLOY / "systemd" / "chronos@.service"
BUILD_S = 110
UUID = "6e6f6465-0000-4000-8000-000000000001"

Rendered = dict[tuple[str, str], dict[str, Any]]


def need(program: str) -> None:
    if shutil.which(program) is None:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), f"{program} is missing; `make services` installs it"
        pytest.skip(f"{program} is not here")


def image_environment() -> dict[str, str]:
    found = stages(DEPLOY / "container" / "Dockerfile")[-1].environment()
    return {name: value for name, value in found.items() if name.startswith("CHRONOS_")}


def configured(file: Path, environ: dict[str, str]) -> Config:
    return load(file, environ=environ, flags={}, feature_types=manifest.sections())


def place_of(config: Config) -> Clustered:
    found = clustered(config)
    assert found is not None
    return found


def test_nothing_that_is_shipped_gives_up_authentication() -> None:
    shipped = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert len(shipped) > 10
    said = re.compile(r"--insecure|type: *none|AUTH__TYPE")
    assert [path.name for path in shipped if said.search(path.read_text())] == []


# Compose.


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(COMPOSE.read_text())
    return found


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Run the command that stands at the top of the compose file; return where its folders are."""
    [line] = re.findall(r"^# +chronos (cluster init .*)$", COMPOSE.read_text(), re.MULTILINE)
    done = CliRunner().invoke(main, [*shlex.split(line), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    return tmp_path


def test_three_containers_cannot_write_gain_rights_or_be_reached_from_outside(compose: dict[str, Any]) -> None:
    assert sorted(compose["services"]) == ["n1", "n2", "n3"]
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") and port.endswith(":8080") for port in service["ports"])
        assert "environment" not in service, "a secret in a variable is read by everything that runs there"
        assert service["stop_grace_period"] == "45s"


def test_each_container_has_its_own_data(compose: dict[str, Any]) -> None:
    volumes = [volume for service in compose["services"].values() for volume in service["volumes"]]
    assert volumes == [f"{name}:/data" for name in compose["services"]]


def test_every_secret_is_a_file_that_init_makes_and_every_node_finds_its_own(
    compose: dict[str, Any], made: Path, tmp_path: Path
) -> None:
    secrets = {name: made / one["file"] for name, one in compose["secrets"].items()}
    assert [str(path) for path in secrets.values() if not path.is_file()] == []
    assert not any("ca.key" in str(path) for path in secrets.values())
    used = {one["source"] for service in compose["services"].values() for one in service["secrets"]}
    assert used == set(secrets)
    for name, service in compose["services"].items():
        root = tmp_path / f"container-{name}"
        for one in service["secrets"]:
            target = root / one["target"].removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(secrets[one["source"]], target)
        config = configured(root / service["command"][-1].removeprefix("/"), image_environment())
        node = place_of(config)
        Credentials(node.tls, Identity(node.uuid, name), SystemClock())
        (root / "data").mkdir()
        assert node.keys is not None
        assert plant_keys(node.keys, root / "data")
        assert (node.node, node.own.peer.host, config.settings.cluster.data_dir) == (name, service["hostname"], "/data")
        assert node.own.peer.port == node.listen.port


# The chart.


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("go")
    program = tmp_path_factory.mktemp("helm") / "render"
    built = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=Path(__file__).with_name("helm"),
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
        env={**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"},
    )
    if built.returncode:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), built.stderr
        pytest.skip(f"Go cannot build the renderer here: {built.stderr[-300:]}")
    return program


@pytest.fixture
def run(renderer: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def rendered(**values: Any) -> subprocess.CompletedProcess[str]:
        command = [str(renderer), str(CHART), "chronos", "jobs"]
        return subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, timeout=30, check=False
        )

    return rendered


Run = Callable[..., subprocess.CompletedProcess[str]]


def render(run: Run, **values: Any) -> Rendered:
    done = run(**{"cluster": {"name": "prod", "uuid": UUID}, **values})
    assert done.returncode == 0, done.stderr
    documents = [document for document in YAML(typ="safe").load_all(done.stdout) if document]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents)
    return found


def pod(rendered: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = rendered["StatefulSet", "chronos"]["spec"]["template"]["spec"]
    return found


def config_of(rendered: Rendered, tmp_path: Path, node: str) -> Config:
    """Return the configuration as a pod reads it."""
    file = tmp_path / "chronos.yaml"
    file.write_text(rendered["ConfigMap", "chronos"]["data"]["chronos.yaml"])
    environ = image_environment()
    for one in pod(rendered)["containers"][0]["env"]:
        environ[one["name"]] = str(one.get("value", node)).replace("$(CHRONOS_NODE_ID)", node)
    return configured(file, environ)


def test_the_chart_makes_what_a_cluster_needs(run: Run) -> None:
    assert sorted(render(run, serviceMonitor={"enabled": True})) == [
        ("ConfigMap", "chronos"),
        ("NetworkPolicy", "chronos"),
        ("PodDisruptionBudget", "chronos"),
        ("Service", "chronos"),
        ("Service", "chronos-peers"),
        ("ServiceMonitor", "chronos"),
        ("StatefulSet", "chronos"),
    ]


def test_every_pod_is_a_member_with_its_own_certificate(run: Run, tmp_path: Path) -> None:
    rendered = render(run)
    for number in range(3):
        config = config_of(rendered, tmp_path, f"chronos-{number}")
        node = place_of(config)
        assert config.notes == []
        assert len(node.members) == rendered["StatefulSet", "chronos"]["spec"]["replicas"] == 3
        assert str(node.own.peer) == f"chronos-{number}.chronos-peers.jobs.svc:7443"
        assert str(node.tls.certificate) == f"/etc/chronos/tls/chronos-{number}.crt"
        assert str(node.listen) == "0.0.0.0:7443"
    mounted = {mount["mountPath"] for mount in pod(rendered)["containers"][0]["volumeMounts"]}
    assert {"/data", "/etc/chronos/tls", "/etc/chronos/keys", "/etc/chronos/chronos.yaml"} <= mounted


def test_pods_have_no_rights_and_a_root_nobody_writes_to(run: Run) -> None:
    spec = pod(render(run))
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_pods_meet_before_they_are_ready_and_leave_one_at_a_time(run: Run) -> None:
    rendered = render(run, drainSeconds=90)
    peers = rendered["Service", "chronos-peers"]["spec"]
    assert (peers["clusterIP"], peers["publishNotReadyAddresses"]) == ("None", True)
    stateful = rendered["StatefulSet", "chronos"]["spec"]
    assert (stateful["serviceName"], stateful["podManagementPolicy"]) == ("chronos-peers", "Parallel")
    assert rendered["PodDisruptionBudget", "chronos"]["spec"]["maxUnavailable"] == 1
    assert pod(rendered)["terminationGracePeriodSeconds"] > 90
    assert "drain: 90s" in rendered["ConfigMap", "chronos"]["data"]["chronos.yaml"]


def test_only_nodes_reach_the_nodes_own_ports(run: Run) -> None:
    rendered = render(run)
    names = {port["name"]: port["containerPort"] for port in pod(rendered)["containers"][0]["ports"]}
    assert names == {"http": 8080, "peers": 7443, "engine": 7444}
    nodes, clients = rendered["NetworkPolicy", "chronos"]["spec"]["ingress"]
    labels = rendered["StatefulSet", "chronos"]["spec"]["selector"]["matchLabels"]
    assert nodes["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert {port["port"] for port in nodes["ports"]} == {"peers", "engine"}
    assert [port["port"] for port in clients["ports"]] == ["http"]


def test_each_node_is_scraped_once(run: Run) -> None:
    rendered = render(run, serviceMonitor={"enabled": True, "labels": {"release": "prometheus"}})
    monitor = rendered["ServiceMonitor", "chronos"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    chosen = [
        name
        for (kind, name), one in rendered.items()
        if kind == "Service" and wanted <= one["metadata"]["labels"].items()
    ]
    assert chosen == ["chronos-peers"]
    assert monitor["spec"]["endpoints"][0]["authorization"]["credentials"] == {
        "name": "chronos-metrics",
        "key": "token",
    }


def test_one_replica_is_a_node_alone(run: Run, tmp_path: Path) -> None:
    rendered = render(
        run, replicas=1, cluster={"name": "", "uuid": ""}, config={"scheduler": {"execution_timeout": "9m"}}
    )
    config = config_of(rendered, tmp_path, "chronos-0")
    assert clustered(config) is None
    assert config.settings.scheduler.execution_timeout == "9m"
    assert ("PodDisruptionBudget", "chronos") not in rendered
    assert all("secret" not in volume for volume in pod(rendered)["volumes"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 2}, "replicas: 1, 3 or 5"),
        ({"cluster": {"name": "prod", "uuid": ""}}, "cluster.uuid"),
        ({"cluster": {"name": "", "uuid": UUID}}, "cluster.name"),
        ({"config": {"cluster": {}}}, "config.cluster is the chart's own"),
    ],
)
def test_values_that_make_no_cluster_are_refused(run: Run, values: dict[str, Any], said: str) -> None:
    done = run(**{"cluster": {"name": "prod", "uuid": UUID}, **values})
    assert done.returncode == 1
    assert said in done.stderr


def test_every_value_is_used_by_the_chart() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([a-zA-Z]+)", text))
    assert used == set(YAML(typ="safe").load((CHART / "values.yaml").read_text()))


# The unit.


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    need("systemd-analyze")
    program = tmp_path / "chronos"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "chronos@n1.service"
    text = UNIT.read_text().replace("/opt/chronos/bin/chronos", str(program)).replace("User=chronos", "User=root")
    unit.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in verified.stderr.splitlines() if "chronos@" in line]
    assert (verified.returncode, said) == (0, [])


def test_the_unit_starts_a_node_with_a_configuration_where_init_would_put_its_data(tmp_path: Path) -> None:
    unit = dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    [data] = re.findall(r"`--data-dir (\S+)`", UNIT.read_text())
    words = shlex.split(unit["ExecStart"].replace("%i", "n1"))
    assert main.commands[words[1]].make_context(words[1], words[2:]).params["config_file"] == Path(
        "/etc/chronos/n1/chronos.yaml"
    )
    assert data.replace("{node}", "%i") == unit["WorkingDirectory"]
    assert {"2", "65"} == set(unit["RestartPreventExitStatus"].split())


def test_half_a_member_never_starts_alone(tmp_path: Path) -> None:
    file = tmp_path / "chronos.yaml"
    file.write_text(f"cluster: {{uuid: {UUID}}}\n")
    with pytest.raises(ConfigInvalid):
        configured(file, image_environment())
