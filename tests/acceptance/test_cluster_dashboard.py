"""The dashboard and the alerts for a cluster ask for metrics that there are, and speak up when they should.

What is needed is promtool; what can be said without it (the names) is said without it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.acceptance.dashboards import ask_promtool, panels, rules

from chronos.cli.chronosctl.yamlfile import dump_yaml
from chronos.features.metrics.model import TABLE, MetricKind

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/cluster.json"
ALERTS = ROOT / "deploy/prometheus/cluster-alerts.yml"
HOWTO = ROOT / "docs/howto/monitor-with-prometheus.md"
MINUTES = 60
INSTANCES = ("a:8080", "b:8080", "c:8080")


def names() -> set[str]:
    """Return every series that the table of metrics makes."""
    found = set()
    for metric in TABLE.values():
        endings = ("_bucket", "_sum", "_count") if metric.kind is MetricKind.HISTOGRAM else ("",)
        found |= {f"chronos_{metric.name}{ending}" for ending in endings}
    return found


@pytest.mark.parametrize("expression", panels(DASHBOARD))
def test_a_panel_asks_for_metrics_that_there_are(expression: str, tmp_path: Path) -> None:
    assert set(re.findall(r"\bchronos_\w+", expression)) <= names()
    plain = expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
    rule = {"groups": [{"name": "g", "rules": [{"record": "r", "expr": plain}]}]}
    (tmp_path / "rules.yml").write_text(dump_yaml(rule))
    ask_promtool("check", "rules", "rules.yml", cwd=tmp_path)


def test_every_gauge_of_members_and_engines_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = DASHBOARD.read_text() + ALERTS.read_text()
    own = {name for name in TABLE if name.startswith(("cluster_", "engine_", "node_"))}
    assert {name for name in own if f"chronos_{name}" not in asked} == set()


def test_an_alert_asks_for_metrics_that_there_are_and_is_explained() -> None:
    ask_promtool("check", "rules", str(ALERTS))
    for rule in rules(ALERTS):
        assert set(re.findall(r"\bchronos_\w+", rule["expr"])) <= names()
        assert f"`{rule['alert']}`" in HOWTO.read_text()


WELL = {
    "chronos_raft_term": "3+0x60",
    "chronos_cluster_members_lost": "0+0x60",
    "chronos_cluster_taking_part": "1+0x60",
    "chronos_node_lease_seconds": "4+0x60",
    "chronos_engine_fsync_seconds": "0.01+0x60",
    "chronos_engine_db_bytes": "100000000+0x60",
    "chronos_engine_quota_bytes": "4294967296+0x60",
    'chronos_engine_alarms{alarm="nospace"}': "0+0x60",
    'chronos_engine_alarms{alarm="corrupt"}': "0+0x60",
    "chronos_raft_is_leader": "0+0x60",
}

STORIES: dict[str, tuple[dict[tuple[str, str], str], set[str]]] = {
    "all is well": ({}, set()),
    "nobody leads": ({("chronos_raft_is_leader", "a:8080"): "0+0x60"}, {"ChronosClusterWithoutLeader"}),
    "a member is lost": ({("chronos_cluster_members_lost", "b:8080"): "1+0x60"}, {"ChronosMemberLost"}),
    "a node is cut off": ({("chronos_node_lease_seconds", "b:8080"): "0+0x60"}, {"ChronosMemberCutOff"}),
    "a member takes no part": ({("chronos_cluster_taking_part", "b:8080"): "0+0x60"}, {"ChronosMemberCutOff"}),
    "the lead goes round": ({("chronos_raft_term", "c:8080"): "3+1x60"}, {"ChronosLeadersChangeOften"}),
    "a disk is slow": ({("chronos_engine_fsync_seconds", "c:8080"): "0.3+0x60"}, {"ChronosEngineDiskSlow"}),
    "an engine fills up": ({("chronos_engine_db_bytes", "c:8080"): "3000000000+0x60"}, {"ChronosEngineFillsUp"}),
    "an engine is full": ({('chronos_engine_alarms{alarm="nospace"}', "a:8080"): "1+0x60"}, {"ChronosEngineFull"}),
    "a member's data is damaged": (
        {('chronos_engine_alarms{alarm="corrupt"}', "a:8080"): "1+0x60"},
        {"ChronosEngineCorrupt"},
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_prometheus_says_what_is_wrong_and_nothing_else(story: str, tmp_path: Path) -> None:
    changed, expected = STORIES[story]
    values = {(name, instance): said for name, said in WELL.items() for instance in INSTANCES}
    values[("chronos_raft_is_leader", "a:8080")] = "1+0x60"
    values |= changed
    series = [
        {"series": f'{name.removesuffix("}")}{"," if "{" in name else "{"}instance="{instance}"}}', "values": said}
        for (name, instance), said in values.items()
    ]
    firing = [
        {"eval_time": "45m", "alertname": rule["alert"]} for rule in rules(ALERTS) if rule["alert"] not in expected
    ]
    silent = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{**one, "exp_alerts": []} for one in firing],
    }
    heard = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0',
                "eval_time": "45m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for name in expected
        ],
    }
    shutil.copy(ALERTS, tmp_path / "rules.yml")
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [silent, heard]}
    (tmp_path / "test.yml").write_text(dump_yaml(document))
    ask_promtool("test", "rules", "test.yml", cwd=tmp_path)
