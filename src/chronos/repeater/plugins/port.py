"""What a plug-in is: a Python file that says what it is in `PLUGIN`, what it takes in `Options`, and does one thing.

A plug-in's file has, at its top level:

- `PLUGIN`, a literal dictionary with the fields of `Header`. It is read without running the file.
- `class Options(msgspec.Struct)`, each field an option with a type.
- one class, called after its kind: `Scheduler`, `Executor` or `Output`, as below.

A constructor that raises `ValueError` refuses its options; the message should say which, and what to write instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec

from chronos.errors import Denied, NotFound, Unavailable, Unprocessable
from chronos.repeater.port import Run

NAME = r"^[a-z][a-z0-9-]{0,62}\Z"

Duration = Annotated[float, msgspec.Meta(extra_json_schema={"format": "duration"})]
"""An option that is written `30s` or `1m30s`, and arrives as seconds."""


class Kind(StrEnum):
    """What a plug-in does."""

    SCHEDULER = "scheduler"
    EXECUTOR = "executor"
    OUTPUT = "output"

    @property
    def group(self) -> str:
        """The entry points that installed packages offer such plug-ins under."""
        return f"chronos.rpr.{self.value}s"

    @property
    def class_name(self) -> str:
        return self.value.capitalize()


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plug-in says about itself in `PLUGIN`.

    Attributes:
        sandbox: It is to run in a process of its own with limits; a plug-in that needs files or the network cannot.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    kind: Kind
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*\Z")]
    sandbox: bool = False


class Source(NamedTuple):
    """The text of a plug-in that may be used.

    Attributes:
        module: Where it can be imported from; empty for one from a directory.
        origin: Where it comes from, for a person.
    """

    header: Header
    text: str
    path: str
    sha256: str
    origin: str
    module: str = ""


class Field(NamedTuple):
    """One option.

    Attributes:
        name: As it is typed, without dashes before it.
        default: As a person writes it; None when the option is needed.
    """

    name: str
    type: str
    default: str | None
    description: str


class Scheduler(Protocol):
    """Decides when the next run starts. It is made with `(options, seed)`, and draws its chance from that seed."""

    def first_s(self) -> float:
        """Return how many seconds to wait before run 1."""
        ...

    def next_s(self, run: Run) -> float | None:
        """Return how many seconds after the end of `run` the next one starts; None: there is none."""
        ...


class Executor(Protocol):
    """Decides how a run is made. It is made with `(options)`."""

    def command(self, argv: Sequence[str], env: Mapping[str, str]) -> Sequence[str]:
        """Return what to start in the place of `argv`.

        Args:
            env: What is added to the environment of the run: `RPR_RUN`, `RPR_ATTEMPT`, `RPR_LAST_EXIT`.
        """
        ...


class Output(Protocol):
    """Decides what is shown of a run. It is made with `(options)`."""

    def process(self, run: Mapping[str, Any]) -> str | None:
        """Return what to print for a run that has ended, as it stands; None and empty: nothing.

        Args:
            run: The object that `--json` prints.
        """
        ...


class Plugged(Protocol):
    """A plug-in that is loaded, wherever its code runs."""

    @property
    def header(self) -> Header: ...

    def fields(self) -> list[Field]:
        """Return the options it takes."""
        ...

    def create(self, options: Mapping[str, Any], seed: int) -> None:
        """Make the one object of it that is then asked.

        Raises:
            PluginInvalid: There is no such option, or one is missing, or not of its type.
        """
        ...

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of that object answers: what JSON can say, and not checked.

        Raises:
            PluginFailed: It raised, took too long, or is gone.
        """
        ...


class PluginUnknown(NotFound):
    """There is no such plug-in."""


class PluginRefused(Denied):
    """The plug-in is not to be trusted as it lies there."""


class PluginInvalid(Unprocessable):
    """The plug-in, or what it is given, cannot be used."""


class PluginFailed(Unavailable):
    """The plug-in did not answer as it should."""

    def __init__(self, name: str = "?", why: str = "did not answer") -> None:
        super().__init__(f"plug-in `{name}` failed: {why}", plugin=name, why=why)
