from __future__ import annotations

import json
from typing import Any

from chronos.features.notify.model import DigestLine, Notice, NoticeKind
from chronos.features.notify.texts import plain, slack, subject

AT_US = 1_735_689_607_000_000


def a_notice(kind: NoticeKind = NoticeKind.FAILURE, **facts: Any) -> Notice:
    given: dict[str, Any] = {
        "id": "occ_1-failure",
        "at_us": AT_US,
        "job_id": "J1",
        "job_name": "nightly",
        "execution_id": "occ_1",
        "scheduled_s": 1_735_689_600,
    }
    return Notice(kind=kind, **(given | facts))


def test_a_failure_can_be_understood_at_three_in_the_morning() -> None:
    text = plain(a_notice(attempts=3, error="connection refused", next_run_s=1_735_693_200), "https://cron.example/")
    assert text == (
        "[Chronos] FAILED: nightly\n"
        "\n"
        "Job:        nightly (J1, namespace default)\n"
        "Due:        2025-01-01 00:00:00 UTC\n"
        "Gave up:    2025-01-01 00:00:07 UTC, after 3 attempts\n"
        "Why:        connection refused\n"
        "Next run:   2025-01-01 01:00:00 UTC\n"
        "Look:       chronosctl execution get occ_1\n"
        "Try again:  chronosctl execution redrive occ_1\n"
        "Link:       https://cron.example/api/v1/executions/occ_1\n"
        "\n"
        "Message occ_1-failure\n"
    )


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    text = plain(a_notice(attempts=1, status_code=503))
    assert "after 1 attempt\n" in text
    assert "no reason was recorded (status 503)" in text
    assert "Next run:   none planned" in text
    assert "Link" not in text


def test_a_recovery_says_since_when_it_had_been_failing() -> None:
    text = plain(a_notice(NoticeKind.RECOVERY, failing_since_us=AT_US - 3_600_000_000))
    assert subject(a_notice(NoticeKind.RECOVERY)) == "[Chronos] RECOVERED: nightly"
    assert "Failing since:  2024-12-31 23:00:07 UTC" in text
    assert "redrive" not in text


def test_missed_runs_are_counted_and_explained() -> None:
    notice = a_notice(
        NoticeKind.MISSED, execution_id="", missed=5, missed_last_s=1_735_689_840, reason="expired", id="missed-1"
    )
    assert subject(notice) == "[Chronos] MISSED: nightly: 5 runs did not happen"
    assert "5 runs, due 2025-01-01 00:00:00 UTC to 2025-01-01 00:04:00 UTC" in plain(notice)
    assert "catchup_window" in plain(notice)


def test_a_digest_names_every_job_and_counts_the_rest() -> None:
    line = DigestLine(
        kind=NoticeKind.FAILURE, job_id="J1", job_name="nightly", namespace="default", count=40, execution_id="occ_9"
    )
    notice = a_notice(NoticeKind.DIGEST, lines=[line], more=7)
    assert subject(notice) == "[Chronos] MORE TROUBLE: 47 more in the last minutes"
    assert "nightly (J1, namespace default) 40 times, last occ_9" in plain(notice)
    assert "7 more about other jobs" in plain(notice)


def test_slack_is_woken_by_us_and_not_by_what_a_target_answers() -> None:
    body = slack(a_notice(error="<!channel> & <https://evil.example|click>"))
    text = json.dumps(body, ensure_ascii=False)
    assert "<" not in text
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in text
    assert body["text"] == "[Chronos] FAILED: nightly"


def test_slack_blocks_stay_within_slacks_bounds() -> None:
    lines = [
        DigestLine(kind=NoticeKind.FAILURE, job_id=f"J{i}", job_name="n" * 200, namespace="d", count=1)
        for i in range(20)
    ]
    blocks = slack(a_notice(NoticeKind.DIGEST, lines=lines))["blocks"]
    assert max(len(block["text"]["text"]) for block in blocks if "text" in block) <= 3_000
    assert len(subject(a_notice(job_name="n" * 200))) <= 150
