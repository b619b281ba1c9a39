"""Which features there are. The only place that knows their names."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, NamedTuple

import structlog

from chronos.errors import ChronosError, ConfigInvalid
from chronos.plugin import Host
from chronos.server.decoding import convert, nearest
from chronos.server.settings import Settings
from chronos.timing.clock import Chance

log = structlog.get_logger("chronos.features")

GROUP = "chronos.features"


class BuiltIn(NamedTuple):
    """A feature of this package, and the section of the configuration that is its own."""

    name: str
    section: str


# In the order in which they are installed: who offers comes before who asks.
BUILT_IN = (
    BuiltIn("access", "auth"),
    BuiltIn("secrets", "secrets"),
    BuiltIn("metrics", "metrics"),
    BuiltIn("callbacks", "callbacks"),
    BuiltIn("versions", "versions"),
    BuiltIn("explain", "explain"),
    BuiltIn("export", "export"),
    BuiltIn("heartbeat", "heartbeat"),
    BuiltIn("coordination", "coordination"),
    BuiltIn("dependencies", "dependencies"),
    BuiltIn("notify", "notify"),
)


def sections() -> dict[str, Any]:
    """Return the settings type of every built-in feature, by section; a free mapping for one not yet built."""
    found: dict[str, Any] = {}
    for feature in BUILT_IN:
        module = _module(feature.name)
        found[feature.section] = getattr(module, "Settings", dict) if module is not None else dict
    return found


def install(host: Host, settings: Settings, given: dict[str, Any]) -> list[str]:
    """Install every built-in feature and those of other packages that the configuration names; return the names.

    A feature of another package that fails is logged and left out: it must not keep the server from starting.

    Args:
        given: The built-in features' settings, by section.

    Raises:
        ConfigInvalid: A built-in feature cannot work with its settings, or a named one does not exist.
    """
    installed = []
    for feature in BUILT_IN:
        module = _module(feature.name)
        if module is not None and hasattr(module, "install"):
            module.install(host, given[feature.section])
            installed.append(feature.name)
    known = {point.name: point for point in entry_points(group=GROUP)}
    for name, options in settings.features.items():
        if name not in known:
            near = nearest(name, known)
            hint = f" Did you mean `{near}`?" if near else " Is its package installed?"
            raise ConfigInvalid(f"`features.{name}`: there is no such feature.{hint}", field=f"features.{name}")
        if _install_foreign(host, known[name], options):
            installed.append(name)
    return installed


def fresh_admin_key(chance: Chance) -> str:
    """Return a key for the administrator of nodes that have none yet, as a first start would write it."""
    from chronos.features.access.rules import format_key

    return format_key("live", chance.bytes(48))[1]


def _install_foreign(host: Host, point: EntryPoint, options: dict[str, Any]) -> bool:
    try:
        module = point.load()
        wanted = getattr(module, "Settings", None)
        module.install(host, convert(options, wanted) if wanted is not None else options)
    except ChronosError as exc:
        log.error("feature_refused", feature=point.name, reason=str(exc))
        return False
    except Exception:  # the edge of a service: somebody else's code
        log.exception("feature_broken", feature=point.name)
        return False
    return True


def _module(name: str) -> Any:
    path = f"chronos.features.{name}"
    if find_spec(path) is None:
        return None
    return import_module(path)
