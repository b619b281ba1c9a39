"""What is told, over what, and the documents in which nothing of it gets lost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import fields

from chronos.errors import ConfigInvalid
from chronos.model.notify import Channel, NotifyEmail, NotifyOn, NotifySlack, NotifyWebhook
from chronos.model.secret import STARS, Credential

CHANNELS_MAX = 10
LOST_MAX = 1_000
"""How many notices that were given up are kept to be read; the oldest makes room."""

OUTBOX_MAX = 2_000
"""How many notices may wait to be sent; what comes on top is lost, counted and kept with the lost ones."""

DIGEST_LINES_MAX = 20
WINDOW_US = 5 * 60 * 1_000_000
ERROR_CHARS_MAX = 500

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SmtpTls(StrEnum):
    """How the connection to the mail server is protected."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class Smtp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mail server that e-mail channels go through.

    Attributes:
        tls: `starttls` refuses to go on when the server does not offer it.
        sender: The address mails come from (`from` in the file).
        ca_file: Certificates to trust instead of the system's.
    """

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    sender: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^\s<>]+@[^@\s<>]+$")] = field(name="from")
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    tls: SmtpTls = SmtpTls.STARTTLS
    username: Annotated[str, Meta(max_length=256)] | None = None
    password: Credential | None = None
    ca_file: Annotated[str, Meta(max_length=4_096)] | None = None

    def __repr__(self) -> str:
        shown = {
            f.name: STARS if f.name == "password" and self.password else getattr(self, f.name) for f in fields(self)
        }
        return f"Smtp({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell about jobs that have no `notify` of their own, and how hard to try.

    Attributes:
        console_url: Where people reach this server; makes messages carry a link.
        max_attempts: After this many tries over about an hour a notice is lost.
        max_per_5m: Messages on one channel in five minutes; what comes on top is told in one digest.
    """

    on: Annotated[list[NotifyOn], Meta(min_length=1, max_length=3)] = field(
        default_factory=lambda: [NotifyOn.FAILURE, NotifyOn.RECOVERY, NotifyOn.MISSED]
    )
    channels: Annotated[list[Channel], Meta(max_length=CHANNELS_MAX)] = field(default_factory=list)
    smtp: Smtp | None = None
    console_url: Annotated[str, Meta(max_length=2_000, pattern=r"^https?://[^\s<>|]+$")] | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=30)] = 12
    max_per_5m: Annotated[int, Meta(ge=1, le=1_000)] = 10

    def __repr__(self) -> str:
        kinds = [kind_of(channel) for channel in self.channels]
        return f"Settings(on={self.on!r}, channels={kinds!r}, smtp={self.smtp!r})"

    def check(self) -> None:
        """Raise `ConfigInvalid` where the parts do not fit together."""
        if self.smtp is None:
            if any(isinstance(channel, NotifyEmail) for channel in self.channels):
                raise ConfigInvalid("notify.channels has an e-mail channel; say under notify.smtp how mail leaves.")
            return
        if self.smtp.username and self.smtp.tls is SmtpTls.NONE and self.smtp.host not in _LOOPBACK:
            raise ConfigInvalid("notify.smtp.tls is `none`: the password would travel in clear; use `starttls`.")


class NoticeKind(StrEnum):
    """What a message is about."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    MISSED = "missed"
    DIGEST = "digest"
    TEST = "test"


class DigestLine(Struct, frozen=True, kw_only=True):
    """One kind of trouble of one job, told in a digest."""

    kind: NoticeKind
    job_id: str
    job_name: str
    namespace: str
    count: int
    execution_id: str = ""


class Notice(Struct, frozen=True, kw_only=True):
    """What somebody is told. The same trouble makes the same notice, however often it is looked at.

    Attributes:
        id: Stable for (execution, kind); travels as `webhook-id`.
        at_us: Log time of what it tells, microseconds since the epoch.
        scheduled_s: The instant the execution was due; 0 when there is none.
        status_code: HTTP status or exit code of the last attempt.
        failing_since_us: For a recovery: when the first failure ended.
        next_run_s: The job's next instant; 0 when there is none or nobody knows.
        missed: For missed runs: how many instants, from `scheduled_s` to `missed_last_s`.
        more: For a digest: notices that no line stands for.
    """

    id: str
    kind: NoticeKind
    at_us: int
    namespace: str = "default"
    job_id: str = ""
    job_name: str = ""
    execution_id: str = ""
    scheduled_s: int = 0
    attempts: int = 0
    status_code: int | None = None
    error: str = ""
    failing_since_us: int = 0
    next_run_s: int = 0
    missed: int = 0
    missed_last_s: int = 0
    reason: str = ""
    lines: list[DigestLine] = field(default_factory=list)
    more: int = 0


class Addressed(Struct, frozen=True, kw_only=True):
    """A channel and where it is written down.

    Attributes:
        key: `job:<id>:<n>` or `server:<n>`.
        channel: A job's channel, credentials sealed; None for the server's, which are read from the settings.
    """

    key: str
    channel: Channel | None = None
    job_id: str = ""
    namespace: str = "default"

    @property
    def path(self) -> str:
        """Where the channel stands in the job or the settings: `notify.channels[0]`."""
        return f"notify.channels[{self.key.rpartition(':')[2]}]"


class Queued(Struct, frozen=True, kw_only=True):
    """A notice on its way over one channel: a replicated document until it has arrived or is lost."""

    notice: Notice
    to: Addressed
    queued_at_us: int
    attempts: int = 0
    not_before_us: int = 0

    @property
    def key(self) -> str:
        return f"{self.notice.id}:{self.to.key}"


class Failing(Struct, frozen=True, kw_only=True):
    """A job whose failure was told; its next success is worth a message too.

    Attributes:
        execution_id: The first that failed.
        last_notice: The newest failure notice that is known to be in the outbox.
    """

    job_id: str
    namespace: str
    since_us: int
    execution_id: str
    last_notice: str = ""


class Digest(Struct, frozen=True, kw_only=True):
    """What a channel was spared: told in one message when the window is over."""

    id: str
    to: Addressed
    namespace: str
    since_us: int
    lines: list[DigestLine] = field(default_factory=list)
    more: int = 0


class Lost(Struct, frozen=True, kw_only=True):
    """A notice that was given up."""

    notice: Notice
    channel: str
    reason: str
    attempts: int
    at_us: int


def kind_of(channel: Channel | None) -> str:
    """Return `webhook`, `slack`, `email`; `none` for a channel that is no longer there."""
    match channel:
        case NotifyWebhook():
            return "webhook"
        case NotifySlack():
            return "slack"
        case NotifyEmail():
            return "email"
    return "none"
