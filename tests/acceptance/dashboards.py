"""A dashboard and its alerts, for tests: what they ask, and promtool, which knows whether it can be asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chronos.cli.chronosctl.yamlfile import load_yaml

ROOT = Path(__file__).resolve().parents[2]


def promtool() -> str:
    """Return where promtool is; without it the test is skipped at home, and fails in CI."""
    found = shutil.which("promtool")
    if found is None:
        assert os.environ.get("CHRONOS_REQUIRE_SERVICES") != "1", "promtool is required here (Debian: prometheus)"
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return found


def ask_promtool(*args: str, cwd: Path = ROOT, stdin: str = "") -> None:
    """Let promtool look at something, and fail with what it says when it is not content."""
    command = [promtool(), *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def panels(dashboard: Path) -> list[Any]:
    """Return every expression of a dashboard, as parameters."""
    return [
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel["targets"]
    ]


def rules(alerts: Path) -> list[dict[str, Any]]:
    """Return every rule of a file of alerts."""
    [document] = load_yaml(alerts.read_text(), str(alerts))
    return [rule for group in document["groups"] for rule in group["rules"]]
