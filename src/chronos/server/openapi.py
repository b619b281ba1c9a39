"""The API's description (OpenAPI 3.1), made from the declarations of its routes and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chronos import __version__
from chronos.plugin import Endpoint
from chronos.server.problems import CONTENT_TYPE, Problem

REF = "#/components/schemas/{name}"
STREAM = "text/event-stream"

_DESCRIPTIONS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; it happens now, or soon.",
    400: "The request cannot be read.",
    401: "Nobody we know is asking.",
    403: "The caller may not do this, or the request comes from a page of another origin.",
    404: "There is no such thing.",
    408: "The request took too long to arrive.",
    409: "It does not fit what is there: a name is taken, a run holds the slot, an execution has ended.",
    412: "It was changed by somebody else; read it again.",
    413: "The body is too large.",
    415: "The content type is not `application/json`.",
    421: "The server does not answer to this host name.",
    422: "The request can be read, but makes no sense.",
    428: "Send `If-Match` with the ETag.",
    429: "Too many requests.",
    500: "The server made a mistake.",
    503: "Not here, not now; ask again.",
    507: "The disk is full; nothing was changed.",
}
# Query parameters by which a client asks for another form of the same answer.
_ALTERNATIVES = {"follow": STREAM, "format": "text/plain"}
_UNTAGGED = {"HttpTarget": "Webhook"}
_ALWAYS = (400, 401, 403, 421, 422, 429, 500, 503)
_WRITES = (413, 415, 507)
_PARAMETERS: dict[str, dict[str, Any]] = {
    "job": {
        "description": "Id, name, or a unique beginning of the id.",
        "schema": {"type": "string", "maxLength": 200},
    },
    "execution": {"description": "The execution's id.", "schema": {"type": "string", "maxLength": 64}},
    "version": {"schema": {"type": "integer", "minimum": 1}},
}
_NAMESPACE = {
    "name": "namespace",
    "in": "query",
    "description": "The namespace; `X-Namespace` says the same.",
    "schema": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "default": "default"},
}

# Operations that succeed in two ways, and what the other one means.
_ALSO = {"trigger_job": {200: "It has ended within `wait`."}}
_CONSISTENCY = {
    "name": "consistency",
    "in": "query",
    "description": "`local` reads what this node knows, without asking the others; one node alone gives both alike.",
    "schema": {"type": "string", "enum": ["linearizable", "local"], "default": "linearizable"},
}
_APPLIED = {
    "description": "The answer is at least as new as this entry of the log.",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of `endpoints`."""
    types = [Problem, *(of for e in endpoints for of in (e.body, e.query, e.answers) if of is not None)]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = {id(of): schema for of, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.path, e.method)):
        if endpoint.tag == "page":
            continue
        operation = _operation(endpoint, by_type, components)
        operation["responses"] |= _linked(endpoint, operation["responses"], endpoints)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    components |= {alone: _untagged(components[name]) for name, alone in _UNTAGGED.items() if name in components}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Chronos",
            "version": __version__,
            "summary": "A distributed cron.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    # Through JSON and back, so that it is made of what JSON knows: no tuples, no enumerations.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_tidy(_alone(document))))
    return plain


