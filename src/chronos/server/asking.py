"""Asking a data folder that no server uses what the API would answer: nothing is planned, sent or served."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from chronos.errors import NotFound
from chronos.model.principal import Principal
from chronos.plugin import Call, Endpoint
from chronos.server.assemble import Node, Outside, assemble, data_folder
from chronos.server.config import Config
from chronos.server.gate import Asgi
from chronos.server.looking import looked_into
from chronos.server.settings import Http


async def ask(config: Config, operation: str, *, namespace: str, **given: Any) -> Any:
    """Return what an operation of the API answers about the configured data folder, as plain dictionaries and lists.

    The folder stays as it is, byte for byte: a copy of it is opened.

    Args:
        given: `path` and `query` of the call, as the API names them.

    Raises:
        DataFolderInUse: A server runs there; ask that one.
        NotFound: There is no such folder or operation, or nothing of that name.
        LogDamaged: The log does not verify; nothing is told.
    """
    with looked_into(data_folder(config.settings).path) as opened:
        node = assemble(config, opened, outside=Outside(listener=_Deaf))
        async with AsyncExitStack() as running:
            await _open(node, running)
            endpoint = _endpoint(node, operation)
            query = msgspec.convert(given.get("query", {}), endpoint.query) if endpoint.query is not None else None
            caller = Principal(id="offline", name="offline", permissions=frozenset({"*"}))
            reply = await endpoint.handler(Call(caller, namespace, given.get("path", {}), query=query))
            return msgspec.json.decode(msgspec.json.encode(reply.value))  # parts of it may be encoded already


async def _open(node: Node, running: AsyncExitStack) -> None:
    await running.enter_async_context(node.truth.log)
    await node.truth.state.start()
    running.push_async_callback(node.truth.state.stop)
    await node.truth.commands.look(on_recovered=node.house.clock.start_after)


def _endpoint(node: Node, operation: str) -> Endpoint:
    for endpoint in node.host.endpoints:
        if endpoint.operation == operation:
            return endpoint
    raise NotFound(f"This server has no operation `{operation}`: the feature is switched off.")


class _Deaf:
    """A listener that never listens."""

    port = 0
    url = ""

    def __init__(self, app: Callable[[], Asgi], host: str, port: int, settings: Http) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def stop(self) -> None:
        pass
