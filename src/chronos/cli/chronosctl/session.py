"""What one run of `chronosctl` works with: the server it speaks to, how it prints, the clock it reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chronos.errors import Invalid

if TYPE_CHECKING:
    import httpx2

    from chronos.cli.chronosctl.contexts import Context, Contexts
    from chronos.client import Client, Operation
    from chronos.timing.clock import Chance, Clock

T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8080"


@dataclass
class Session:
    """Flags, environment and configuration file, in this order of strength.

    The `flag_*` attributes are filled in while the command line is read; the rest is worked out when it
    is first needed, so that commands which speak to nobody load nothing.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: httpx2.BaseTransport | None = None
    given_clock: Clock | None = None
    given_chance: Chance | None = None
    flag_server: str | None = None
    flag_namespace: str | None = None
    flag_output: str | None = None
    flag_context: str | None = None
    flag_api_key_file: str | None = None
    flag_data_dir: str | None = None
    flag_ca_file: str | None = None
    flag_request_timeout: str | None = None

    @property
    def output(self) -> str:
        return self.flag_output or "table"

    @cached_property
    def clock(self) -> Clock:
        from chronos.timing.clock import SystemClock

        return self.given_clock or SystemClock()

    @property
    def config_path(self) -> Path:
        """Where contexts are kept."""
        if given := self.environ.get("CHRONOS_CLI_CONFIG"):
            return Path(given)
        home = Path(self.environ.get("HOME") or "~").expanduser()
        base = Path(self.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return base / "chronos" / "config.yaml"

    @cached_property
    def contexts(self) -> Contexts:
        """The configuration file's contexts; none when there is no file."""
        from chronos.cli.chronosctl.contexts import Contexts, load

        return load(self.config_path) if self.config_path.exists() else Contexts()

    @cached_property
    def context(self) -> Context:
        """The context in use; an empty one when none is named."""
        from chronos.cli.chronosctl.contexts import pick

        return pick(self.contexts, self.flag_context or self.environ.get("CHRONOS_CONTEXT"), self.config_path)

    @property
    def server(self) -> str:
        return self.flag_server or self.environ.get("CHRONOS_SERVER") or self.context.server or DEFAULT_SERVER

    @property
    def namespace(self) -> str | None:
        return self.flag_namespace or self.environ.get("CHRONOS_NAMESPACE") or self.context.namespace

    @property
    def data_dir(self) -> str | None:
        """The server's data folder, if it was named."""
        return self.flag_data_dir or self.environ.get("CHRONOS_DATA_DIR") or self.context.data_dir

    @property
    def ca_file(self) -> str | None:
        return self.flag_ca_file or self.environ.get("CHRONOS_CA_FILE") or self.context.ca_file

    @property
    def timeout_s(self) -> float:
        from chronos.timing.duration import SECOND_US, parse_duration

        if not self.flag_request_timeout:
            return 30.0
        timeout_s = parse_duration(self.flag_request_timeout) / SECOND_US
        if timeout_s <= 0:
            raise Invalid(f"--request-timeout: `{self.flag_request_timeout}` leaves no time to answer; try 30s.")
        return timeout_s

    @cached_property
    def api_key(self) -> str | None:
        """The key to show, from the first of: --api-key-file, CHRONOS_API_KEY, --data-dir, the context."""
        from chronos.cli.chronosctl.keyfile import admin_key, read_key

        if self.flag_api_key_file:
            return read_key(Path(self.flag_api_key_file))
        if self.flag_data_dir:
            return admin_key(Path(self.flag_data_dir))
        if key := self.environ.get("CHRONOS_API_KEY"):
            return key.strip()
        if self.context.api_key:
            return self.context.api_key
        if self.context.api_key_file:
            return read_key(Path(self.context.api_key_file).expanduser())
        return admin_key(Path(self.data_dir)) if self.data_dir else None

    @cached_property
    def client(self) -> Client:
        """The connection to the server."""
        return self.connect()

    def connect(self, *, anonymous: bool = False, **patience: Any) -> Client:
        """Return a new connection; `patience` overrides how long and how often it tries."""
        from chronos.client import Client, Patience

        key = None if anonymous else self.api_key
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise Invalid("The API key has characters that no key has; was it copied whole?")
        if key:
            self._warn_of_plain_text()
        return Client(
            self.server,
            api_key=key,
            namespace=self.namespace,
            ca_file=self.ca_file,
            patience=Patience(**{"timeout_s": self.timeout_s, **patience}),
            on_stale=self.note,
            transport=self.transport,
            clock=self.clock,
            chance=self.given_chance,
        )

    def _warn_of_plain_text(self) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(self.server)
        loopback = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
        if parts.scheme == "http" and not loopback:
            self.note(f"Warning: the API key travels unencrypted to {self.server}; use https.")

    def fetch(self, operation: Operation[Any]) -> Any:
        """Return the answer of an operation as plain dictionaries and lists."""
        return self.client.fetch(operation)

    def note(self, sentence: str) -> None:
        """Say something to the person, beside the output."""
        print(sentence, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if "client" in self.__dict__:
            self.client.close()

    def on_job(self, ref: str, operation: Callable[[str], Operation[Any]]) -> Any:
        """Return the answer of `operation(ref)`; when there is no such job, try the one whose name or id begins so."""
        from chronos.cli.chronosctl.refs import job_id_of
        from chronos.errors import NotFound

        try:
            return self.fetch(operation(ref))
        except NotFound as missing:
            return self.fetch(operation(job_id_of(self.client, ref, missing)))
