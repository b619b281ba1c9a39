"""`chronosctl webhook`: a target tried out, and secrets to sign with."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.exits import FAILED
from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, pairs, took, visible_text
from chronos.cli.chronosctl.session import Session


@click.group(
    cls=LazyGroup,
    lazy={
        "test": Lazy("webhook:test", "Send one request as a job would."),
        "secret": Lazy("webhook_secret:secret", "Make a secret that requests are signed with."),
    },
)
def webhook() -> None:
    """Try a target before a job uses it; make secrets to sign with."""


@leaf()
@click.argument("url")
@click.option("--method", metavar="VERB", help="HTTP method (POST).")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="HTTP header; repeatable.")
@click.option("--body", metavar="TEXT", help="HTTP body; @FILE reads a file.")
@click.option("--bearer", metavar="'${secret:env:NAME}'", help="Bearer token, by reference.")
@click.option("--success-code", "success_codes", multiple=True, type=int, help="Status that counts as success.")
@click.pass_context
def test(ctx: click.Context, /, **flags: Any) -> None:
    """Send one request as a job would, from the server, and show what came back.

    The exit code is 1 when the target did not answer with success.
    """
    from chronos.cli.chronosctl.jobflags import document_of
    from chronos.client import operations as ops

    session: Session = ctx.obj
    answer = session.fetch(ops.test_webhook(document_of(flags)["webhook"]))
    emit(session, answer, _told)
    if not answer.get("success"):
        ctx.exit(FAILED)


def _told(answer: Any) -> str:
    head = pairs(
        [
            ("Success", bool(answer.get("success"))),
            ("Status", answer.get("status_code")),
            ("Why", answer.get("reason")),
            ("Took", took(answer.get("duration_ms"))),
            ("Notes", "; ".join(answer.get("notes") or [])),
        ]
    )
    body = visible_text(str(answer.get("response_body") or ""))
    return f"{head}\n\n{body}" if body else head
