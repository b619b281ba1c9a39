"""Runs process targets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Self

from msgspec import Struct

from chronos.dispatch.http.answer import printable
from chronos.dispatch.port import Answer, Delivered, Delivery, Outcome, Refused
from chronos.dispatch.process.child import Child
from chronos.dispatch.process.groups import GroupRecord, GroupRecords
from chronos.dispatch.process.rules import ProcessSettings, User, why_not
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.dispatch.template import TemplateFailed, fill, rfc3339, values_of
from chronos.model.target import ProcessTarget

LogSink = Callable[[str, int, bytes], None]
"""Takes (execution id, attempt, redacted output), piece by piece, on the loop; must return at once."""

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_LAUNCHER = Path(__file__).with_name("launcher.py")


class _Refusal(Exception):
    """This process is not started: the reason, its class, and whether trying again is of use."""

    def __init__(self, reason: str, error_class: str, *, permanent: bool = True) -> None:
        super().__init__(reason)
        self.error_class = error_class
        self.permanent = permanent


class _Start(Struct, frozen=True):
    """What is started, by whom, with what."""

    argv: list[str]
    env: dict[str, str]
    stdin: bytes
    user: User | None


class ProcessDispatcher:
    """Runs a program in a session of its own and judges its exit code.

    Never through a shell, with an environment that holds only what target and administrator name, as the user
    the rules allow. When it is stopped its whole group gets SIGTERM and, after the grace, SIGKILL.

    Args:
        folder: Where running groups are recorded, so that the next start can end what this one left behind.
        log_sink: Where output goes, redacted.
        environ: The environment `env_allow` picks from.
    """

    def __init__(
        self,
        folder: Path,
        settings: ProcessSettings | None = None,
        *,
        log_sink: LogSink | None = None,
        environ: Mapping[str, str] | None = None,
        server_uid: int | None = None,
    ) -> None:
        self._settings = settings or ProcessSettings()
        self._records = GroupRecords(folder)
        self._sink = log_sink or _nowhere
        self._environ = os.environ if environ is None else environ
        self._uid = os.geteuid() if server_uid is None else server_uid

    async def __aenter__(self) -> Self:
        await self.end_orphans()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def end_orphans(self) -> list[GroupRecord]:
        """Kill what an earlier server left running; to be called once, before the first delivery."""
        return await asyncio.to_thread(self._records.end_orphans)

    async def aclose(self) -> None:
        """Nothing to close: every child belongs to its delivery. May be called twice."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Run the program to its end; see `Dispatcher.deliver`. Cancelled, it gives the program its grace first."""
        target = delivery.target
        assert isinstance(target, ProcessTarget)
        redactor = Redactor(secrets_of(target))
        try:
            start = await self._prepare(delivery, target)
            async with _directory(target.directory, start.user) as directory:
                return await self._run(delivery, target, start, directory, redactor)
        except _Refusal as refusal:
            return Refused(redactor.text(str(refusal)), refusal.error_class, permanent=refusal.permanent)

    async def _prepare(self, delivery: Delivery, target: ProcessTarget) -> _Start:
        user = None
        if self._settings.enabled and target.run_as is not None:
            user = await asyncio.to_thread(_look_up, target.run_as)
        if reason := why_not(self._settings, self._uid, user):
            raise _Refusal(reason, "process_refused")
        values = values_of(delivery)
        try:
            argv = [fill(argument, values) for argument in target.argv]
            stdin = fill(target.stdin, values).encode()
        except TemplateFailed as failed:
            raise _Refusal(str(failed), "template") from None
        env = self._environment(delivery, target)
        if any("\0" in text for text in (*argv, *env.values())):
            raise _Refusal("an argument or a variable of the environment contains a NUL character", "template")
        argv[0] = _found(argv[0], env.get("PATH", DEFAULT_PATH))
        # Only root can become somebody else, and only root has to.
        return _Start(argv, env, stdin, user if self._uid == 0 else None)

    def _environment(self, delivery: Delivery, target: ProcessTarget) -> dict[str, str]:
        if barred := sorted(set(target.env_allow) - set(self._settings.env_allow)):
            raise _Refusal(
                f"the server does not pass on {', '.join(barred)}; an administrator can, in "
                "dispatcher.process.env_allow",
                "process_refused",
            )
        passed = {name: self._environ[name] for name in target.env_allow if name in self._environ}
        return passed | target.env | _who_i_am(delivery)

    async def _run(
        self, delivery: Delivery, target: ProcessTarget, start: _Start, directory: str, redactor: Redactor
    ) -> Outcome:
        child = await self._spawn(delivery, start, directory, redactor)
        try:
            child.give(start.stdin)
            code = await child.ended()
        except asyncio.CancelledError:
            await child.stop(delivery.cancel_grace_us / 1e6)
            raise
        finally:
            child.close()
            self._records.remove(child.pid)
        return _judged(code, child.output.bytes(), child.output.size, target)

    async def _spawn(self, delivery: Delivery, start: _Start, directory: str, redactor: Redactor) -> Child:
        sink = partial(self._sink, delivery.execution_id, delivery.attempt)
        make = partial(Child, redactor, self._settings.output_kept_bytes, sink, self._settings.log_bytes_max)
        pipe, merged = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        try:
            _, child = await asyncio.get_running_loop().subprocess_exec(
                make,
                *_launch(start),
                stdin=pipe if start.stdin else asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=merged,
                cwd=directory,
                env=start.env,
                start_new_session=True,
            )
        except OSError as failed:
            raise _Refusal(f"{start.argv[0]} could not be started: {failed.strerror}", "spawn") from None
        try:
            self._records.add(child.pid, delivery.execution_id, delivery.attempt)
        except OSError as failed:
            child.close()
            raise _Refusal(f"its group could not be recorded: {failed.strerror}", "spawn", permanent=False) from None
        return child


