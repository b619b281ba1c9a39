"""Crontabs become the jobs that cron would have run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cli.chronosctl.crontab import parse_crontab, split_percent
from chronos.cli.chronosctl.jobfiles import check_job
from chronos.model.limits import NAME_PATTERN


def one(line: str, *, system: bool = False, before: str = "") -> dict:  # type: ignore[type-arg]
    """Return the job of a line that is one, behind some settings."""
    found = parse_crontab(f"{before}\n{line}\n", timezone="Europe/Paris", system=system)
    assert found.refused == []
    [job] = found.jobs
    return job


def as_cron_does(command: str) -> tuple[str, str]:
    """The loops of Vixie cron's `child_process`, character by character."""
    program, escaped, rest = "", False, ""
    for place, char in enumerate(command):
        if escaped:
            program = program[:-1] + char if char == "%" else program + char
            escaped = False
        elif char == "\\":
            program, escaped = program + char, True
        elif char == "%":
            rest = command[place + 1 :]
            break
        else:
            program += char
    stdin, escaped = "", False
    for char in rest:
        written = char
        if escaped:
            stdin += "" if char == "%" else "\\"
        elif char == "%":
            written = "\n"
        escaped = char == "\\"
        if not escaped:
            stdin += written
    stdin += "\\" if escaped else ""
    return program, stdin + ("" if stdin.endswith("\n") or not stdin else "\n")


@given(st.text(alphabet="a\\% ", max_size=12))
def test_percent_signs_are_read_as_cron_reads_them(command: str) -> None:
    assert split_percent(command) == as_cron_does(command)


def test_a_line_becomes_a_process_with_crons_habits() -> None:
    assert one("*/5 0-6  * * MON   /usr/bin/check  --all ") == {
        "name": "check",
        "description": "/usr/bin/check --all",
        "schedule": "*/5 0-6 * * MON",
        "timezone": "Europe/Paris",
        "target": {
            "type": "process",
            "argv": ["/bin/sh", "-c", "/usr/bin/check  --all"],
            "env": {"PATH": "/usr/bin:/bin"},
        },
        "concurrency": "allow",
        "retry_policy": {"max_attempts": 1},
        "missed_run_policy": "ignore",
    }


def test_settings_hold_from_their_line_on() -> None:
    settings = "SHELL=/bin/bash\nCRON_TZ = Asia/Tokyo\nA='x y'\nHOME=/srv\nRANDOM_DELAY=15\n"
    text = f"0 1 * * * first\n{settings}0 2 * * * second\n"
    first, second = parse_crontab(text, timezone="UTC").jobs
    assert (first["timezone"], first["target"]["argv"][0], "jitter" in first) == ("UTC", "/bin/sh", False)
    assert (second["timezone"], second["target"]["argv"][0], second["jitter"]) == ("Asia/Tokyo", "/bin/bash", "15m")
    assert second["target"]["env"] == {"PATH": "/usr/bin:/bin", "A": "x y", "HOME": "/srv"}
    assert second["target"]["directory"] == "/srv"


def test_input_behind_a_percent_sign_becomes_standard_input() -> None:
    assert one("0 1 * * * mail bob%Hello,%%bye")["target"]["stdin"] == "Hello,\n\nbye\n"


def test_a_system_crontab_names_the_user() -> None:
    job = one("17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly", system=True)
    assert job["target"]["run_as"] == "root"
    assert job["target"]["argv"][2] == "cd / && run-parts --report /etc/cron.hourly"
    assert job["target"]["env"]["LOGNAME"] == "root"
    assert job["name"] == "run-parts"


def test_the_owner_of_a_users_crontab_can_be_named() -> None:
    [job] = parse_crontab("0 1 * * * root is-a-word", timezone="UTC", run_as="bob").jobs
    assert job["target"]["run_as"] == "bob"
    assert job["target"]["argv"][2] == "root is-a-word"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@reboot /usr/bin/start", "@reboot"),
        ("@fortnightly /usr/bin/x", "@fortnightly"),
        ("61 * * * * /usr/bin/x", "61"),
        ("* * * *", "five fields"),
        ("0 0 31 2 * /usr/bin/never", "never"),
        ("0 0 * * * %only input", "no command"),
    ],
)
def test_a_line_that_cannot_become_a_job_is_refused_with_its_number(line: str, why: str) -> None:
    found = parse_crontab(f"# comment\n\n{line}\n0 1 * * * fine\n", timezone="UTC")
    [refusal] = found.refused
    assert refusal.line == 3
    assert why in refusal.text
    assert [job["name"] for job in found.jobs] == ["fine"]


def test_mail_settings_are_left_out_with_a_note() -> None:
    found = parse_crontab("MAILTO=ops@example.com\n0 1 * * * x\n", timezone="UTC")
    assert [str(note) for note in found.notes] == [
        "line 1: MAILTO is left out; `notify:` on a job tells somebody when it fails."
    ]
    assert "MAILTO" not in found.jobs[0]["target"]["env"]


def test_random_times_become_the_jobs_own() -> None:
    assert one("0~29 ~ * * * x")["schedule"] == "H(0-29) H(0-23) * * *"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --all", "backup-sh"),
        ("cd /srv/shop && ./nightly run", "nightly"),
        ("FOO=1 flock -n /usr/bin/lock", "lock"),
        ("nice -n 10 /opt/x/Y_z", "y-z"),
        ("…", "job"),
    ],
)
def test_a_job_is_named_after_its_program(command: str, name: str) -> None:
    assert one(f"0 1 * * * {command}")["name"] == name


LINES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.builds(
            "{} {}".format,
            st.sampled_from(["* * * * *", "*/5 1-3 * * 1", "@daily", "@Hourly", "0 0 1 JAN *"]),
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
        ),
    ),
    max_size=6,
).map("\n".join)


@given(LINES, st.booleans())
def test_every_job_of_any_crontab_is_a_valid_job_of_its_own_name(text: str, system: bool) -> None:
    jobs = parse_crontab(text, timezone="UTC", system=system).jobs
    names = [check_job(job, "x").spec.name for job in jobs]
    assert len(set(names)) == len(names)
    assert all(re.match(NAME_PATTERN, name) for name in names)


@given(LINES)
def test_a_line_is_a_job_or_refused_or_says_nothing(text: str) -> None:
    found = parse_crontab(text, timezone="UTC")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    settings = [line for line in lines if re.match(r"""\s*("[^"]*"|'[^']*'|[A-Za-z_]\w*)\s*=""", line, re.ASCII)]
    assert len(found.jobs) + len(found.refused) == len(lines) - len(settings)
