"""The dashboard and the alerts for `rpr` say something about what its metrics page really shows.

What is needed is promtool; what can be said without it (the names) is said without it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.dashboards import ask_promtool, panels, rules

from chronos.cli.chronosctl.yamlfile import dump_yaml
from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.observing import Figures, after, metrics
from chronos.repeater.port import Run
from chronos.repeater.stops import Fate

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "deploy/grafana/rpr.json"
ALERTS = ROOT / "deploy/prometheus/rpr-alerts.yml"
REFERENCE = ROOT / "docs/reference/rpr-observability.md"
MINUTES = 120

Series = dict[str, str]
"""`name{label="value"}` → what it is minute by minute, as promtool writes it."""


def page() -> str:
    """Return what the metrics server answers after a success and a failure."""
    figures = Figures()
    for number, ok in ((1, True), (2, False)):
        run = Run(number, 0.0, 0.5, 1_700_000_000.0, ok, 0 if ok else 1)
        report = Report(run, Fate.OK if ok else Fate.FAILED, 1, "", Capture(texts=False, fingerprint=False))
        figures = after(figures, report, wait_s=1.0)
    return metrics(figures, limits_rate=True)


def shown() -> list[str]:
    """Return every series of the page, as it stands there."""
    return re.findall(r"^(rpr_\w+(?:\{[^}]*\})?) ", page(), re.MULTILINE)


def not_shown(expression: str) -> set[str]:
    """Return the metrics and the labels' values of an expression that the page has not."""
    matched = re.findall(r'(\w+)="(\w+)"', " ".join(shown()))
    asked = [pair for pair in re.findall(r'(\w+)="(\w+)"', expression) if pair[0] not in ("job", "instance")]
    names = {series.partition("{")[0] for series in shown()}
    missing = {name for name in re.findall(r"\brpr_\w+", expression) if name not in names}
    return missing | {f'{name}="{value}"' for name, value in asked if (name, value) not in matched}


def in_place(expression: str) -> str:
    """Return a panel's expression as Grafana would send it."""
    for name, value in (("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", "rpr"), ("$instance", ".*")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def of_rpr(series: str) -> str:
    """Return a series as Prometheus keeps it: with the labels of whoever was asked."""
    name, _, labels = series.removesuffix("}").partition("{")
    return f'{name}{{{labels + "," if labels else ""}job="rpr",instance="a:9091"}}'


def promtool_finds(tmp_path: Path, series: Mapping[str, str], expected: dict[str, Any]) -> None:
    """Let promtool look at the series of an hour and a half in."""
    values = [{"series": name, "values": said} for name, said in series.items()]
    tests = [{"interval": "1m", "input_series": values, "promql_expr_test": [expected]}]
    shutil.copy(ALERTS, tmp_path / "rules.yml")
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(dump_yaml(document))
    ask_promtool("test", "rules", "test.yml", cwd=tmp_path)


def a_day(**changed: str) -> Series:
    """Return a repetition that is well: a run every ten seconds, half a second long.

    Args:
        changed: Part of a series' name, with underscores → what these series are instead.
    """
    well = dict.fromkeys(shown(), f"0+0x{MINUTES}")
    long = ('le="1"', 'le="10"', 'le="60"', 'le="300"', 'le="+Inf"')
    well |= {name: f"0+6x{MINUTES}" for name in shown() if any(bound in name for bound in long)}
    well |= {
        'rpr_executions_total{status="success"}': f"0+6x{MINUTES}",
        "rpr_execution_duration_seconds_count": f"0+6x{MINUTES}",
        "rpr_execution_duration_seconds_sum": f"0+3x{MINUTES}",
        "rpr_scheduler_interval_seconds": f"9.5+0x{MINUTES}",
        "rpr_last_success_timestamp_seconds": f"0+60x{MINUTES}",
        'rpr_rate_limit_total{result="allowed"}': f"0+6x{MINUTES}",
    }
    for part, values in changed.items():
        fitting = [name for name in well if part in re.sub(r"\W+", "_", name)]
        assert fitting, part
        well |= dict.fromkeys(fitting, values)
    assert set(well) == set(shown())
    return {**{of_rpr(name): values for name, values in well.items()}, 'up{job="rpr",instance="a:9091"}': "1+0x120"}


# What happens to a repetition, and what Prometheus says of it after an hour and a half.
STORIES: dict[str, tuple[Series, set[str]]] = {
    "it is well": (a_day(), set()),
    "one run in a hundred fails": (a_day(status_failure="0+0.06x120"), set()),
    "one run in six fails": (a_day(status_failure="0+1.2x120"), {"RprFailsOften"}),
    "it fails nine times a minute besides": (a_day(status_failure="0+9x120"), {"RprFailsOften", "RprManyFailures"}),
    "it has never succeeded": (
        a_day(status_success="0+0x120", status_failure="0+6x120", last_success="0+0x120"),
        {"RprOnlyFails", "RprFailsOften", "RprNoSuccess"},
    ),
    "it succeeded at first and then fails": (
        a_day(status_success="0+6x10 60+0x110", status_failure="0+0x10 0+6x110", last_success="0+60x10 600+0x110"),
        {"RprOnlyFails", "RprFailsOften", "RprNoSuccess"},
    ),
    "a run hangs after ten minutes": (
        a_day(status_success="0+6x10 60+0x110", last_success="0+60x10 600+0x110"),
        {"RprStandsStill"},
    ),
    "it runs once a day": (
        a_day(status_success="1+0x120", last_success="0+0x120", scheduler_interval="86000+0x120"),
        set(),
    ),
    "it has not run yet": (
        a_day(status_success="0+0x120", last_success="0+0x120", scheduler_interval="0+0x120"),
        set(),
    ),
    "runs take minutes": (
        a_day(bucket="0+0x120", bucket_le_300="0+6x120", bucket_le_Inf="0+6x120"),
        {"RprSlow"},
    ),
    "there is more to do than the rate allows": (
        a_day(result_allowed="0+0.1x120", result_hit="0+5.9x120"),
        {"RprHeldByRate"},
    ),
    "it has ended": ({'up{job="rpr",instance="a:9091"}': "1+0x10 0+0x110"}, {"RprDown"}),
}


@pytest.mark.parametrize("story", STORIES)
def test_the_alerts_fire_when_they_should_and_only_then(story: str, tmp_path: Path) -> None:
    series, alerts = STORIES[story]
    expected = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "90m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)],
    }
    promtool_finds(tmp_path, series, expected)


