"""How a repetition looks on the terminal or in a pipe. Listeners of the engine that print."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from chronos.repeater.engine import Report
from chronos.repeater.machine import ERR, OUT
from chronos.repeater.stops import Fate, Tally
from chronos.timing.duration import format_duration

Print = Callable[[int, bytes], None]

LINE_BYTES_MAX = 1024 * 1024
"""Of a line that is held until it is whole; a longer one is passed on in pieces."""

_NAMES = {OUT: "stdout", ERR: "stderr"}


class Buffer(Enum):
    """What is held back so that it stays together."""

    NONE = "none"
    LINE = "line"
    BLOCK = "block"


class Raw:
    """Passes every byte on as it comes."""

    def __init__(self, to: Print) -> None:
        self._print = to

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        self._print(stream, data)

    def ended(self, report: Report) -> None:
        """Everything has been passed on."""


class Lines:
    """Passes whole lines on, so that those of two runs are not mixed, each with what is to stand before it.

    Args:
        tag: The command's name, to say `[stdout:NAME]` before each line; empty: not said.
    """

    def __init__(self, to: Print, *, prefix: str = "", tag: str = "") -> None:
        self._print = to
        spaced = f"{prefix} " if prefix and not prefix.endswith(" ") else prefix
        self._before = {
            stream: (spaced + (f"[{name}:{tag}] " if tag else "")).encode("utf-8", "surrogateescape")
            for stream, name in _NAMES.items()
        }
        self._held: dict[tuple[int, int], bytearray] = {}
        self._within: set[tuple[int, int]] = set()

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        key = (number, stream)
        held = self._held.setdefault(key, bytearray())
        held += data
        end = held.rfind(b"\n") + 1
        if end:
            self._pass(key, bytes(held[:end]))
            del held[:end]
        if len(held) > LINE_BYTES_MAX:
            self._pass(key, bytes(held))
            self._within.add(key)
            held.clear()

    def ended(self, report: Report) -> None:
        for stream in _NAMES:
            key = (report.run.number, stream)
            rest = self._held.pop(key, b"")
            if rest or key in self._within:
                self._pass(key, bytes(rest) + b"\n")

    def _pass(self, key: tuple[int, int], data: bytes) -> None:
        """Print lines; the first one is the rest of a long one when the run is within it."""
        before = self._before[key[1]]
        if before:
            head = b"" if key in self._within else before
            body, feed = (data[:-1], b"\n") if data.endswith(b"\n") else (data, b"")
            data = head + body.replace(b"\n", b"\n" + before) + feed
        self._within.discard(key)
        self._print(key[1], data)


class Blocks:
    """Holds what a run prints until it has ended: in memory, and on disk where it is much."""

    MEMORY_BYTES = 1024 * 1024

    def __init__(self, to: Print) -> None:
        from tempfile import SpooledTemporaryFile

        self._print = to
        self._file = SpooledTemporaryFile
        self._held: dict[tuple[int, int], SpooledTemporaryFile[bytes]] = {}

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        if (number, stream) not in self._held:
            self._held[number, stream] = self._file(max_size=self.MEMORY_BYTES)
        self._held[number, stream].write(data)

    def ended(self, report: Report) -> None:
        for stream in _NAMES:
            file = self._held.pop((report.run.number, stream), None)
            if file is not None:
                with file:
                    file.seek(0)
                    while piece := file.read(65_536):
                        self._print(stream, piece)


class Reasons:
    """Says on stderr why a run has failed, where the command itself could not, and what an HTTP answer asked for."""

    def __init__(self, to: Print, *, verbose: bool, timeout_s: float | None) -> None:
        self._print = to
        self._verbose = verbose
        self._timeout_s = timeout_s

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """The command speaks for itself."""

    def ended(self, report: Report) -> None:
        if reason := reason_of(report, self._timeout_s):
            self._print(ERR, _line(f"rpr: run {report.run.number}: {reason}"))
        if self._verbose and report.advice is not None:
            found, source = shown_s(report.advice.seconds), report.advice.source
            self._print(ERR, _line(f"HTTP-aware: Found {source} timing: {found}"))


def reason_of(report: Report, timeout_s: float | None) -> str:
    """Return why a run has failed; empty when it has not, or when the exit code says all there is."""
    if report.fate is Fate.TIMED_OUT:
        return f"timeout after {shown_s(timeout_s or 0.0)}"
    return report.reason


class Json:
    """Prints one object a run, and nothing of the command's."""

    def __init__(self, to: Print, timeout_s: float | None) -> None:
        self._print = to
        self._timeout_s = timeout_s

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """It is part of the object."""

    def ended(self, report: Report) -> None:
        import json

        self._print(OUT, _line(json.dumps(self._object(report), ensure_ascii=False)))

    def _object(self, report: Report) -> dict[str, object]:
        run, output = report.run, report.output
        return {
            "run": run.number,
            "attempt": report.attempt,
            "result": report.fate.value,
            "ok": run.ok,
            "exit_code": run.exit_code,
            "reason": reason_of(report, self._timeout_s),
            "started_at": round(run.started_at, 6),
            "duration_s": round(run.ended_s - run.started_s, 6),
            "stdout": output.stdout().decode("utf-8", "replace"),
            "stderr": output.stderr().decode("utf-8", "replace"),
            "stdout_bytes": output.sizes[0],
            "stderr_bytes": output.sizes[1],
            "wait_s": report.advice.seconds if report.advice else None,
        }


def header(first_line: str, argv: tuple[str, ...]) -> bytes:
    """Return what `--verbose` says before the first run."""
    return _line(f"{first_line}\n📋 Command: [{' '.join(argv)}]\n🚀 Starting execution...")


def statistics(tally: Tally, elapsed_s: float, skipped: int) -> bytes:
    """Return the block at the end of `--verbose` and `--stats-only`."""
    lines = [
        "",
        "✅ Execution completed!",
        "📊 Statistics:",
        f"   Total executions: {tally.ended}",
        f"   Successful: {tally.ok}",
        f"   Failed: {tally.failed}",
    ]
    lines += [f"   Cut off: {tally.cut}"] if tally.cut else []
    lines += [f"   Restarted: {tally.restarted}"] if tally.restarted else []
    lines += [f"   Skipped ticks: {skipped}"] if skipped else []
    lines.append(f"   Duration: {format_duration(round(elapsed_s * 1000) * 1000)}")
    if tally.failed:
        lines += ["", "⚠️  Some executions failed. Check command output above."]
    return _line("\n".join(lines))


def shown_s(seconds: float) -> str:
    """Return seconds as a person writes a duration."""
    return format_duration(round(seconds * 1_000_000))


def _line(text: str) -> bytes:
    return (text + "\n").encode("utf-8", "surrogateescape")
