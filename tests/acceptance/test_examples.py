"""The examples, given to a real server: each is accepted, each job has a next run, and one of them is seen running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.shell import Shell, server, target

EXAMPLES = Path(__file__).parents[2] / "examples"
CALENDARS = sorted(EXAMPLES.glob("calendar-*.yaml"))
JOB_FILES = sorted(
    file
    for file in EXAMPLES.iterdir()
    if file.suffix in (".yaml", ".json") and file.name != "chronos.yaml" and file not in CALENDARS
)
# Programs as targets are off by default, and only callers that are known may have them.
CONFIG = "auth:\n  type: api_key\ndispatcher:\n  process:\n    enabled: true\n"


@pytest.fixture(scope="module")
def ctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("examples")
    with server(folder, CONFIG) as url:
        shell = Shell(url, folder, folder / "data", env={"CHRONOS_DATA_DIR": str(folder / "data")})
        for calendar in CALENDARS:
            done = shell("calendar", "apply", "-f", str(calendar))
            assert (done.code, done.err) == (0, "")
        yield shell


@pytest.mark.parametrize("file", JOB_FILES, ids=lambda file: file.name)
def test_an_example_is_accepted_and_stays_as_it_is_written(ctl: Shell, file: Path) -> None:
    done = ctl("job", "apply", "-f", str(file), "-o", "json")
    assert (done.code, done.err) == (0, "")
    names = [step["name"] for step in done.json]
    assert {step["action"] for step in done.json} == {"create"}
    again = ctl("job", "apply", "-f", str(file), "-o", "json").json
    assert [(step["action"], step["changes"]) for step in again] == [("unchanged", [])] * len(names)
    for name in names:
        job = ctl("job", "get", name, "-o", "json").json
        assert (job["next_run"] is not None) == job["enabled"]


def test_the_sample_crontab_is_taken_over(ctl: Shell) -> None:
    sample = str(EXAMPLES / "sample.crontab")
    done = ctl("job", "import", sample, "--timezone", "Europe/Paris", "--run-as", "nobody", "-n", "cron")
    assert (done.code, done.out.splitlines()[-1]) == (0, "6 of 6 imported")
    jobs = ctl("job", "list", "-n", "cron", "-o", "json").json
    assert {job["target"]["run_as"] for job in jobs} == {"nobody"}
    assert all(job["next_run"] for job in jobs)


def test_a_system_crontab_is_taken_over(ctl: Shell, tmp_path: Path) -> None:
    crontab = tmp_path / "crontab"
    crontab.write_text("SHELL=/bin/sh\n0 3 * * * nobody echo from cron%input\n")
    done = ctl("job", "import", str(crontab), "--system", "--timezone", "UTC")
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 of 1 imported")
    job = ctl("job", "get", "echo", "-o", "json").json
    assert (job["target"]["run_as"], job["target"]["stdin"]) == ("nobody", "input\n")


def test_hello_says_hello(ctl: Shell, tmp_path: Path) -> None:
    with target() as url:
        text = (EXAMPLES / "hello.yaml").read_text("utf-8")
        file = tmp_path / "hello.yaml"
        file.write_text(text.replace("http://127.0.0.1:9000", url).replace("name: hello", "name: hello-again"))
        assert ctl("job", "create", "-f", str(file)).code == 0
        done = ctl("job", "trigger", "hello-again", "--wait=20s")
        assert done.code == 0
        assert "you asked for /hello" in done.out
        ctl("job", "delete", "hello-again")
