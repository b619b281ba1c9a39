"""Which endpoint a method and a path mean, and how much it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from chronos.plugin import PUBLIC, Endpoint

BODY_BYTES_MAX = 1 << 20  # unless the configuration says otherwise
RAW_BYTES_MAX = 64 << 20
TOO_LARGE = "The body is larger than this server takes here; `server.http.max_body_bytes` is the most."
APPLIED = "Chronos-Applied-Index"
PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Routes:
    """Which methods a path takes. Paths are matched exactly: no suffixes, no cases, no slashes at the end."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Endpoint]]] = []
        by_path: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        for path, methods in by_path.items():
            if "{" in path:
                pattern = "".join(
                    f"(?P<{part}>[^/]+)" if i % 2 else re.escape(part) for i, part in enumerate(PARAMETER.split(path))
                )
                self._patterns.append((re.compile(f"^{pattern}$"), methods))
            else:
                self._exact[path] = methods
        self._find = lru_cache(1_024)(self._search)

    def methods(self, path: str) -> list[str]:
        return sorted(self._find(path)[0])

    def is_public(self, method: str, path: str) -> bool:
        endpoint = self._exact.get(path, {}).get(method)
        return endpoint is not None and endpoint.permission == PUBLIC

    def content_type(self, method: str, path: str) -> str:
        endpoint = self._find(path)[0][method]
        return endpoint.raw_body or "application/json"

    def endpoint(self, method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
        """Return the endpoint, None when there is none, and the path's parameters."""
        methods, parameters = self._find(path)
        return methods.get(method), parameters

    def _search(self, path: str) -> tuple[dict[str, Endpoint], dict[str, str]]:
        if path in self._exact:
            return self._exact[path], {}
        found = ((pattern.match(path), methods) for pattern, methods in self._patterns)
        return next(((methods, match.groupdict()) for match, methods in found if match is not None), ({}, {}))


def body_bound(endpoint: Endpoint, configured: int) -> int:
    """Return the largest body that `endpoint` takes, in bytes."""
    if endpoint.raw_body:
        return RAW_BYTES_MAX
    return min(endpoint.body_bytes_max or configured, configured)
