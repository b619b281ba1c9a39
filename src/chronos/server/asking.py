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
from chronos.server.settings import Http
from chronos.store.datafolder import DataFolder, DataFolderSettings


async def ask(config: Config, folder: DataFolder, operation: str, *, namespace: str, **given: Any) -> Any:
    """Return what an operation of the API answers, as plain dictionaries and lists.

    The log is opened as every start opens it, with a boot record: what was not on the disk for certain is not told.

    Args:
        folder: Of a server that does not run; closed again on return.
        given: `path` and `query` of the call, as the API names them.

    Raises:
        DataFolderInUse: A server runs there; ask that one.
        NotFound: There is no such operation, or nothing of that name.
        LogDamaged: The log does not verify; nothing is told.
    """
    with folder as opened:
        node = assemble(config, opened, outside=Outside(listener=_Deaf))
        async with AsyncExitStack() as running:
            await _open(node, running)
            endpoint = _endpoint(node, operation)
            query = msgspec.convert(given.get("query", {}), endpoint.query) if endpoint.query is not None else None
            caller = Principal(id="offline", name="offline", permissions=frozenset({"*"}))
            reply = await endpoint.handler(Call(caller, namespace, given.get("path", {}), query=query))
            return msgspec.to_builtins(reply.value)


def folder_of(config: Config) -> DataFolder:
    """Return the configured data folder, to be looked into and not to be made.

    Raises:
        NotFound: There is none.
    """
    path = data_folder(config.settings).path
    if not (path / "log" / "log.db").exists():
        raise NotFound(f"{path} is not a data folder, or has no log yet; --data-dir names the one of the server.")
    return DataFolder(path, DataFolderSettings(ballast_bytes=0))


async def _open(node: Node, running: AsyncExitStack) -> None:
    await running.enter_async_context(node.truth.log)
    await node.truth.state.start()
    running.push_async_callback(node.truth.state.stop)
    await node.truth.commands.start(
        node.house.settings.cluster.node_id, node.drive.incarnation, on_recovered=node.house.clock.start_after
    )
    running.push_async_callback(node.truth.commands.stop)


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
