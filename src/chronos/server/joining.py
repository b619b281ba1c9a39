"""The parts that a member of a cluster has, and a node that stands alone does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chronos.cluster.leadership import Leadership
from chronos.cluster.leases import node_of
from chronos.errors import ConfigInvalid
from chronos.model.events import EventType
from chronos.scheduler.company import Company, Home
from chronos.scheduler.role import NodeRole, running
from chronos.server.members.caretaker import Caretaker
from chronos.server.members.changes import MemberChanges
from chronos.server.members.directory import Directory
from chronos.server.membership import Barrier, Membership, Pruning
from chronos.server.snapshots.offering import Offers
from chronos.store.clusterlog import ClusterLog
from chronos.store.commandlog import CommandLogSettings

if TYPE_CHECKING:
    from chronos.server.assemble import Drive, House, Truth
    from chronos.server.host import ServerHost
    from chronos.server.membership import EnteredLog, Wiring
    from chronos.store.sqlite import SqliteState


SPACING_MS, PATIENCE_MS, BUSY_COMMITS = 8, 30, 20
"""A commit costs a message, an fsync and a fold on every member: fewer of them, of more, than one node alone makes."""


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
        settings=CommandLogSettings(
            write_through=False, spacing_ms=SPACING_MS, patience_ms=PATIENCE_MS, busy_commits=BUSY_COMMITS
        ),
    )


def company_of(house: House, truth: Truth, incarnation: str, wiring: Wiring) -> Company:
    """Return what the node knows of the others."""
    assert isinstance(truth.commands, ClusterLog)
    company = Company(incarnation, truth.commands, wiring.peers, house.clock, right=house.right)
    truth.commands.on_alive = company.on_alive
    return company


def membership_of(house: House, truth: Truth, host: ServerHost, drive: Drive, wiring: Wiring) -> Membership:
    """Return the member, put together."""
    commands, company = truth.commands, drive.company
    assert isinstance(commands, ClusterLog)
    assert company is not None
    clock, node = house.clock, house.settings.cluster.node_id
    directory = Directory(node, wiring.members, commands.view, wiring.follow)
    commands.subscribe(lambda _: directory.refresh(), of={EventType.MEMBER_CHANGED})
    caretaker = Caretaker(
        commands, directory, wiring.engines, lambda name: company.roll.is_gone(name, clock.boottime())
    )
    pruning = _pruning(house, truth, host, directory)
    role = NodeRole(
        node,
        commands,
        company,
        drive.scheduler,
        lambda: host,
        lambda: drive.pauses,
        lambda: running(caretaker.run()),
        pruning=pruning.run,
    )
    leadership = Leadership(wiring.log, node, role)
    home = Home(commands, drive.scheduler.recall_here)
    offers = None
    if wiring.net is not None:
        offers = Offers(house.folder, truth.state, house.clock, house.outside.chance)
        offers.answer(wiring.net)

    def living() -> set[str]:
        return {node_of(one) for one in company.roll.living(clock.boottime())}

    changes = MemberChanges(commands, directory, caretaker, living, wiring.colleagues)
    if wiring.colleagues is not None:
        wiring.colleagues.answer_with(leadership.hand_over)
    return Membership(
        wiring,
        commands,
        company,
        home,
        leadership,
        Barrier(commands),
        pruning,
        clock,
        directory,
        caretaker,
        changes,
        offers,
    )


def _pruning(house: House, truth: Truth, host: ServerHost, directory: Directory) -> Pruning:
    return Pruning(
        house.settings.cluster.node_id,
        truth.log,
        truth.state,
        truth.truncation,
        truth.standing,
        quiet=truth.backups.quiet,
        holds=host.holds(),
        belongs=lambda name: not directory.is_recorded() or name in directory.present(),
    )
