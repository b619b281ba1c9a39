"""What a writer of jobs has to be allowed, besides writing jobs."""

from __future__ import annotations

import re

from chronos.dispatch.http.check import check_url
from chronos.errors import Denied, JobInvalid
from chronos.model.job import JobSpec, OnUnknown
from chronos.model.notify import NotifyWebhook
from chronos.model.principal import ANONYMOUS, Principal
from chronos.model.target import ProcessTarget
from chronos.plugin import Action
from chronos.server.rest.core import Core

_USERINFO = re.compile(r"^[A-Za-z]+://[^/?#]*@")


async def check_writer(core: Core, principal: Principal, spec: JobSpec, action: Action) -> None:
    """Refuse what the writer may not write; features are asked, too.

    Raises:
        JobInvalid: Programs are switched off, an address beside the target's cannot be called, or it would run
            more at once than the server lets a job.
        Denied: The caller is anonymous, or lacks `job:process`.
    """
    check_addresses(spec)
    limit = core.settings.dispatcher.concurrency.per_job_limit
    if limit is not None and spec.max_concurrent > limit:
        raise JobInvalid(
            f"`max_concurrent` is {spec.max_concurrent}; this server lets a job run {limit} at once "
            "(`dispatcher.concurrency.per_job_limit`).",
            field="max_concurrent",
        )
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


def check_addresses(spec: JobSpec) -> None:
    """Refuse what the target's own check does not see: the address of a probe, credentials in a channel's.

    Raises:
        JobInvalid: With `field` naming what is wrong.
    """
    if spec.on_unknown is OnUnknown.PROBE and spec.probe_url is None:
        raise JobInvalid("`on_unknown: probe` needs a `probe_url` to ask.", field="probe_url")
    if spec.probe_url is not None:
        check_url(spec.probe_url, "probe_url")
    for n, channel in enumerate(spec.notify.channels if spec.notify else ()):
        if isinstance(channel, NotifyWebhook) and _USERINFO.match(channel.url):
            field = f"notify.channels[{n}].url"
            raise JobInvalid(f"{field} contains a user name or password, which would be shown.", field=field)


def require(principal: Principal, permission: str) -> None:
    """Refuse a caller who lacks `permission`.

    Raises:
        Denied: It is lacking.
    """
    if not principal.may(permission):
        raise Denied(f"`{principal.id}` lacks the permission `{permission}`.", permission=permission)
