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


def endpoints(access: Access) -> list[Endpoint]:
    """Return the routes that make, list and revoke keys."""

    async def create(call: Call) -> Reply:
        record, key = await access.create(call.body, call.principal)
        return Reply(
            value=ApiKeyCreated(key=key, **_shown(record)), headers={"Location": f"/api/v1/api-keys/{record.id}"}
        )

    async def all_keys(_: Call) -> Reply:
        return Reply(value=ApiKeyList(api_keys=[ApiKeyDocument(**_shown(one)) for one in await access.all()]))

    async def get(call: Call) -> Reply:
        return Reply(value=ApiKeyDocument(**_shown(await access.get(call.path["key"]))))

    async def revoke(call: Call) -> Reply:
        record = await access.revoke(call.path["key"], call.principal)
        return Reply(value=ApiKeyRevoked(id=record.id, name=record.name))

    one = "/api/v1/api-keys/{key}"
    return [
        Endpoint(
            "GET",
            "/api/v1/api-keys",
            all_keys,
            "key:read",
            "List API keys.",
            answers=ApiKeyList,
            tag=TAG,
            operation="list_api_keys",
        ),
        Endpoint(
            "POST",
            "/api/v1/api-keys",
            create,
            "key:create",
            "Create an API key; it is shown this once.",
            body=ApiKeyAsked,
            answers=ApiKeyCreated,
            status=201,
            tag=TAG,
            operation="create_api_key",
            links={"id": ("get_api_key", "key"), "id ": ("revoke_api_key", "key")},
        ),
        Endpoint(
            "GET",
            one,
            get,
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
            revoke,
            "key:revoke",
            "Revoke an API key, at once.",
            answers=ApiKeyRevoked,
            errors=(404,),
            tag=TAG,
            operation="revoke_api_key",
        ),
    ]


def _shown(record: ApiKeyRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ApiKeyDocument.__struct_fields__}
