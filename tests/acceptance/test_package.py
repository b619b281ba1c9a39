"""What `pip install .` installs: complete, and enough to run in an environment that has nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.acceptance.served import answering
from tests.architecture.source import ROOT
from tests.dose import PROOF

from chronos import __version__

BUILD_S = 120.0
INSTALL_S = 600.0
PACKAGE = ROOT / "src" / "chronos"

proof = pytest.mark.skipif(not PROOF, reason="it installs every dependency anew: `make proof` does")


def builds(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and from it the wheel; return both."""
    build = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, timeout=BUILD_S)
    [sdist] = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "-w", str(folder), str(sdist)], check=True, timeout=BUILD_S)
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return builds(tmp_path_factory.mktemp("dist"))


def shipped() -> set[str]:
    """Return every file of the package."""
    found = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE.parent).as_posix() for path in found}


def test_the_wheel_has_every_file_of_the_package_and_nothing_of_the_tests(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == shipped()
    assert "chronos/py.typed" in names


def test_the_wheel_says_its_release_its_licence_and_its_commands(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        beside = {name.partition(".dist-info/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
        commands = wheel.read(beside["entry_points.txt"]).decode()
        metadata = wheel.read(beside["METADATA"]).decode()

    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert {"licenses/LICENSE"} <= beside.keys()
    assert {
        "chronos = chronos.cli.server:main",
        "chronosctl = chronos.cli.chronosctl:main",
        "rpr = chronos.cli.rpr:main",
    } <= set(commands.splitlines())


def test_the_source_distribution_has_what_it_takes_to_build_and_to_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert {f"src/{name}" for name in shipped()} <= names
    assert {"LICENSE", "README.md", "pyproject.toml", "requirements/runtime.txt", "tests/conftest.py"} <= names


@proof
@pytest.mark.timeout(INSTALL_S)
def test_an_environment_that_has_nothing_else_runs_a_server_and_a_job(built: tuple[Path, Path], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=BUILD_S)
    bin_ = tmp_path / "venv" / "bin"
    pip = [str(bin_ / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run(
        [*pip, "--require-hashes", "-r", str(ROOT / "requirements/runtime.txt")], check=True, timeout=INSTALL_S
    )
    subprocess.run([*pip, "--no-deps", "--no-index", str(built[1])], check=True, timeout=INSTALL_S)
    subprocess.run([str(bin_ / "python"), "-m", "pip", "check"], check=True, timeout=BUILD_S)

    environ = {"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    subprocess.run([str(bin_ / "rpr"), "count", "--times", "1", "--", "true"], env=environ, check=True, timeout=BUILD_S)
    server = subprocess.Popen(
        ["chronos", "server", "--data-dir", str(tmp_path / "data"), "--http-address", "127.0.0.1:0"],
        executable=bin_ / "chronos",
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        ready = server.stdout.readline().split()
        assert ready[0] == "ready"
        environ["CHRONOS_SERVER"] = ready[1]
        with answering() as target:
            for words in (
                ["job", "create", "nightly", "--schedule", "0 2 * * *", "--url", f"{target}/yes"],
                ["job", "trigger", "nightly", "--wait", "20s"],
            ):
                subprocess.run([str(bin_ / "chronosctl"), *words], env=environ, check=True, timeout=BUILD_S)
        server.terminate()
        assert server.wait(BUILD_S) == 0
    finally:
        server.kill()
        server.communicate()
