"""HTTP targets: how a request is built, sent, and its answer judged."""

from __future__ import annotations

from chronos.dispatch.http.check import check_http_target
from chronos.dispatch.http.dispatcher import HttpDispatcher, HttpSettings

__all__ = ["HttpDispatcher", "HttpSettings", "check_http_target"]
