"""Where the configuration comes from, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronos.errors import ConfigInvalid
from chronos.server import manifest
from chronos.server.config import Config, is_loopback, load, split_address

TYPES = manifest.sections()

# Every key of the original's configuration file, those its documentation alone knows included.
ORIGINAL = """\
cluster:
  node_id: chronos-7
  data_dir: /var/lib/chronos
  raft:
    address: 10.0.0.1:7000
    peers:
      - chronos-2:7000
      - chronos-3:7000
    heartbeat_timeout: 500ms
    election_timeout: 1s
    snapshot_interval: 30s
    snapshot_threshold: 1000
    bootstrap: true
    tls: {cert_file: a.pem, key_file: b.pem, ca_file: c.pem}
server:
  http:
    address: 0.0.0.0:8080
    read_timeout: 30s
    write_timeout: 30s
    tls: {enabled: false, cert_file: a.pem, key_file: b.pem}
  grpc:
    address: 0.0.0.0:9000
scheduler:
  tick_interval: 1s
  execution_timeout: 5m
  default_retry_policy:
    max_attempts: 3
    initial_interval: 1s
    max_interval: 1m
    multiplier: 2.0
  missed_run_policy: execute_one
dispatcher:
  http:
    timeout: 30s
    max_idle_conns: 100
    idle_conn_timeout: 90s
    tls: {ca_file: c.pem}
  concurrency:
    max_concurrent_jobs: 100
    per_job_limit: 1
metrics:
  prometheus:
    enabled: true
    path: /metrics
logging:
  level: info
  format: json
  output: stdout
auth:
  type: basic
  enabled: true
  users: {admin: $2y$10$abcdefghijklmnopqrstuv}
  api_keys:
    - {name: ci, key: 0123456789abcdef0123456789abcdef, roles: [admin]}
secrets:
  vault: {address: "http://127.0.0.1:8200", path: secret/chronos}
gitops: {enabled: true, repository: r, branch: main, sync_interval: 1m}
federation: {enabled: true, mode: active, clusters: []}
chatbot:
  slack: {enabled: true, signing_secret: s, bot_token: t, allowed_channels: [a]}
  teams: {enabled: false, app_id: a, app_password: p, tenant_id: t}
