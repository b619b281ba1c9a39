"""Where the address, the key and the namespace come from, and what is refused on the way."""

from __future__ import annotations

import stat
import sys
from io import StringIO
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Ctl


def asked(ctl: Ctl) -> tuple[str, str | None]:
    """Return the address and the key of the last request."""
    request = ctl.server.requests[-1]
    return f"{request.url.scheme}://{request.url.host}:{request.url.port}", request.headers.get("authorization")


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_without_anything_the_server_is_the_one_on_this_machine(ctl: Ctl) -> None:
    ctl("job", "list")
    assert asked(ctl) == ("http://127.0.0.1:8080", None)


def test_a_flag_goes_before_the_environment_and_that_before_the_context(ctl: Ctl) -> None:
    assert ctl("context", "set", "c", "-s", "http://127.0.0.1:1").code == 0
    ctl("job", "list")
    assert asked(ctl)[0] == "http://127.0.0.1:1"
    ctl.environ["CHRONOS_SERVER"] = "http://127.0.0.1:2"
    ctl("job", "list")
    assert asked(ctl)[0] == "http://127.0.0.1:2"
    ctl("-s", "http://127.0.0.1:3", "job", "list")
    assert asked(ctl)[0] == "http://127.0.0.1:3"
    ctl("-s", "http://127.0.0.1:3", "job", "list", "-s", "http://127.0.0.1:4")
    assert asked(ctl)[0] == "http://127.0.0.1:4"


def test_the_key_comes_from_a_file_the_environment_the_data_folder_or_the_context(ctl: Ctl, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    private(data / "admin.key", "from-data\n")
    ctl("context", "set", "c", "--data-dir", str(data))
    ctl("job", "list")
    assert asked(ctl)[1] == "Bearer from-data"
    ctl.environ["CHRONOS_API_KEY"] = "from-environment"
    ctl("job", "list")
    assert asked(ctl)[1] == "Bearer from-environment"
    ctl("job", "list", "--data-dir", str(data))
    assert asked(ctl)[1] == "Bearer from-data"
    ctl("job", "list", "--api-key-file", str(private(tmp_path / "k", "from-file")))
    assert asked(ctl)[1] == "Bearer from-file"


@pytest.mark.parametrize(("mode", "text"), [(0o644, "key"), (0o600, ""), (0o600, "two words"), (0o620, "key")])
def test_a_key_file_that_is_open_or_empty_is_refused(ctl: Ctl, tmp_path: Path, mode: int, text: str) -> None:
    file = tmp_path / "k"
    file.write_text(text)
    file.chmod(mode)
    done = ctl("job", "list", "--api-key-file", str(file))
    assert done.code == 2
    assert str(file) in done.err
    assert ctl.server.requests == []


def test_a_configuration_file_that_others_may_read_is_refused(ctl: Ctl) -> None:
    ctl("context", "set", "c", "-s", "http://127.0.0.1:1")
    config = ctl.home / ".config/chronos/config.yaml"
    config.chmod(0o644)
    done = ctl("job", "list")
    assert done.code == 2
    assert f"chmod 600 {config}" in done.err


def test_the_configuration_is_written_for_its_owner_only(ctl: Ctl) -> None:
    ctl("context", "set", "c", "-s", "http://127.0.0.1:1")
    config = ctl.home / ".config/chronos/config.yaml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert [file.name for file in config.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("text", ["contexts: [", "contexts: {c: {sever: x}}", "contexts: 5", "current: {}"])
def test_a_configuration_that_means_nothing_is_refused(ctl: Ctl, text: str) -> None:
    config = ctl.home / ".config/chronos/config.yaml"
    config.parent.mkdir(parents=True)
    private(config, text)
    done = ctl("context", "list")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "config.yaml" in done.err


def test_contexts_are_made_used_and_forgotten(ctl: Ctl) -> None:
    ctl("context", "set", "a", "-s", "http://127.0.0.1:1")
    ctl("context", "set", "b", "-s", "http://127.0.0.1:2", "-n", "ops")
    ctl("context", "use", "b")
    ctl("job", "list")
    assert asked(ctl)[0] == "http://127.0.0.1:2"
    assert ctl.server.requests[-1].headers["x-namespace"] == "ops"
    ctl("job", "list", "--context", "a")
    assert asked(ctl)[0] == "http://127.0.0.1:1"
    assert [(c["name"], c["current"]) for c in ctl("context", "list", "-o", "json").json] == [("a", False), ("b", True)]
    assert ctl("context", "delete", "b").code == 0
    assert ctl("context", "use", "b").code == 4
    assert ctl("job", "list", "--context", "b").code == 4


def test_a_key_in_the_configuration_is_not_shown(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("s3cret\n"))
    ctl("context", "set", "a", "--key-stdin")
    done = ctl("context", "list")
    assert "in this file" in done.out
    assert "s3cret" not in done.out
    ctl("job", "list")
    assert asked(ctl)[1] == "Bearer s3cret"


def test_a_key_on_a_plain_connection_to_another_machine_is_warned_of(ctl: Ctl) -> None:
    ctl.environ["CHRONOS_API_KEY"] = "k"
    assert "unencrypted" in ctl("job", "list", "-s", "http://chronos.example/").err
    assert ctl("job", "list", "-s", "http://127.0.0.1:1").err == ""
    assert ctl("job", "list", "-s", "https://chronos.example/").err == ""


def test_a_server_that_wants_a_key_says_where_keys_come_from(ctl: Ctl) -> None:
    ctl.server.on("GET", "/api/v1/jobs", 401, {"type": "unauthenticated", "detail": "Say who you are."})
    done = ctl("job", "list")
    assert done.code == 3
    assert "CHRONOS_API_KEY" in done.err


def test_a_read_without_a_quorum_is_answered_by_the_node_alone_and_says_so(ctl: Ctl) -> None:
    import httpx2
    from tests.unit.cli.fake_server import problem

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params.get("consistency") == "local":
            return httpx2.Response(200, json={"jobs": []}, headers={"Chronos-Applied-Index": "42"})
        return problem(503, "not-leader", "No quorum; ?consistency=local reads this node.", headers={})

    ctl.server.answers["GET", "/api/v1/jobs"] = answer
    done = ctl("job", "list")
    assert done.code == 0
    assert "log index 42" in done.err


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "tab\tbed", "ünicode"])
def test_a_key_that_cannot_be_one_is_refused_and_not_repeated(ctl: Ctl, key: str) -> None:
    ctl.environ["CHRONOS_API_KEY"] = key
    done = ctl("job", "list")
    assert (done.code, ctl.server.requests) == (2, [])
    assert key not in done.err


@pytest.mark.parametrize(
    "args", [("-s", "http://127.0.0.1:99999"), ("--request-timeout", "0s"), ("--request-timeout", "-1s")]
)
def test_an_address_or_a_patience_that_cannot_work_is_bad_input(ctl: Ctl, args: tuple[str, ...]) -> None:
    done = ctl(*args, "job", "list")
    assert (done.code, done.err.count("\n"), ctl.server.requests) == (2, 1, [])
