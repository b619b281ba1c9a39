"""What the feature needs from outside: somebody who sends, opens credentials, vets addresses, knows the next run."""

from __future__ import annotations

from typing import Protocol, TypeVar

from msgspec import Struct

from chronos.features.notify.model import Notice
from chronos.model.job import Job
from chronos.model.notify import NotifyEmail, NotifySlack, NotifyWebhook

C_contra = TypeVar("C_contra", NotifyWebhook, NotifySlack, NotifyEmail, contravariant=True)


class Sent(Struct, frozen=True):
    """It was accepted."""


class Unsent(Struct, frozen=True):
    """It was not accepted, or nobody can say.

    Attributes:
        reason: A sentence for a person, without credentials.
        permanent: True when asking again cannot help.
        retry_after_s: The other side's wish, as a floor for the next try.
    """

    reason: str
    permanent: bool = False
    retry_after_s: float = 0.0


Result = Sent | Unsent


class Sender(Protocol[C_contra]):
    """Sends over one kind of channel."""

    async def send(self, notice: Notice, channel: C_contra) -> Result:
        """Send `notice` once over `channel`, whose credentials are open, and say what became of it.

        Ends by itself within 15 s. May be asked again for the same notice: its id travels along. Whatever the
        far side does is a `Result`; an exception out of here is a bug.
        """
        ...


class Credentials(Protocol):
    """Opens credentials at the last moment."""

    async def open(self, namespace: str, job_id: str, path: str, text: str) -> str:
        """Return what `text` stands for.

        `sealed:…` is opened for its place, `${secret:…}` is looked up, and anything else is returned as it is.
        `path` is as `map_credentials` gives it for a job: `notify.channels[0].url`. `job_id` is empty for the
        server's own settings, which are never sealed.

        Raises:
            ChronosError: It cannot be opened; the message says why, without the secret.
        """
        ...


class Egress(Protocol):
    """The guard at the way out; `chronos.dispatch.egress.EgressGuard` is one."""

    async def vetted(self, host: str, port: int, *, by_administrator: bool = False) -> list[str]:
        """Return the addresses to connect to, best first, at least one.

        Args:
            by_administrator: The place stands in the server's configuration; it may be near.

        Raises:
            EgressRefused: The host has an address that may not be called.
            LookupFailed: It has none.
        """
        ...


class NextRun(Protocol):
    """Knows when a job runs next; `chronos.scheduler.outlook.Outlook` does."""

    def next_run(self, job: Job, after_s: int) -> int | None:
        """Return the first instant after `after_s` (seconds since the epoch); None when there is none."""
        ...