def _launch(start: _Start) -> list[str]:
    """Return what is executed: something that asks to die with us and becomes the user, then the program."""
    if (setpriv := shutil.which("setpriv", path="/usr/bin:/bin")) and sys.platform == "linux":
        become = []
        if start.user:
            become = ["--reuid", str(start.user.uid), "--regid", str(start.user.gid), "--clear-groups"]
        return [setpriv, *become, "--pdeathsig", "KILL", "--", *start.argv]
    ids = [str(start.user.uid), str(start.user.gid)] if start.user else ["-", "-"]
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *ids, *start.argv]


def _found(program: str, path: str) -> str:
    found = program if program.startswith("/") else shutil.which(program, path=path)
    if found is None or not os.path.isfile(found):
        raise _Refusal(f"there is no program {program} on this node", "spawn")
    return found


def _look_up(name: str) -> User:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise _Refusal(f"there is no user {name} on this node", "process_refused") from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _who_i_am(delivery: Delivery) -> dict[str, str]:
    return {
        "CHRONOS_EXECUTION_ID": delivery.execution_id,
        "CHRONOS_JOB_ID": delivery.job_id,
        "CHRONOS_JOB_NAME": delivery.job_name,
        "CHRONOS_ATTEMPT": str(delivery.attempt),
        "CHRONOS_SCHEDULED_TIME": rfc3339(delivery.scheduled_s),
        "CHRONOS_FENCING_TOKEN": delivery.token,
    }


@asynccontextmanager
async def _directory(given: str | None, user: User | None) -> AsyncIterator[str]:
    """Yield the working directory: the given one, or a fresh one that vanishes afterwards."""
    if given is not None:
        if not await asyncio.to_thread(os.path.isdir, given):
            raise _Refusal(f"there is no directory {given} on this node", "spawn")
        yield given
        return
    fresh = tempfile.mkdtemp(prefix="chronos-")
    try:
        if user is not None:
            os.chown(fresh, user.uid, user.gid)
        yield fresh
    finally:
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)


def _judged(code: int, output: bytes, size: int, target: ProcessTarget) -> Outcome:
    answer = Answer(
        status_code=code,
        body_bytes=size,
        sha256=hashlib.sha256(output).hexdigest() if output else "",
        excerpt=printable(output[:1024]),
        body=output[: 64 * 1024],
    )
    if code in target.success_exit_codes:
        return Delivered(answer)
    reason = f"the process was ended by {_signal(-code)}" if code < 0 else f"the process exited with {code}"
    return Refused(reason, "exit_code", answer)


def _signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nowhere(execution_id: str, attempt: int, output: bytes) -> None:
    """Takes output nobody wants."""
