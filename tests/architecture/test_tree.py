"""The repository stands alone: no registry is named in it, no machine's paths, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.architecture.source import ROOT, files

# Written in pieces, so that this file does not hold what it looks for.
REGISTRIES = re.compile(
    "|".join(
        [
            "py" + r"pi\.org",
            "python" + r"hosted\.org",
            "npm" + r"js\.(org|com)",
            r"(deb|security)\." + r"debian\.org",
            r"proxy\.go" + r"lang\.org",
            r"repo1?\.ma" + "ven",
            "crates" + r"\.io/api",
            "registry" + r"\.yarnpkg\.com",
        ]
    )
)
SHARED_PLACES = {Path(place) for place in ("/", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp")}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def texts() -> dict[str, str]:
    """Return name → text of every file that is text."""
    found = {}
    for path in files():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def machine_paths() -> list[str]:
    """Return beginnings of paths that exist on this machine only."""
    places = {ROOT, ROOT.parent, Path.home()} - SHARED_PLACES
    return sorted(f"{place}/" for place in places if len(place.parts) > 1)


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRIES) == []


def test_no_file_names_a_path_of_this_machine() -> None:
    places = machine_paths()
    assert not places or lines_with(re.compile("|".join(rf"(?<![\w./~-]){re.escape(place)}" for place in places))) == []


def test_a_registry_would_be_seen() -> None:
    assert REGISTRIES.search("https://files.python" + "hosted.org/packages")
    assert not REGISTRIES.search("https://packaging.python.org/tutorials")


def test_only_hash_pinned_requirements_are_kept() -> None:
    names = {path.name for path in files()}
    assert not names & {"uv.lock", "poetry.lock", "Pipfile.lock"}
    for lock in (ROOT / "requirements").glob("*.txt"):
        pins = re.findall(
            r"^[a-z0-9][^\s=]*==\S+(?: ;[^\\\n]*)? ?\\\n +--hash=sha256:[0-9a-f]{64}", lock.read_text(), re.MULTILINE
        )
        starts = re.findall(r"^[a-z0-9]", lock.read_text(), re.MULTILINE)
        assert pins
        assert len(pins) == len(starts), f"{lock.name} has a requirement without a hash"


def headings(text: str) -> set[str]:
    """Return the anchors of a page, as GitHub and MkDocs make them."""
    found = set()
    for title in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        found.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    return found


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    broken = []
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        link = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        outside = ROOT not in target.parents and target != ROOT
        lost = (
            bool(anchor) and target.suffix == ".md" and target.exists() and anchor not in headings(target.read_text())
        )
        if not target.exists() or outside or lost:
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", [path for path in files() if path.suffix == ".md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.architecture.test_tree.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` title\n[here](#a-b-title) [gone](gone.md) [no](#such) [out](../page.md)\n```\n[x](y)\n```\n"
    )
    assert broken_links(page) == ["gone.md", "#such", "../page.md"]