def test_there_is_a_story_for_each_alert() -> None:
    assert {rule["alert"] for rule in rules(ALERTS)} == {alert for _, alerts in STORIES.values() for alert in alerts}


@pytest.mark.parametrize("expression", panels(DASHBOARD))
def test_each_panel_shows_something(expression: str, tmp_path: Path) -> None:
    something = {
        "expr": f"count({in_place(expression)}) > bool 0",
        "eval_time": "90m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    promtool_finds(tmp_path, a_day(), something)


@pytest.mark.parametrize("expression", panels(DASHBOARD))
def test_each_panel_asks_for_what_is_shown(expression: str) -> None:
    assert not_shown(expression) == set()


@pytest.mark.parametrize("rule", rules(ALERTS), ids=lambda rule: str(rule["alert"]))
def test_each_alert_asks_for_what_is_shown_and_says_what_is_the_matter(rule: dict[str, Any]) -> None:
    assert not_shown(rule["expr"]) == set()
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_what_is_not_shown_would_be_found() -> None:
    assert not_shown('rate(rpr_execution_total{status="success"}[5m])') == {"rpr_execution_total"}
    assert not_shown('rpr_executions_total{job="x",status="failed"}') == {'status="failed"'}
    assert not_shown('rpr_execution_duration_seconds_bucket{le="0.1"}') == set()


def test_every_metric_has_a_panel_and_a_line_in_the_reference() -> None:
    names = set(re.findall(r"^# TYPE (\w+)", page(), re.MULTILINE))
    board = DASHBOARD.read_text()
    assert {name for name in names if name not in board} == set()
    assert set(re.findall(r"^\| `(rpr_\w+)` \|", REFERENCE.read_text(), re.MULTILINE)) == names


def test_every_alert_has_a_line_in_the_reference() -> None:
    named = re.findall(r"^\| `(Rpr\w+)` \|", REFERENCE.read_text(), re.MULTILINE)
    assert named == [rule["alert"] for rule in rules(ALERTS)]


def test_prometheus_own_checks_find_nothing_to_complain_about() -> None:
    ask_promtool("check", "metrics", stdin=page())
    ask_promtool("check", "rules", str(ALERTS.relative_to(ROOT)))


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board.get("id") is None
    sources = {json.dumps(panel["datasource"]) for panel in board["panels"]}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert {each["name"] for each in board["templating"]["list"]} == {"datasource", "job", "instance"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
