"""Which signals a kill ends nothing with. Pure."""

from __future__ import annotations

import re

# Signals that end no program, whatever it makes of the others. Source: signal(7).
_MILD = {"CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"}
_MILD_NUMBERS = {17, 18, 19, 20, 21, 22, 23, 28}  # the same on Linux
_OTHERS = {
    *("ABRT", "ALRM", "BUS", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL"),
    *("PROF", "PWR", "QUIT", "SEGV", "STKFLT", "SYS", "TERM", "TRAP", "USR1", "USR2", "VTALRM"),
    *("XCPU", "XFSZ", "RTMIN", "RTMAX"),
}
_LAST = 64


def ends_nothing(signal: str) -> bool:
    """Does a signal, as it is typed, end no program, or does the engine refuse it?

    Source: moby/sys signal.
    """
    if re.fullmatch(r"[+-]?[0-9]+", signal):
        return int(signal) in _MILD_NUMBERS or not 0 < int(signal) <= _LAST
    name = signal.upper().removeprefix("SIG")
    known = name in _OTHERS or re.fullmatch(r"RTMIN\+[0-9]+|RTMAX-[0-9]+", name)
    return name in _MILD or not known
