"""Turns between machines, where they were asked for: the address, the client, the thread that asks."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from chronos.cli.rpr.asked import Asked
from chronos.errors import Invalid
from chronos.repeater.agenda import Agenda
from chronos.repeater.coordinated import TurnsAgenda, TurnsMachine
from chronos.repeater.coordination import Given, OnLoss, Turns, lease_s
from chronos.repeater.machine import Machine
from chronos.timing.clock import Chance, Clock, SystemChance, ulid

if TYPE_CHECKING:
    from chronos.client import Client, Operation

SCHEMES = {"chronos": "http", "chronos+https": "https"}
PORTS = {"chronos": 8080, "chronos+https": 443}
TIMEOUT_S_MIN = 1.0
JOIN_S = 5.0
NODE_CHARS_MAX = 60
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


class Address(NamedTuple):
    """Where to ask, and for what."""

    server: str
    resource: str


def address_of(text: str) -> Address:
    """Return what `chronos://host:8080/resource` means.

    Raises:
        Invalid: It is no such address.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _no_address(text) from None
    resource = parts.path.removeprefix("/")
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in SCHEMES or not parts.hostname or not is_plain or not _RESOURCE.fullmatch(resource):
        raise _no_address(text)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{SCHEMES[parts.scheme]}://{host}:{port or PORTS[parts.scheme]}", resource)


def turns_of(asked: Asked, clock: Clock, stack: contextlib.ExitStack) -> Turns:
    """Begin to take part, in a thread of its own, until `stack` is left.

    Raises:
        Invalid: The address is none, or a lease cannot be that long.
    """
    chance = SystemChance()
    address = address_of(asked.get("coordinate"))
    timeout_s = max(TIMEOUT_S_MIN, lease_s(asked.plan.grace_s) / 6)
    remote = Remote(address, node_name(chance), lease_s(asked.plan.grace_s), timeout_s, os.environ)
    turns = Turns(
        remote,
        clock,
        grace_s=asked.plan.grace_s,
        on_loss=OnLoss(asked.get("on_coordinator_loss", "wait")),
        draw=lambda: ulid(clock, chance),
    )
    thread = threading.Thread(target=turns.serve, name="coordination", daemon=True)
    thread.start()
    stack.callback(_leave, turns, thread, timeout_s + JOIN_S)
    return turns


def taking_turns(
    turns: Turns, agenda: Agenda, machine: Machine, wake: Callable[[], None], stack: contextlib.ExitStack
) -> tuple[Agenda, Machine]:
    """Return the agenda and the machine that start nothing out of turn. `wake` lets the machine's `wait` return."""
    turns.wake_by(wake)
    stack.callback(turns.wake_by, None)
    return TurnsAgenda(agenda, turns), TurnsMachine(machine, turns)


def node_name(chance: Chance) -> str:
    """Return a name that no other `rpr` has, which begins with this host's."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename)[:NODE_CHARS_MAX].lstrip("._-") or "host"
    return f"{host}:{os.getpid()}:{chance.bytes(4).hex()}"


class Remote:
    """The coordinator of a Chronos server, asked over HTTP by a client that is made when it is needed: that takes time.

    Args:
        timeout_s: Bounds one request.
        environ: Where the API key, the namespace and the certificates are named.
    """

    def __init__(self, address: Address, node: str, ttl_s: float, timeout_s: float, environ: Mapping[str, str]) -> None:
        self._address = address
        self._node = node
        self._ttl = f"{round(ttl_s * 1000)}ms"
        self._timeout_s = timeout_s
        self._environ = environ
        self._client: Client | None = None

    def register(self) -> None:
        from chronos.client import coordination as ops

        self._call(ops.register_node(self._node))

    def ask(self, request: str) -> Given:
        from chronos.client import coordination as ops

        answer = self._call(ops.request_lease(self._address.resource, self._node, request, ttl=self._ttl))
        return Given(answer.token if answer.granted else 0, answer.ask_again_ms / 1000)

    def renew(self, token: int) -> None:
        from chronos.client import coordination as ops

        self._call(ops.renew_lease(self._address.resource, self._node, token))

    def give_back(self, token: int) -> None:
        from chronos.client import coordination as ops

        self._call(ops.release_lease(self._address.resource, self._node, token))

    def leave(self) -> None:
        from chronos.client import coordination as ops

        self._call(ops.remove_node(self._node))

    def _call(self, operation: Operation[Any]) -> Any:
        if self._client is None:
            from chronos.client import Client, Patience

            self._client = Client(
                self._address.server,
                api_key=(self._environ.get("CHRONOS_API_KEY") or "").strip() or None,
                namespace=self._environ.get("CHRONOS_NAMESPACE") or None,
                ca_file=self._environ.get("CHRONOS_CA_FILE") or None,
                patience=Patience(timeout_s=self._timeout_s, tries_max=1, total_s=self._timeout_s),
            )
        return self._client.call(operation)


def _leave(turns: Turns, thread: threading.Thread, patience_s: float) -> None:
    turns.close()
    thread.join(patience_s)
    if not thread.is_alive():
        turns.leave()


def _no_address(text: str) -> Invalid:
    return Invalid(
        f"--coordinate: `{text}` is no server and resource; write chronos://HOST:8080/RESOURCE, or chronos+https://…; "
        "a resource is a name of letters, digits, `.`, `_`, `:` and `-`."
    )
