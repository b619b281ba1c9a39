"""Credentials of a job that is written: sealed for their place, or kept where the writer sent back stars.

Stars mean *the one you have*, and it goes where it went before: to the same scheme, host and port. Otherwise
somebody who may write a job, but was never shown its credentials, could have them sent to a host of his own.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from chronos.errors import JobInvalid
from chronos.model.job import JobSpec
from chronos.model.notify import Channel, NotifySlack, NotifyWebhook
from chronos.model.sealing import SealBroken, Sealer
from chronos.model.secret import STARS, is_reference, map_credentials
from chronos.model.target import HttpTarget

_CHANNEL = re.compile(r"^notify\.channels\[(\d+)\](\..*)$")
_UNPLAIN = re.compile(r"[^A-Za-z0-9.:\[\]@_-]")
"""In an authority: a reference or a template, or what another parser might read otherwise."""
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where a request goes, as far as a credential is concerned."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        if not self.scheme:
            return self.host
        port = f":{self.port}" if self.port is not None and self.port != _PORTS.get(self.scheme) else ""
        return f"{self.scheme}://{self.host}{port}"


def seal_credentials(spec: JobSpec, job_id: str, old: JobSpec | None, sealer: Sealer) -> JobSpec:
    """Return `spec` with every credential sealed for its place in job `job_id`; stars keep what `old` has.

    A credential that is given again as it was stays as it is sealed, so that writing the same changes nothing.

    Raises:
        JobInvalid: Stars stand where there is nothing to keep, or for a credential whose destination has changed.
        SealBroken: What looks sealed was not sealed here, for this place.
    """
    return map_credentials(spec, _Keeper(spec, job_id, old, sealer).seal)


class _Keeper:
    """Answers, for one write, which credential stars at a path stand for."""

    def __init__(self, spec: JobSpec, job_id: str, old: JobSpec | None, sealer: Sealer) -> None:
        self._spec, self._old, self._sealer = spec, old, sealer
        self._prefix = f"{spec.namespace}/{job_id}/"
        self._kept: dict[str, str] = {}
        if old is not None:
            map_credentials(old, lambda path, text: self._kept.setdefault(path, text))
        self._channels = _matching(_channels(spec), _channels(old) if old is not None else [])

    def seal(self, path: str, text: str) -> str:
        place = self._prefix + path
        if text != STARS:
            plain = self._sealer.open(text, place)  # what looks sealed must have been sealed here, for this place
            sealed = self._kept.get(path, "")
            return sealed if self._holds(sealed, place, plain) else self._sealer.seal(text, place)
        source = self._source_of(path)
        kept = self._kept.get(source)
        if kept is None:
            raise JobInvalid(f"`{path}` is {STARS}, but there is no credential to keep.", field=path)
        if source == path:
            return kept
        return self._sealer.seal(self._sealer.open(kept, self._prefix + source), place)

    def _holds(self, sealed: str, place: str, plain: str) -> bool:
        try:
            return sealed != "" and self._sealer.open(sealed, place) == plain
        except SealBroken:
            return False  # giving it again is the way to mend that

    def _source_of(self, path: str) -> str:
        """Return the path that the credential has in the old spec."""
        match = _CHANNEL.match(path)
        if match is not None:
            return self._source_in_channel(path, int(match[1]), match[2])
        if path.startswith("target."):
            self._check_target(path)
        return path

    def _source_in_channel(self, path: str, place: int, rest: str) -> str:
        found = self._channels[place]
        if found is not None:
            return f"notify.channels[{found}]{rest}"
        channel = _channels(self._spec)[place]
        if isinstance(channel, NotifyWebhook):
            why = f"no webhook of the job goes to {origin_of(channel.url)} yet"
        else:
            why = "which of the job's Slack channels it stands for cannot be told"
        raise JobInvalid(f"`{path}` is {STARS}, but {why}; give the credential again.", field=path)

    def _check_target(self, path: str) -> None:
        # Its `cancel_url` counts for nothing here: credentials go there only if it has the origin of `url`.
        new, old = self._spec.target, self._old.target if self._old is not None else None
        if not isinstance(new, HttpTarget) or not isinstance(old, HttpTarget):
            return
        if origin_of(new.url) != origin_of(old.url):
            raise JobInvalid(
                f"`{path}` is {STARS}, but the target moves from {origin_of(old.url)} to {origin_of(new.url)}: "
                "a credential that is kept goes where it went before. Give it again to send it there.",
                field=path,
            )


def _matching(new: list[Channel], old: list[Channel]) -> list[int | None]:
    """Return, for each new channel with stars, the place of the old one it keeps; None where that is unclear.

    A webhook is matched by its whole URL, else by its origin if only one is left that goes there. Slack URLs are
    credentials themselves, so stars in them are told apart by nothing: they are kept all, or none.
    """
    if not new:
        return []
    found: list[int | None] = [None] * len(new)
    free = set(range(len(old)))
    starred = [
        place for place, channel in enumerate(new) if isinstance(channel, NotifyWebhook) and _is_starred(channel)
    ]
    for same in (_same_url, _same_origin):
        for place in starred:
            fits = [n for n in sorted(free) if same(new[place], old[n])] if found[place] is None else []
            if fits and (same is _same_url or len(fits) == 1):
                found[place] = fits[0]
                free.discard(fits[0])
    slack = [place for place, channel in enumerate(new) if isinstance(channel, NotifySlack) and _is_starred(channel)]
    kept = [n for n, channel in enumerate(old) if isinstance(channel, NotifySlack) and not is_reference(channel.url)]
    if len(slack) == len(kept):
        for place, source in zip(slack, kept, strict=True):
            found[place] = source
    return found


def _is_starred(channel: NotifyWebhook | NotifySlack) -> bool:
    return (channel.secret if isinstance(channel, NotifyWebhook) else channel.url) == STARS


def _same_url(new: Channel, old: Channel) -> bool:
    return isinstance(new, NotifyWebhook) and isinstance(old, NotifyWebhook) and new.url == old.url


def _same_origin(new: Channel, old: Channel) -> bool:
    if not isinstance(new, NotifyWebhook) or not isinstance(old, NotifyWebhook):
        return False
    return origin_of(new.url) == origin_of(old.url)


def _channels(spec: JobSpec) -> list[Channel]:
    return spec.notify.channels if spec.notify is not None else []


def origin_of(url: str) -> Origin:
    """Return scheme, host and port of a URL; where they cannot be read, the URL itself, which equals no other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return Origin("", url, None)
    scheme = parts.scheme.lower()
    if not parts.hostname or _UNPLAIN.search(parts.netloc):
        return Origin("", url, None)
    return Origin(scheme, parts.hostname.lower(), port or _PORTS.get(scheme))
