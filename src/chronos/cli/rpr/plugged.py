"""Plug-ins in a repetition: found by name, loaded, made with their options, and put where they belong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.flags import of
from chronos.cli.rpr.near import did_you_mean
from chronos.cli.rpr.pluginwords import named
from chronos.cli.rpr.subcommands import PLUGIN
from chronos.errors import ConfigInvalid
from chronos.repeater.engine import Listener
from chronos.repeater.machine import Machine
from chronos.repeater.plugins.adapters import PluginMachine, PluginMode, PluginOutput
from chronos.repeater.plugins.catalog import Catalog
from chronos.repeater.plugins.folder import Folder
from chronos.repeater.plugins.port import Kind, Plugged, PluginFailed, PluginInvalid, Source
from chronos.repeater.port import Mode
from chronos.timing.clock import SystemClock

Print = Callable[[int, bytes], None]
_PIN = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def catalog_of(values: Mapping[str, Any]) -> Catalog:
    """Return the plug-ins there are, as the configuration says.

    Raises:
        ConfigInvalid: A pin is none.
    """
    folder = values.get("plugin_dir")
    return Catalog(Folder(folder, pins_of(values.get("plugin_pins", ""))) if folder else None)


def pins_of(text: str) -> dict[str, str]:
    """Return the hashes of `name=SHA256,name=SHA256`.

    Raises:
        ConfigInvalid: One of them is no name with 64 hexadecimal digits.
    """
    pins = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, pin = (each.strip() for each in part.partition("="))
        found = _PIN.fullmatch(pin.lower())
        if not name or not found:
            raise ConfigInvalid(f"`{part}` pins no plug-in; write name=SHA256, as `rpr plugins check FILE` prints it.")
        pins[name] = found[1]
    return pins


def loaded(source: Source, values: Mapping[str, Any]) -> Plugged:
    """Return a plug-in whose code may run: in a sandbox where it or the configuration asks for one.

    Raises:
        PluginInvalid: It cannot be loaded.
    """
    try:
        if source.header.sandbox or values.get("plugin_sandbox"):
            from chronos.repeater.plugins.sandbox import Sandbox

            return Sandbox(source, SystemClock())
        from chronos.repeater.plugins.host import Host

        return Host(source)
    except PluginFailed as exc:
        raise PluginInvalid(str(exc)) from None


def scheduler_of(asked: Asked, seed: int) -> Mode:
    """Return the mode of `rpr plugin NAME`."""
    name, typed = asked.get("plugin"), asked.get("plugin_typed", {})
    return PluginMode(_made(asked, name, typed, Kind.SCHEDULER, seed))


class Plugins(NamedTuple):
    """What `--executor` and `--output` ask for, ready to be used."""

    executor: Plugged | None
    outputs: tuple[Plugged, ...]

    def machine(self, machine: Machine) -> Machine:
        """Return what starts the runs."""
        return PluginMachine(machine, self.executor) if self.executor else machine

    def listeners(self, to: Print, timeout_s: float | None) -> list[Listener]:
        """Return what shows the runs, in the order that was asked for; none where no output was."""
        return [PluginOutput(to, timeout_s, output) for output in self.outputs]


def plugins_of(asked: Asked) -> Plugins:
    """Return the plug-ins that were asked for beside the mode.

    Raises:
        Invalid: One of them cannot be used, or not with these options.
    """
    executors, outputs = (named(asked.get(flag, "")) for flag in ("executor", "output"))
    if len(executors) > 1:
        raise PluginInvalid("--executor takes one plug-in; a run is made in one way.")
    made = [_made(asked, name, options, Kind.EXECUTOR) for name, options in executors]
    shown = tuple(_made(asked, name, options, Kind.OUTPUT) for name, options in outputs)
    return Plugins(made[0] if made else None, shown)


def _made(asked: Asked, name: str, typed: Mapping[str, str], kind: Kind, seed: int = 0) -> Plugged:
    plugged = loaded(catalog_of(asked.values).find(name, kind), asked.values)
    configured = asked.get("plugin_options", {}).get(name, {})
    # `base-delay` and `base_delay` are one option: what is typed replaces the other.
    options = {key.replace("-", "_"): value for key, value in [*configured.items(), *typed.items()]}
    try:
        if kind is Kind.SCHEDULER:
            _need_apart(plugged, typed)
        plugged.create(options, seed)
    except PluginFailed as exc:
        raise PluginInvalid(str(exc)) from None
    return plugged


def _need_apart(plugged: Plugged, typed: Mapping[str, str]) -> None:
    """Refuse options that are called like a flag of every mode, and what is neither, with the nearest of both."""
    options, flags = {field.name for field in plugged.fields()}, {flag.name for flag in of(PLUGIN.name)}
    name = plugged.header.name
    if both := sorted(options & flags):
        raise PluginInvalid(f"plug-in `{name}`: its option --{both[0]} is a flag of rpr; its author has to rename it.")
    for word in typed:
        if word.replace("_", "-") not in options:
            hint = did_you_mean(f"--{word}", [f"--{each}" for each in sorted(options | flags)])
            raise PluginInvalid(f"plug-in `{name}` has no option --{word}.{hint} `rpr plugins info {name}` lists them.")
