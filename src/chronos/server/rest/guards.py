"""What a writer of jobs has to be allowed, besides writing jobs."""

from __future__ import annotations

from chronos.errors import Denied, JobInvalid
from chronos.model.job import JobSpec
from chronos.model.principal import ANONYMOUS, Principal
from chronos.model.target import ProcessTarget
from chronos.plugin import Action
from chronos.server.rest.core import Core


async def check_writer(core: Core, principal: Principal, spec: JobSpec, action: Action) -> None:
    """Refuse what the writer may not write; features are asked, too.

    Raises:
        JobInvalid: Programs are switched off.
        Denied: The caller is anonymous, or lacks `job:process`.
    """
    await core.admit(action, spec, principal)
    if not isinstance(spec.target, ProcessTarget):
        return
    if not core.settings.dispatcher.process.enabled:
        raise JobInvalid(
            "Programs as targets are switched off; `dispatcher.process.enabled: true` switches them on.",
            field="target.type",
        )
    if principal.id == ANONYMOUS.id:
        raise Denied("Programs as targets need a caller that is known; set `auth.type: api_key`.", field="target.type")
    require(principal, "job:process")


def require(principal: Principal, permission: str) -> None:
    """Refuse a caller who lacks `permission`.

    Raises:
        Denied: It is lacking.
    """
    if not principal.may(permission):
        raise Denied(f"`{principal.id}` lacks the permission `{permission}`.", permission=permission)
