"""A clock that does not believe every step of the wall clock.

One bad clock must not push the high-water mark years ahead and silence every job. A wall clock that ran
forward more than the machine did is held back until somebody vouches for it; one that steps back is
harmless, because no instant is decided twice.
"""

from __future__ import annotations

import ctypes
import sys

from msgspec import Struct

from chronos.timing.clock import Clock

NOTICED_S = 60.0
SUSPECT_S = 15 * 60.0
NEEDS_ACCEPT_S = 24 * 3600.0
OUTAGE_MAX_S = 7 * 24 * 3600.0
SYNCHRONISED_FOR_S = 60.0
AGREES_S = 2.0
"""A held wall clock that is set back to within this is believed again; set back further, it is a step back."""


class ClockState(Struct, frozen=True, kw_only=True):
    """How far the wall clock is believed.

    Attributes:
        held: Whether planning goes on by elapsed time instead of the wall clock.
        wall: What the wall clock says, seconds since the epoch.
        trusted: What planning goes by.
        jumps: Forward steps of more than a minute seen since the start.
        last_jump: How far the last of them went, in seconds.
    """

    held: bool
    reason: str
    wall: float
    trusted: float
    needs_accept: bool
    jumps: int
    last_jump: float = 0.0


class TrustedClock:
    """A `Clock` that follows the wall clock while its steps are believable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.time()
        self._boot = clock.boottime()
        self._held = False
        self._needs_accept = False
        self._reason = ""
        self._believable_s = 0.0
        self._ahead_s = 0.0
        self._synchronised_since: float | None = None
        self.jumps = 0
        self.last_jump = 0.0

    def time(self) -> float:
        """Seconds since the epoch, as far as they are believed."""
        wall, boot = self._clock.time(), self._clock.boottime()
        elapsed = boot - self._boot
        if self._held:
            ahead = wall - (self._wall + elapsed)
            if ahead > self._believable_s:
                self._note_more(ahead)
                return self._wall + elapsed
            self.accept()  # somebody has set it right
            return wall
        jump = (wall - self._wall) - elapsed
        if jump > NOTICED_S:
            self.jumps, self.last_jump = self.jumps + 1, jump
            if jump > SUSPECT_S:
                self._believable_s, self._ahead_s = AGREES_S, jump
                self._hold(f"The wall clock jumped ahead by {jump:.0f} s.", needs_accept=jump > NEEDS_ACCEPT_S)
                return self._wall + elapsed
        self._wall, self._boot = wall, boot
        return wall

    def boottime(self) -> float:
        return self._clock.boottime()

    def start_after(self, last: float) -> None:
        """Compare with the last instant known before this process began.

        A gap of up to a week is an outage; a longer one may as well be a wrong clock, so it is held.
        """
        gap = self._clock.time() - last
        if last > 0 and gap > OUTAGE_MAX_S:
            self._wall, self._boot = last, self._clock.boottime()
            self._believable_s, self._ahead_s = OUTAGE_MAX_S, gap
            self._hold(f"The wall clock is {gap / 86_400:.0f} days past the last entry of the log.", needs_accept=True)

    def accept(self) -> None:
        """Believe the wall clock as it is now."""
        self._held, self._needs_accept, self._reason = False, False, ""
        self._synchronised_since = None
        self._wall, self._boot = self._clock.time(), self._clock.boottime()

    def note_synchronised(self, synchronised: bool) -> None:
        """Take the kernel's word: a minute of it ends a hold that needs no person's word."""
        now = self._clock.boottime()
        if not self._held or not synchronised:
            self._synchronised_since = None
        elif self._synchronised_since is None:
            self._synchronised_since = now
        elif now - self._synchronised_since >= SYNCHRONISED_FOR_S and not self._needs_accept:
            self.accept()

    def state(self) -> ClockState:
        """Return how far the wall clock is believed, as of now."""
        trusted = self.time()  # first: it is what notices a jump
        return ClockState(
            held=self._held,
            reason=self._reason,
            wall=self._clock.time(),
            trusted=trusted,
            needs_accept=self._needs_accept,
            jumps=self.jumps,
            last_jump=self.last_jump,
        )

    def _note_more(self, ahead: float) -> None:
        """Take note of a clock that jumps on while it is held: what the kernel may vouch for is the whole distance."""
        if ahead - self._ahead_s <= NOTICED_S:
            return
        self.jumps, self.last_jump = self.jumps + 1, ahead - self._ahead_s
        self._ahead_s = ahead
        self._synchronised_since = None
        needs_accept = self._needs_accept or ahead > NEEDS_ACCEPT_S
        self._hold(f"The wall clock jumped ahead by {ahead:.0f} s.", needs_accept=needs_accept)

    def _hold(self, reason: str, *, needs_accept: bool) -> None:
        self._held, self._reason, self._needs_accept = True, reason, needs_accept


_UNSYNCHRONISED = 0x0040  # STA_UNSYNC, linux/timex.h


def kernel_synchronised() -> bool:
    """Whether the kernel reports its clock as synchronised (Linux `adjtimex`); False where it cannot say."""
    if sys.platform != "linux":
        return False
    # struct timex is 208 bytes on 64-bit Linux; `status` is its fifth field. modes = 0 only reads.
    buffer = (ctypes.c_long * 32)()
    result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(buffer))
    if result < 0:
        return False
    status = ctypes.cast(ctypes.byref(buffer, 4 * ctypes.sizeof(ctypes.c_long)), ctypes.POINTER(ctypes.c_int))
    return result != 5 and not status[0] & _UNSYNCHRONISED
