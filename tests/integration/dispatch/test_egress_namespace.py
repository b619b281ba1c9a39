"""A real server among real addresses and a name server that changes its mind, in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dispatch.small_internet import LOOPBACK, PRIVATE, PUBLIC, TURNS

ROOT = Path(__file__).resolve().parents[3]
SECONDS_MAX = 110.0


def why_not() -> str:
    """Return why there can be no namespace here; empty when there can."""
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("ip")):
        return "it takes Linux with `unshare` and `ip` (Debian: util-linux, iproute2)"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"it takes root: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if why := why_not():
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), f"a network namespace is required here; {why}"
        pytest.skip(f"no network namespace: {why}")
    folder = tmp_path_factory.mktemp("internet")
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.integration.dispatch.small_internet", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("job", ["public", "public-literal"])
def test_a_public_only_server_reaches_public_addresses(internet: Any, job: str) -> None:
    [[status, *_]] = internet["results"][job]
    assert status == "success"


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("private", f"private.example is at {PRIVATE}, a private address"),
        ("private-literal", f"{PRIVATE} is at {PRIVATE}, a private address"),
        ("loopback-mapped", "carries 127.0.0.1"),
        ("mixed", f"mixed.example is at {PRIVATE}"),
        ("redirected", f"private.example is at {PRIVATE}"),
        ("own", "is Chronos itself"),
    ],
)
def test_it_refuses_what_is_near_and_says_why(internet: Any, job: str, words: str) -> None:
    [[status, error_class, reason]] = internet["results"][job]
    assert (status, error_class) == ("failed", "egress")
    assert words in reason


def test_a_name_server_that_changes_its_mind_never_leads_to_loopback(internet: Any) -> None:
    outcomes = internet["results"]["rebinding"]
    assert len(outcomes) == TURNS
    reached = [status for status, *_ in outcomes if status == "success"]
    refused = [reason for status, error_class, reason in outcomes if (status, error_class) == ("failed", "egress")]
    assert len(reached) + len(refused) == TURNS
    assert reached, "it was public by turns, so some got through"
    assert refused, "and loopback by turns, so some did not"
    assert all("rebind.example is at 127.0.0.1, a loopback address" in reason for reason in refused)


def test_nobody_near_heard_a_word(internet: Any) -> None:
    assert internet["hits"].get(PRIVATE, 0) == internet["hits"].get(LOOPBACK, 0) == 0
    succeeded = sum(status == "success" for runs in internet["results"].values() for status, *_ in runs)
    assert internet["hits"][PUBLIC] == succeeded + 1, "besides those that arrived, one was redirected"
