"""Takes secrets out of what comes back: a target that echoes its request must not print our keys.

Wrappers that put secrets into a target say so with `secrets_in_play`; dispatchers ask `secrets_of` for those
and the target's own credentials.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from operator import attrgetter
from urllib.parse import quote, quote_plus

from chronos.model.secret import STARS, map_credentials
from chronos.model.target import BasicAuth, HttpTarget, ProcessTarget, Target

ENCODED_CHARS_MIN = 4
"""Secrets shorter than this are looked for as they are, not encoded: their encodings are everywhere."""

ENV_CHARS_MIN = 4
"""Values of a program's environment shorter than this stay in its output: `1` and `yes` are in every line."""

SECRETIVE = ("auth", "headers", "signing_secret")
"""Where an HTTP target may hold credentials."""

_secretive = attrgetter(*SECRETIVE)

_in_play: ContextVar[frozenset[str]] = ContextVar("secrets_in_play", default=frozenset())


@contextmanager
def secrets_in_play(values: Iterable[str]) -> Iterator[None]:
    """Redact `values` from every outcome of deliveries made inside the block."""
    token = _in_play.set(_in_play.get() | frozenset(values))
    try:
        yield
    finally:
        _in_play.reset(token)


def may_hold_secrets(target: Target) -> bool:
    """Return whether there is anything in a target in which credentials may stand."""
    return not isinstance(target, HttpTarget) or any(_secretive(target))


def secrets_of(target: Target) -> frozenset[str]:
    """Return every secret of a delivery: the target's credentials and what `secrets_in_play` added."""
    in_play = _in_play.get()
    if not in_play and not may_hold_secrets(target):
        return in_play
    found = set(in_play)

    def note(_: str, value: str) -> str:
        found.add(value)
        return value

    if not isinstance(target, ProcessTarget):
        map_credentials(target, note)
    if isinstance(target, HttpTarget) and isinstance(target.auth, BasicAuth):
        found.add(f"{target.auth.username}:{target.auth.password}")
    if isinstance(target, HttpTarget) and target.signing_secret:
        found |= {word.partition(";")[0] for word in target.signing_secret.split()}
    # `Bearer abc` in a header of the user's own: the part after the scheme is the secret.
    found |= {value.split(" ", 1)[1] for value in found if " " in value}
    if isinstance(target, ProcessTarget):
        found |= {value for value in target.env.values() if len(value) >= ENV_CHARS_MIN}
    return frozenset(value for value in found if value)


class Redactor:
    """Replaces secrets, in any of their usual spellings, with stars. What to look for is put together when there is
    something to look at: most answers are empty, and it takes longer than all the rest of a delivery."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = frozenset(secrets)

    @cached_property
    def _forms(self) -> list[bytes]:
        """Every spelling, the longest first."""
        forms = {form for secret in self._secrets for form in spellings(secret)}
        return sorted(forms, key=lambda form: (-len(form), form))

    @cached_property
    def _pattern(self) -> re.Pattern[bytes] | None:
        return re.compile(b"|".join(map(re.escape, self._forms))) if self._forms else None

    @property
    def longest(self) -> int:
        """Bytes in the longest spelling; 0 when there is nothing to redact."""
        return len(self._forms[0]) if self._forms else 0

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        return self(text.encode(errors="surrogateescape")).decode(errors="replace")

    def __call__(self, data: bytes) -> bytes:
        """Return `data` without the secrets."""
        return self._pattern.sub(STARS.encode(), data) if data and self._pattern else data

    def head(self, data: bytes, size: int) -> bytes:
        """Return the first `size` bytes of `data`, redacted before they are cut."""
        window = 2 * (size + self.longest)  # stars are shorter than what they replace
        redacted = self(data[:window])
        if len(data) > window and self.longest:
            # The window's end may have cut a secret in two.
            redacted = redacted[: max(0, len(redacted) - self.longest + 1)]
        return redacted[:size]


class StreamRedactor:
    """A `Redactor` for output that comes in pieces; holds back what may be the beginning of a secret."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown so far."""
        keep = self._redactor.longest - 1
        if keep <= 0:
            return self._redactor(data)
        redacted = self._redactor(self._held + data)
        self._held = redacted[-keep:]
        return redacted[:-keep]

    def finish(self) -> bytes:
        """Return the rest."""
        rest, self._held = self._redactor(self._held), b""
        return rest


def spellings(secret: str) -> set[bytes]:
    """Return the ways a secret is commonly written: as it is, JSON, URL, hex, and base64 at every alignment."""
    raw = secret.encode()
    if len(raw) < ENCODED_CHARS_MIN:
        return {raw} if raw else set()
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="~!*()'")}
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    forms |= {text.encode() for text in quoted} | {_lower_escapes(text).encode() for text in quoted}
    forms |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode() for ascii_only in (True, False)}
    forms.add(json.dumps(secret)[1:-1].replace("/", "\\/").encode())
    return forms | _base64_forms(raw)


def _lower_escapes(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), text)


def _base64_forms(raw: bytes) -> set[bytes]:
    forms: set[bytes] = set()
    for before in range(3):
        # Inside a longer text a secret starts at any of three bit offsets. Characters that also carry bits of
        # its neighbours are left out: two at most on either side.
        encoded = base64.b64encode(bytes(before) + raw)
        start = (0, 2, 3)[before]
        whole = (before + len(raw)) * 8 // 6
        core = encoded[start:whole]
        if len(core) >= ENCODED_CHARS_MIN:
            forms |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    forms |= {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    return forms
