"""Plug-ins as people write them, for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from textwrap import dedent, indent

from chronos.repeater.plugins.header import read_header
from chronos.repeater.plugins.port import Source

EXAMPLES = Path(__file__).parents[4] / "examples" / "rpr-plugins"


def written(body: str, *, name: str = "sample", kind: str = "scheduler", options: str = "pass", more: str = "") -> str:
    """Return a plug-in whose class has `body`, and whose header has `more` besides."""
    return "\n".join(
        [
            "from __future__ import annotations",
            "import msgspec",
            "from chronos.repeater.plugins.port import Duration",
            f'PLUGIN = {{"name": "{name}", "kind": "{kind}", "version": "1", "description": "a sample", {more}}}',
            "class Options(msgspec.Struct, forbid_unknown_fields=True):",
            indent(dedent(options), "    "),
            f"class {kind.capitalize()}:",
            indent(dedent(body), "    "),
            "",
        ]
    )


def scheduler(next_s: str, *, init: str = "pass", options: str = "pass", more: str = "") -> str:
    """Return a scheduler whose `next_s` does what it says."""
    body = f"""
    def __init__(self, options, seed):
        self.options, self.seed = options, seed
        {init}
    def first_s(self):
        return 0
    def next_s(self, run):
        {next_s}
    """
    return written(body, options=options, more=more)


def source(text: str) -> Source:
    return Source(read_header(text, "sample.py"), text, "sample.py", sha256(text), "a test")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put(folder: Path, name: str, text: str) -> str:
    """Write a plug-in where nobody else may write; returns the pin that trusts it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    file = folder / f"{name}.py"
    file.write_text(text)
    file.chmod(0o644)
    return f"{name}={sha256(text)}"
