"""`chronos health`: what a supervisor learns from its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.acceptance.served import answering, served
from tests.acceptance.test_start import a_certificate

from chronos.cli.server import main


def health(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["health", *arguments], env=env)


def test_a_server_that_lives_is_healthy_and_one_that_takes_requests_is_ready(tmp_path: Path) -> None:
    with served(tmp_path / "data") as server:
        assert health("--url", server.url).exit_code == 0
        assert json.loads(health("--url", server.url, "--ready").output)["ready"] is True
        address = server.url.removeprefix("http://")
        for listening in (address, address.replace("127.0.0.1", "0.0.0.0")):
            asked = health(env={"CHRONOS_HTTP_ADDRESS": listening})
            assert asked.exit_code == 0, asked.output
    gone = health("--url", server.url)
    assert gone.exit_code == 1
    assert "does not answer" in gone.output


def test_a_server_with_a_certificate_of_its_own_is_asked_all_the_same(tmp_path: Path) -> None:
    cert_file, key_file = a_certificate(tmp_path)
    tls = {"enabled": True, "cert_file": str(cert_file), "key_file": str(key_file)}
    file = tmp_path / "chronos.yaml"
    file.write_text(json.dumps({"server": {"http": {"tls": tls}}}))
    with served(tmp_path / "data", "--config", str(file)) as server:
        file.write_text(json.dumps({"server": {"http": {"tls": tls, "address": server.url.removeprefix("https://")}}}))
        assert health("--config", str(file)).exit_code == 0


def test_an_answer_that_is_no_yes_is_a_failure() -> None:
    with answering() as target:
        assert health("--url", target).exit_code == 0
        assert health("--url", target.replace("http:", "https:")).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["--url", "nowhere"], {}, "is not the address of a server"),
        (["--url", "http://127.0.0.1:99999"], {}, "is not the address of a server"),
        (["--url", "ftp://127.0.0.1:1"], {}, "is not the address of a server"),
        ([], {"CHRONOS_HTTP_ADDRESS": "127.0.0.1:0"}, "--url"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_apart(arguments: list[str], env: dict[str, str], words: str) -> None:
    asked = health(*arguments, env=env)

    assert asked.exit_code == 2
    assert words in asked.output