"""


def configured(tmp_path: Path, text: str | None = None, env: dict[str, str] | None = None, **flags: str) -> Config:
    path = None
    if text is not None:
        path = tmp_path / "chronos.yaml"
        path.write_text(text)
    return load(path, environ=env or {}, flags={k.replace("__", "."): v for k, v in flags.items()}, feature_types=TYPES)


def test_nothing_has_to_be_configured(tmp_path: Path) -> None:
    config = configured(tmp_path)

    assert config.settings.server.http.address == "127.0.0.1:8080"
    assert config.settings.cluster.data_dir == "./data"
    assert config.notes == []


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert configured(tmp_path, "# nothing\n").settings == configured(tmp_path).settings


def test_a_file_written_for_the_original_is_read_and_says_once_what_has_no_effect(tmp_path: Path) -> None:
    config = configured(tmp_path, ORIGINAL)

    assert config.settings.cluster.node_id == "chronos-7"
    assert config.settings.dispatcher.concurrency.max_concurrent_jobs == 100
    keys = [note.split("`")[1] for note in config.notes]
    assert len(keys) == len(set(keys))
    assert {"cluster.raft", "server.grpc", "scheduler.tick_interval", "gitops", "federation", "chatbot"} <= set(keys)


def test_nothing_in_the_file_is_expanded(tmp_path: Path) -> None:
    config = configured(tmp_path, ORIGINAL)

    assert config.sections["auth"].users["admin"] == "$2y$10$abcdefghijklmnopqrstuv"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "cluster: {node_id: file, data_dir: file}\nlogging: {level: warn}\n"
    env = {"CHRONOS_NODE_ID": "env", "CHRONOS_DATA_DIR": "env"}
    config = configured(tmp_path, text, env, cluster__node_id="flag")

    cluster = config.settings.cluster
    assert (cluster.node_id, cluster.data_dir, config.settings.logging.level) == ("flag", "env", "warn")


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("CHRONOS_HTTP_ADDRESS", "[::1]:0", "server.http.address", "[::1]:0"),
        ("CHRONOS_LOG_LEVEL", "debug", "logging.level", "debug"),
        ("CHRONOS_RAFT_PEERS", "a:1, b:2", "cluster.raft.peers", ["a:1", "b:2"]),
        ("CHRONOS_SERVER__HTTP__READ_TIMEOUT", "5s", "server.http.read_timeout", "5s"),
        ("CHRONOS_DISPATCHER__CONCURRENCY__MAX_CONCURRENT_JOBS", "7", "dispatcher.concurrency.max_concurrent_jobs", 7),
        ("CHRONOS_DISPATCHER__PROCESS__ENABLED", "true", "dispatcher.process.enabled", True),
        ("CHRONOS_SERVER__ALLOWED_HOSTS", "a.example,b.example", "server.allowed_hosts", ["a.example", "b.example"]),
    ],
)
def test_any_key_can_come_from_the_environment(
    tmp_path: Path, name: str, value: str, path: str, expected: object
) -> None:
    node: Any = configured(tmp_path, env={name: value}).settings
    for part in path.split("."):
        node = getattr(node, part)

    assert node == expected


def test_a_features_key_can_come_from_the_environment(tmp_path: Path) -> None:
    config = configured(
        tmp_path, env={"CHRONOS_AUTH__TYPE": "api_key", "CHRONOS_METRICS__PROMETHEUS__ENABLED": "false"}
    )

    assert config.sections["auth"].type == "api_key"
    assert config.sections["metrics"].prometheus.enabled is False


def test_a_variable_that_nobody_reads_is_named(tmp_path: Path) -> None:
    config = configured(tmp_path, env={"CHRONOS_NODEID": "x", "CHRONOS_API_KEY": "y", "PATH": "z"})

    assert config.notes == ["the environment's CHRONOS_NODEID is not read by the server"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cluster:\n  nodeid: a\n", ["line 2", "`cluster.nodeid`", "`node_id`"]),
        ("a: 1\nschedular: {}\n", ["`a`"]),
        ("schedular: {}\n", ["line 1", "`schedular`", "`scheduler`"]),
        ("metrics:\n  prometheus:\n    enabld: true\n", ["line 3", "`metrics.prometheus.enabld`", "`enabled`"]),
        ("scheduler:\n  execution_timeout: soon\n", ["`scheduler.execution_timeout`", "soon"]),
        ("scheduler:\n  execution_timeout: 5\n", ["line 2", "`scheduler.execution_timeout`"]),
        ("scheduler:\n  missed_run_policy: never\n", ["line 2", "missed_run_policy"]),
        ("server:\n  http:\n    address: nowhere\n", ["server.http.address", "host:port"]),
        ("server:\n  http:\n    tls: {enabled: true}\n", ["cert_file"]),
        ("cluster: [1\n", ["line"]),
        ("cluster: {}\ncluster: {}\n", ["line 2", "duplicate"]),
        ("just text\n", ["mapping"]),
        ("cluster: {node_id: '../x'}\n", ["node_id"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_the_nearest_right(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        configured(tmp_path, text)

    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "parts"),
    [
        ({"CHRONOS_DISPATCHER__CONCURRENCY__MAX_CONCURRENT_JOBS": "many"}, ["MAX_CONCURRENT_JOBS", "whole number"]),
        ({"CHRONOS_SCHEDULER__TICKS": "1"}, ["`scheduler.ticks`", "CHRONOS_SCHEDULER__TICKS"]),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_with_its_variable(
    tmp_path: Path, env: dict[str, str], parts: list[str]
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        configured(tmp_path, env=env)

    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load(tmp_path / "none.yaml", environ={}, flags={}, feature_types=TYPES)


def test_keys_never_print(tmp_path: Path) -> None:
    config = configured(tmp_path, ORIGINAL)

    assert "0123456789abcdef" not in repr(config)
    assert "abcdefghijklmnop" not in repr(config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("0.0.0.0", 80)),
        ("a.example:0", ("a.example", 0)),
    ],
)
def test_an_address_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["", "a", "a:", "a:b", "1:2:3", "a:99999", "[::1]", "a:1\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        split_address(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_loopback_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_example_is_the_defaults() -> None:
    example = load(Path(__file__).parents[3] / "examples" / "chronos.yaml", environ={}, flags={}, feature_types=TYPES)
    defaults = load(None, environ={}, flags={}, feature_types=TYPES)

    assert example.settings == defaults.settings
    assert example.notes == []
    assert {name: example.sections[name] for name in ("auth", "metrics")} == {
        name: defaults.sections[name] for name in ("auth", "metrics")
    }
