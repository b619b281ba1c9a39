"""Commands over many executions: one that is refused does not keep the others from it."""

from __future__ import annotations

from tests.unit.cli.conftest import Ctl
from tests.unit.cli.fake_server import problem

PATH = "/api/v1/executions"


def refusing(ctl: Ctl, *refused: str, status: int = 409, slug: str = "not-redrivable") -> list[str]:
    """Let three dead letters be there, of which some cannot be redriven; return their ids."""
    dead = ["occ_a", "occ_b", "occ_c"]
    ctl.server.on(
        "GET", "/api/v1/dead-letters", 200, {"executions": [{"id": ref} for ref in dead], "next_cursor": None}
    )
    for ref in dead:
        ctl.server.on("POST", f"{PATH}/{ref}/redrive", 200, {"id": ref, "status": "pending"})
    for ref in refused:
        answer = problem(status, slug, "It was redriven a moment ago.")
        ctl.server.answers["POST", f"{PATH}/{ref}/redrive"] = lambda _, answer=answer: answer  # type: ignore[misc]
    return dead


def test_all_dead_letters_are_redriven_but_those_that_are_refused_and_these_are_named(ctl: Ctl) -> None:
    refusing(ctl, "occ_a", "occ_b")
    done = ctl("execution", "redrive", "--all")
    assert done.code == 5
    assert done.out == "redriving occ_c (pending)\n"
    assert done.err.splitlines() == [
        "refused occ_a: It was redriven a moment ago.",
        "refused occ_b: It was redriven a moment ago.",
        "1 of 3 redriven, 2 refused",
    ]


def test_when_none_is_refused_the_exit_code_is_0(ctl: Ctl) -> None:
    dead = refusing(ctl)
    assert ctl("execution", "redrive", *dead).code == 0


def test_a_single_one_that_is_refused_is_one_line(ctl: Ctl) -> None:
    refusing(ctl, "occ_a")
    done = ctl("execution", "redrive", "occ_a")
    assert (done.code, done.out, done.err.count("\n")) == (5, "", 1)


def test_a_caller_who_may_not_is_told_so_once(ctl: Ctl) -> None:
    dead = refusing(ctl, "occ_b", "occ_c", status=403, slug="denied")
    done = ctl("execution", "redrive", *dead)
    assert done.code == 3
    assert done.err.splitlines()[0] == "1 of 3 redriven; the rest was not tried"
    assert [r.url.path for r in ctl.server.requests] == [f"{PATH}/occ_a/redrive", f"{PATH}/occ_b/redrive"]


def test_cancelling_goes_on_behind_what_has_ended(ctl: Ctl) -> None:
    answer = problem(409, "execution-ended", "It has ended.")
    ctl.server.answers["POST", f"{PATH}/occ_a/cancel"] = lambda _: answer
    ctl.server.on("POST", f"{PATH}/occ_b/cancel", 200, {"id": "occ_b", "status": "cancelled"})
    done = ctl("execution", "cancel", "occ_a", "occ_b")
    assert (done.code, done.out) == (5, "cancelled occ_b\n")
