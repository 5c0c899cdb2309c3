"""Stopping: by a signal, or because the time given is nearly over."""

import _thread
import re
import signal
import textwrap
import time
from collections.abc import Callable
from types import FrameType

from wake2vec import ConfigError

MOST_S = 366 * 86400
UNITS_S = {"h": 3600, "m": 60, "s": 1}
MARGIN_SHARE = 0.05
MOST_MARGIN_S = 30.0


class Stop:
    """Called after each step and each trial: whether to stop with a checkpoint now.

    With `seconds` it says so early enough for what comes between two calls: twice the longest time seen so far, and a
    margin of 5 % or half a minute, whichever is less.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.deadline: float | None = None
        """On the clock, which all processes of a machine share; None: there is all the time in the world."""
        if seconds is not None:
            self.deadline = clock() + seconds - min(MARGIN_SHARE * seconds, MOST_MARGIN_S)
        self._called_at: float | None = None
        self._longest_gap_s = 0.0
        self.signal: int | None = None
        """The signal that asks to stop, if one came."""

    @classmethod
    def at(cls, deadline: float | None) -> "Stop":
        """By that moment, told apart from the gaps that this one sees: each worker has its own."""
        stop = cls()
        stop.deadline = deadline
        return stop

    def __call__(self) -> bool:
        now = self._clock()
        if self._called_at is not None:
            self._longest_gap_s = max(self._longest_gap_s, now - self._called_at)
        self._called_at = now
        return self.signal is not None or self.is_time_over

    @property
    def is_time_over(self) -> bool:
        return self.deadline is not None and self._clock() + 2 * self._longest_gap_s >= self.deadline

    def listen(self, announce: Callable[[], None]) -> None:
        """From now on Ctrl-C and SIGTERM ask to stop; a second one ends the process at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                raise SystemExit(128 + number)
            self.signal = number
            # The signal may have come amid a print, which is not reentrant: it is announced beside it, after it.
            _thread.start_new_thread(announce, ())

        signal.signal(signal.SIGINT, ask)
        signal.signal(signal.SIGTERM, ask)


def seconds_of(duration: str) -> float:
    """`2h30m` -> 9000.0; units are h, m and s.

    Raises:
        ConfigError: it isn't a duration.
    """
    shown = textwrap.shorten(duration, 60, placeholder=" ...")
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ConfigError(f"a time has the form 2h30m, 45m or 90s: it is {shown!r}; correct it")
    seconds = sum(float(number) * UNITS_S[unit] for number, unit in parts)
    if not 0 < seconds <= MOST_S:
        raise ConfigError(f"a time must be longer than nothing, and at most a year: it is {shown!r}; correct it")
    return seconds