def to_yaml(document: dict[str, Any]) -> str:
    """Return the document as YAML, the same text for the same document."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 120
    yaml.default_flow_style = False
    yaml.representer.ignore_aliases = lambda _: True
    text = StringIO()
    text.write("# Made by `chronos openapi`; a test compares it with what the server says.\n")
    yaml.dump(document, text)
    return text.getvalue()


def _operation(endpoint: Endpoint, by_type: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _id_of(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag or "other"],
        "parameters": _parameters(endpoint, by_type, components),
        "responses": _responses(endpoint, by_type),
        "x-permission": endpoint.permission,
    }
    if endpoint.permission == "public":
        operation["security"] = []
    if endpoint.raw_body:
        example = {"schema": {"type": "string"}}
        operation["requestBody"] = {"required": True, "content": {endpoint.raw_body: example}}
    elif endpoint.body is not None:
        content = {"application/json": {"schema": by_type[id(endpoint.body)]}}
        operation["requestBody"] = {"required": not _may_be_empty(endpoint.body), "content": content}
    elif endpoint.method in ("POST", "PUT", "PATCH", "DELETE"):
        nothing = {"type": "object", "maxProperties": 0, "additionalProperties": False}
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": nothing}}}
    return operation


def _parameters(endpoint: Endpoint, by_type: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _path_parameters(endpoint):
        known = _PARAMETERS.get(name, {"schema": {"type": "string", "maxLength": 100}})
        found.append({"name": name, "in": "path", "required": True, **known})
    if endpoint.query is not None:
        found.extend(_query_parameters(by_type[id(endpoint.query)], components))
    if endpoint.permission != "public":
        found.append(_NAMESPACE)
        if endpoint.method == "GET":
            found.append(_CONSISTENCY)
    if endpoint.idempotent_key:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key with the same request gets the first one's answer, for 24 hours.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    if endpoint.needs_if_match:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": 'The ETag that was read, like `"3"`, or `*`.',
                "schema": {"type": "string", "pattern": '^(\\*|"[0-9]{1,9}")$'},
            }
        )
    return found


def _query_parameters(schema: dict[str, Any], components: dict[str, Any]) -> Iterable[dict[str, Any]]:
    whole = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, of in whole.get("properties", {}).items():
        if name == "tags":
            continue  # `tag.KEY=VALUE`: OpenAPI has no words for parameters whose names are open
        of = {k: v for k, v in of.items() if not (k == "default" and v in (None, []))}
        if "anyOf" in of:
            options = [option for option in of["anyOf"] if option != {"type": "null"}]
            of = options[0] if len(options) == 1 else {**of, "anyOf": options}
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": of}
        if of.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        yield parameter


def _responses(endpoint: Endpoint, by_type: dict[int, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": _DESCRIPTIONS.get(endpoint.status, "Done.")}
    if endpoint.answers is not None:
        success["content"] = {"application/json": {"schema": by_type[id(endpoint.answers)]}}
        for name, kind in _ALTERNATIVES.items():
            if endpoint.query is not None and name in endpoint.query.__struct_fields__:
                success["content"][kind] = _text(kind)
    elif endpoint.status != 204:
        kind = endpoint.content_type.partition(";")[0]
        success["content"] = {kind: _text(kind)}
    headers = {}
    if endpoint.needs_if_match or endpoint.operation in ("create_job", "get_job"):
        headers["ETag"] = {"description": "For `If-Match`.", "schema": {"type": "string"}}
    if endpoint.method == "GET" and endpoint.permission != "public":
        headers["Chronos-Applied-Index"] = _APPLIED
    if headers:
        success["headers"] = headers
    responses = {str(endpoint.status): success}
    for status, description in _ALSO.get(endpoint.operation, {}).items():
        responses[str(status)] = {**success, "description": description}
    codes = set(endpoint.errors) | (set(_ALWAYS) if endpoint.permission != "public" else {421, 403, 500, 503, 400, 422})
    if endpoint.method != "GET":
        codes |= set(_WRITES)
    if endpoint.needs_if_match:
        codes |= {412, 428}
    if "{" in endpoint.path:
        codes.add(404)
    problem = {CONTENT_TYPE: {"schema": by_type[id(Problem)]}}
    for code in sorted(codes):
        responses[str(code)] = {"description": _DESCRIPTIONS[code], "content": problem}
    if endpoint.operation in ("get_ready", "get_readyz"):
        responses["503"]["content"] = success["content"]
    return responses


def _linked(endpoint: Endpoint, responses: dict[str, Any], endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the successful answers with links to every operation that takes what they name.

    A declared link names one operation and its parameter; the others with that parameter, and no second one in
    their path, take the same.
    """
    links: dict[str, Any] = {}
    has_etag = any("ETag" in answer.get("headers", {}) for answer in responses.values())
    for field, (_, parameter) in endpoint.links.items():
        for other in endpoints:
            if _path_parameters(other) == [parameter] and (has_etag or not other.needs_if_match):
                given = {parameter: f"$response.body#/{field}"}
                if other.needs_if_match:
                    given["header.If-Match"] = "$response.header.ETag"
                links[_id_of(other)] = {"operationId": _id_of(other), "parameters": given}
    if not links:
        return {}
    ordered = dict(sorted(links.items()))
    return {status: {**answer, "links": ordered} for status, answer in responses.items() if status.startswith("2")}


def _path_parameters(endpoint: Endpoint) -> list[str]:
    return re.findall(r"\{([a-z_]+)\}", endpoint.path)


def _id_of(endpoint: Endpoint) -> str:
    return endpoint.operation or endpoint.handler.__name__


def _text(kind: str) -> dict[str, Any]:
    # Of a stream of events a schema could only describe one event, and tools disagree on which part of it.
    return {} if kind == STREAM else {"schema": {"type": "string"}}


def _may_be_empty(body: Any) -> bool:
    try:
        msgspec.convert({}, body)
    except msgspec.ValidationError:
        return False
    return True


def _untagged(schema: dict[str, Any]) -> dict[str, Any]:
    required = [name for name in schema.get("required", ()) if name != "type"]
    return {**schema, "title": "Webhook", "required": required}


def _alone(node: Any) -> Any:
    """Point to the untagged variant of a struct wherever it stands alone, and needs no `type` to be told apart."""
    if isinstance(node, list):
        return [_alone(item) for item in node]
    if not isinstance(node, dict) or "discriminator" in node:
        return node
    name = str(node.get("$ref", "")).rpartition("/")[2]
    if name in _UNTAGGED:
        return {**node, "$ref": REF.format(name=_UNTAGGED[name])}
    return {key: _alone(value) for key, value in node.items()}


def _tidy(node: Any) -> Any:
    """Drop what msgspec leaves behind of docstrings' `Attributes:` sections: the summary is enough here."""
    if isinstance(node, dict):
        found = {key: _tidy(value) for key, value in node.items()}
        text = found.get("description")
        if isinstance(text, str):
            found["description"] = text.partition("\n\nAttributes:")[0].strip()
        return found
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    return node
