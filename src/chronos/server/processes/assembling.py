"""What stands behind the API processes, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chronos.model.premises import Authenticator
from chronos.server.gate import Asgi
from chronos.server.processes.answers import Answers
from chronos.server.processes.desk import Desk
from chronos.server.processes.front import Backing, Front
from chronos.server.processes.messages import Brief

if TYPE_CHECKING:
    from chronos.server.assemble import House, Truth
    from chronos.server.host import ServerHost
    from chronos.server.lastruns import LastRuns
    from chronos.server.live import Live


def front_of(
    house: House,
    truth: Truth,
    host: ServerHost,
    live: Live,
    last_runs: LastRuns,
    app: Callable[[], Asgi],
    hosts: list[str],
) -> Front:
    """Return the listener of a server with API processes.

    Args:
        app: Builds the application, which answers what the processes pass on.
        hosts: Names that the server answers to, besides those of this machine.
    """
    settings = house.settings
    answers = Answers(
        truth.commands,
        truth.commands.view,
        truth.state,
        lambda: truth.state.history.infos,
        host.require(Authenticator),  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
        last_runs,
        house.clock,
    )

    def brief(port: int) -> Brief:
        return Brief(
            folder=str(house.folder.resolve()),
            address=house.address,
            port=port,
            http=settings.server.http,
            hosts=hosts,
            logging=settings.logging,
            cursors=house.premises.key("cursors"),
            routes=[(endpoint.method, endpoint.path) for endpoint in host.endpoints],
            node=settings.cluster.node_id,
        )

    desk = Desk(answers, live, house.telemetry)
    truth.commands.subscribe(desk.on_events)
    live.when_closed(desk.on_close)
    backing = Backing(house.folder, settings.server.processes, partial(brief), house.clock)
    return Front(app, house.address, house.port, settings.server.http, desk, backing)
