"""`chronosctl webhook secret`: signing secrets, made here and sent nowhere."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import say
from chronos.cli.chronosctl.session import Session

if TYPE_CHECKING:
    from chronos.timing.clock import Chance


@leaf()
@click.option("--ed25519", "is_pair", is_flag=True, help="A private key; receivers verify with its public key.")
@click.option(
    "--public-of", "private", type=click.File(), metavar="FILE", help="Print the public key of a private one."
)
@click.pass_obj
def secret(session: Session, is_pair: bool, private: IO[str] | None) -> None:
    """Make a signing secret. It goes to stdout; needs no server, and no server gets to know it.

    A shared secret (whsec_…) goes to the job and to its receiver. Of a pair, the private key (whsk_…) goes to the
    job and the public one (whpk_…, on stderr) to any number of receivers.

    \b
    Examples:
      (umask 077; chronosctl webhook secret > signing.secret)
      (umask 077; chronosctl webhook secret --ed25519 > signing.key)
      chronosctl webhook secret --public-of signing.key
    """
    if private is not None:
        say(session, {"public_key": (public := _public_of(private.read()))}, public)
    elif is_pair:
        from chronos.model.signing import new_key_pair

        key, public = new_key_pair(_chance(session))
        if session.output == "table":
            session.note(f"public key, for receivers: {public}")
        say(session, {"private_key": key, "public_key": public}, key)
    else:
        from chronos.model.signing import new_shared_secret

        say(session, {"secret": (fresh := new_shared_secret(_chance(session)))}, fresh)


def _chance(session: Session) -> Chance:
    from chronos.timing.clock import SystemChance

    return session.given_chance or SystemChance()


def _public_of(text: str) -> str:
    from chronos.model.signing import public_key_of

    try:
        return public_key_of(text.strip())
    except ValueError as wrong:
        raise click.BadParameter(f"it {wrong}.", param_hint="--public-of") from None
