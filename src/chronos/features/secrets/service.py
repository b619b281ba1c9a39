"""Resolves the references of a delivery, once each, and says which secrets are to be kept out of its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from chronos.dispatch.port import Deliver, Delivery, Outcome, Refused
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.references import Reference, SecretUnavailable, references_in, replace_references
from chronos.dispatch.template import blank
from chronos.features.secrets.rules import Values, all_references, put_in
from chronos.features.secrets.sources import Source
from chronos.model.target import Target, mentions


class Secrets:
    """The `SecretResolver` over any number of sources."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    async def around(self, delivery: Delivery, inner: Deliver) -> Outcome:
        """Deliver with references resolved; a missing secret is a refusal that trying again does not heal."""
        try:
            target, secrets = await self.resolve_target(delivery.target)
        except SecretUnavailable as missing:
            return Refused(str(missing), "secret", permanent=True)
        if not secrets:
            return await inner(delivery)
        with secrets_in_play(secrets):
            return await inner(replace(delivery, target=target))

    def concerns(self, delivery: Delivery) -> bool:
        """Whether there is any reference to resolve."""
        return mentions(delivery.target, "${")

    async def resolve_target(self, target: Target) -> tuple[Target, frozenset[str]]:
        """See `SecretResolver.resolve_target`."""
        values = await self._values(all_references(target))
        return (put_in(target, values) if values else target), frozenset(values.values())

    async def resolve_text(self, text: str) -> tuple[str, frozenset[str]]:
        """See `SecretResolver.resolve_text`."""
        values = await self._values(references_in(text))
        return (replace_references(text, values) if values else text), frozenset(values.values())

    async def _values(self, references: Iterable[Reference]) -> Values:
        return {reference: await self._value(reference) for reference in sorted(set(references))}

    async def _value(self, reference: Reference) -> str:
        source = self._sources.get(reference.source)
        try:
            if source is None:
                raise SecretUnavailable(f"cannot be read: there is no source {reference.source}")
            value = await source.read(reference.name)
            if not value:
                raise SecretUnavailable("is empty")
            if blank(value) != value:
                # It would be filled in with the job's own templates, and no longer be the secret.
                raise SecretUnavailable("contains a template variable, and would not be sent as it is")
        except SecretUnavailable as why:
            raise SecretUnavailable(f"{reference} {why}", reference=str(reference)) from None
        return value
