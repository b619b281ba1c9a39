"""Signing secrets on the command line."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.unit.cli.conftest import Ctl

from chronos.client.webhooks import verify
from chronos.model.signing import signatures, signing_keys
from chronos.timing.clock import utc

STAMP = 1_798_794_000


def signed(secret: str) -> dict[str, str]:
    value = signatures(signing_keys(secret), "occ_a", STAMP, b"{}")
    return {"webhook-id": "occ_a", "webhook-timestamp": str(STAMP), "webhook-signature": value}


def test_a_shared_secret_signs_and_verifies_and_is_another_one_each_time(ctl: Ctl) -> None:
    secret = ctl("webhook", "secret").out.strip()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert verify(b"{}", signed(secret), secret, now=utc(STAMP)).id == "occ_a"


def test_of_a_pair_only_the_private_key_goes_to_stdout(ctl: Ctl) -> None:
    made = ctl("webhook", "secret", "--ed25519")
    public = made.err.split()[-1]
    assert made.out.startswith("whsk_")
    assert public.startswith("whpk_")
    assert verify(b"{}", signed(made.out.strip()), public, now=utc(STAMP)).id == "occ_a"


def test_programs_get_both_keys_in_one_document(ctl: Ctl) -> None:
    made = ctl("webhook", "secret", "--ed25519", "-o", "json")
    assert set(made.json) == {"private_key", "public_key"}
    assert made.err == ""


def test_the_public_key_can_be_had_again(ctl: Ctl, tmp_path: Path) -> None:
    made = ctl("webhook", "secret", "--ed25519", "-o", "json").json
    kept = tmp_path / "signing.key"
    kept.write_text(made["private_key"] + "\n")
    assert ctl("webhook", "secret", "--public-of", str(kept)).out == made["public_key"] + "\n"


def test_what_is_no_private_key_has_no_public_one_and_is_not_repeated(ctl: Ctl, tmp_path: Path) -> None:
    kept = tmp_path / "signing.key"
    kept.write_text("whsec_c2VjcmV0")
    refused = ctl("webhook", "secret", "--public-of", str(kept))
    assert refused.code == 2
    assert "whsk_<base64>" in refused.err
    assert "c2VjcmV0" not in refused.err


def test_no_server_is_asked(ctl: Ctl) -> None:
    ctl("webhook", "secret")
    ctl("webhook", "secret", "--ed25519")
    assert ctl.server.requests == []
