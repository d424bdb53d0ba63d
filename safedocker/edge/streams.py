"""The standard streams of our own commands. One that is closed is nobody else's file, and what
can't be written there is a fault of its own, told in a sentence."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from safedocker.errors import SafedockerError

# What a stream is opened as that was closed: of /dev/null nothing is read, and where it is open for
# reading alone nothing can be written, as to a closed one.
_CLOSED = ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))


class _Stdout(io.FileIO):
    """Standard output. Raises once, and takes what follows to nowhere: SafedockerError where it
    can't be written, but BrokenPipeError where who reads it reads no further, and knows it."""

    def write(self, piece, /):  # type: ignore[no-untyped-def]  # as FileIO's
        try:
            return super().write(piece)
        except OSError as fault:
            self._give_up()
            if isinstance(fault, BrokenPipeError):
                raise
            raise SafedockerError(
                f"standard output can't be written: {fault.strerror}",
                "what the command was to do may be done, and only what it tells is lost",
            ) from fault

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            away = os.open(os.devnull, os.O_WRONLY)
            os.dup2(away, self.fileno())
            os.close(away)


def open_all() -> None:
    """Have all three open, and standard output tell its faults. It takes any name: an odd locale is
    no fault, as on stderr."""
    for number, how in _CLOSED:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, how)  # the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we run
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
    if sys.stdout is sys.__stdout__:  # both None where it was closed; else somebody took its place
        encoding = sys.stdout.encoding if sys.stdout else "utf-8"
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Stdout(1, "w", closefd=False)),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=os.isatty(1),
        )
