"""What can be said against a target when its job is written."""

from __future__ import annotations

from chronos.dispatch.http.check import check_http_target
from chronos.dispatch.process.check import check_process_target
from chronos.model.target import HttpTarget, ProcessTarget, Target


def check_target(target: Target, field: str = "target") -> None:
    """Check everything about a target that does not depend on secrets, names or the network.

    Raises:
        JobInvalid: With `field` naming what is wrong, like `target.url`.
    """
    match target:
        case HttpTarget():
            check_http_target(target, field)
        case ProcessTarget():
            check_process_target(target, field)
