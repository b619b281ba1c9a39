"""What is typed wins over the environment, which wins over the file; what is wrong is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos.cli.rpr.config import KEYS, Key, configured
from chronos.errors import ConfigInvalid

TEXT = """
[defaults]
timeout = "5s"
max_retries = 7
log_level = "warn"
[scheduling]
default_interval = "10s"
jitter_percent = 20
[observability]
metrics_enabled = true
metrics_port = 1234
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rpr.toml"
    path.write_text(TEXT)
    return str(path)


def test_each_mode_takes_what_means_something_in_it(file: str) -> None:
    typed = {"config": file}
    assert configured("interval", typed, {})["every"] == 10
    assert "every" not in configured("count", typed, {})
    assert configured("exponential", typed, {})["attempts"] == 7
    assert "attempts" not in configured("interval", typed, {})
    assert "attempts" not in configured("delays", typed, {})
    assert configured("count", typed, {})["timeout"] == 5
    assert configured("count", typed, {})["jitter"] == "20%"


def test_what_is_typed_wins_over_the_environment_over_the_file(file: str) -> None:
    typed = {"config": file}
    assert configured("count", typed, {})["timeout"] == 5
    assert configured("count", typed, {"RPR_TIMEOUT": "6s"})["timeout"] == 6
    assert configured("count", {**typed, "timeout": 8.0}, {"RPR_TIMEOUT": "6s"})["timeout"] == 8


def test_the_environment_counts_without_a_file() -> None:
    assert configured("exponential", {}, {"RPR_MAX_RETRIES": "9", "RPR_RUN": "3"}) == {"attempts": 9}


def test_the_usual_place_is_read_if_there_is_something(tmp_path: Path, file: str) -> None:
    assert configured("count", {}, {"HOME": str(tmp_path)}) == {}
    (tmp_path / ".config/rpr").mkdir(parents=True)
    Path(file).rename(tmp_path / ".config/rpr/config.toml")
    assert configured("count", {}, {"HOME": str(tmp_path)})["timeout"] == 5
    assert configured("count", {}, {"HOME": "/", "XDG_CONFIG_HOME": f"{tmp_path}/.config"})["timeout"] == 5


def test_a_port_that_is_typed_is_served_and_one_that_is_configured_waits_for_its_switch() -> None:
    assert configured("count", {"health_port": 1}, {})["health_enabled"] is True
    assert "health_enabled" not in configured("count", {}, {"RPR_HEALTH_CHECK_PORT": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\ntimeot = '1s'", "has no key `defaults.timeot`. Did you mean `defaults.timeout`?"),
        ("[default]\ntimeout = '1s'", "has no section `[default]`. Did you mean `defaults`?"),
        ("timeout = '1s'", "has no section `[timeout]`"),
        ("[defaults]\ntimeout = 5", "a duration in quotes"),
        ("[defaults]\ntimeout = '-1s'", "it must not be negative"),
        ("[defaults]\nmax_retries = 0", "a whole number from 1"),
        ("[defaults]\nmax_retries = true", "a whole number from 1"),
        ("[defaults]\nlog_level = 'loud'", "one of debug, info, warn, error"),
        ("[scheduling]\njitter_percent = 101", "a whole number from 0 to 100"),
        ("[observability]\nmetrics_port = 0", "a whole number from 1 to 65535"),
        ("[observability]\nmetrics_enabled = 'maybe'", "true or false"),
        ("[defaults", "is no TOML"),
        ("[defaults]\ntimeout = '\x00'", "is no TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rpr.toml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as refused:
        configured("count", {"config": str(path)}, {})
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.env)
def test_a_wrong_value_in_the_environment_is_refused_by_name(key: Key) -> None:
    name = key.env
    if name in ("RPR_ADDRESS", "RPR_PLUGINS_DIR"):
        return  # any text is an address until somebody listens there, and a directory until somebody looks
    with pytest.raises(ConfigInvalid, match=f"^{name}: `bogus` is not "):
        configured("count", {}, {name: "bogus"})


def test_plug_ins_are_configured_with_their_pins_and_their_options(tmp_path: Path) -> None:
    path = tmp_path / "rpr.toml"
    pin = "0" * 64
    path.write_text(f'[plugins]\ndir = "there"\n[plugins.pins]\na = "{pin}"\nb = "{pin}"\n[plugins.a]\nbase = "1s"\n')
    found = configured("interval", {"config": str(path)}, {})
    assert found["plugin_dir"] == "there"
    assert found["plugin_pins"] == f"a={pin},b={pin}"
    assert found["plugin_options"] == {"a": {"base": "1s"}}


def test_pins_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rpr.toml"
    path.write_text("[plugins.pins]\na = 1\n")
    with pytest.raises(ConfigInvalid, match=r"plugins\.pins: .* is not name=SHA256, or a table"):
        configured("interval", {"config": str(path)}, {})
