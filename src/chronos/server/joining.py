"""The parts that a member of a cluster has, and a node that stands alone does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chronos.cluster.leadership import Leadership
from chronos.errors import ConfigInvalid
from chronos.scheduler.company import Company, Home
from chronos.scheduler.role import NodeRole
from chronos.server.membership import Barrier, Membership, Pruning
from chronos.store.clusterlog import ClusterLog
from chronos.store.commandlog import CommandLogSettings

if TYPE_CHECKING:
    from chronos.server.assemble import Drive, House, Truth
    from chronos.server.host import ServerHost
    from chronos.server.membership import EnteredLog, Wiring
    from chronos.store.sqlite import SqliteState


def commands_of(house: House, log: EnteredLog, state: SqliteState, wiring: Wiring) -> ClusterLog:
    """Return what writes to the log that all members share.

    Raises:
        ConfigInvalid: Something in the configuration does not go with a cluster.
    """
    if house.settings.server.processes:
        field = "server.processes"
        raise ConfigInvalid("`server.processes` is 0 in a cluster: every member answers by itself.", field=field)

    async def forward(node: str, commands: Sequence[bytes]) -> tuple[int, int]:
        return await wiring.peers.at(node).forward(commands)

    return ClusterLog(
        log,
        state,
        house.clock,
        house.outside.chance,
        forward=forward,
        telemetry=house.telemetry,
        settings=CommandLogSettings(write_through=False),
    )


def company_of(house: House, truth: Truth, incarnation: str, wiring: Wiring) -> Company:
    """Return what the node knows of the others."""
    assert isinstance(truth.commands, ClusterLog)
    company = Company(incarnation, truth.commands, wiring.peers, house.clock)
    truth.commands.on_alive = company.on_alive
    return company


def membership_of(house: House, truth: Truth, host: ServerHost, drive: Drive, wiring: Wiring) -> Membership:
    """Return the member, put together."""
    commands, company = truth.commands, drive.company
    assert isinstance(commands, ClusterLog)
    assert company is not None
    pruning = _pruning(house, truth, host)
    node = house.settings.cluster.node_id
    role = NodeRole(node, commands, company, drive.scheduler, lambda: host, lambda: drive.pauses, pruning=pruning.run)
    leadership = Leadership(wiring.log, node, role)
    home = Home(commands, drive.scheduler.recall_here)
    return Membership(wiring, commands, company, home, leadership, Barrier(commands), pruning, house.clock)


def _pruning(house: House, truth: Truth, host: ServerHost) -> Pruning:
    return Pruning(
        house.settings.cluster.node_id,
        truth.log,
        truth.state,
        truth.truncation,
        truth.standing,
        quiet=truth.backups.quiet,
        holds=host.holds(),
    )
