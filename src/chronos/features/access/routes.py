"""`/api/v1/api-keys`."""

from __future__ import annotations

from typing import Any

from chronos.features.access.model import (
    ApiKeyAsked,
    ApiKeyCreated,
    ApiKeyDocument,
    ApiKeyList,
    ApiKeyRecord,
    ApiKeyRevoked,
)
from chronos.features.access.service import Access
from chronos.plugin import Call, Endpoint, Reply

TAG = "access"


class ApiKeys:
    """The handlers of `/api/v1/api-keys`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def endpoints(self) -> list[Endpoint]:
        """Return the routes that make, list and revoke keys."""
        one = "/api/v1/api-keys/{key}"
        return [
            Endpoint(
                "GET",
                "/api/v1/api-keys",
                self.search,
                "key:read",
                "List API keys.",
                answers=ApiKeyList,
                tag=TAG,
                operation="list_api_keys",
            ),
            Endpoint(
                "POST",
                "/api/v1/api-keys",
                self.create,
                "key:create",
                "Create an API key; it is shown this once.",
                body=ApiKeyAsked,
                answers=ApiKeyCreated,
                status=201,
                tag=TAG,
                operation="create_api_key",
                links={"id": ("get_api_key", "key")},
            ),
            Endpoint(
                "GET",
                one,
                self.get,
                "key:read",
                "Read an API key's record.",
                answers=ApiKeyDocument,
                errors=(404,),
                tag=TAG,
                operation="get_api_key",
            ),
            Endpoint(
                "DELETE",
                one,
                self.revoke,
                "key:revoke",
                "Revoke an API key, at once.",
                answers=ApiKeyRevoked,
                errors=(404,),
                tag=TAG,
                operation="revoke_api_key",
            ),
        ]

    async def create(self, call: Call) -> Reply:
        record, key = await self._access.create(call.body, call.principal)
        location = {"Location": f"/api/v1/api-keys/{record.id}"}
        return Reply(value=ApiKeyCreated(key=key, **_shown(record)), headers=location)

    async def search(self, _: Call) -> Reply:
        return Reply(value=ApiKeyList(api_keys=[ApiKeyDocument(**_shown(one)) for one in await self._access.all()]))

    async def get(self, call: Call) -> Reply:
        return Reply(value=ApiKeyDocument(**_shown(await self._access.get(call.path["key"]))))

    async def revoke(self, call: Call) -> Reply:
        record = await self._access.revoke(call.path["key"], call.principal)
        return Reply(value=ApiKeyRevoked(id=record.id, name=record.name))


def _shown(record: ApiKeyRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ApiKeyDocument.__struct_fields__}
