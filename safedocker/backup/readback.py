"""Reads a file from the disk while it is still being written, so that a copy is checked by the time
it is whole. What it is checked for is contents.py's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_PIECE = 1 << 20  # bytes read at a time
_BATCH = 8 << 20  # bytes that are synced, and forgotten by the system's memory, at a time

Check = Callable[[Iterator[bytes]], None]  # given what a file holds; raises where that is wrong


class _Left(Exception):  # noqa: N818 - nothing failed here
    """The file will not be finished: whoever writes it has a fault of its own."""


class Follower:
    """Has a file checked in a thread, as far as it is written. Without a `check` it does nothing.

    Whoever writes it calls `tell` now and then, `finish` when all of it is on the disk, and `close`
    in any case. What `check` raises is raised by either of the first two.
    """

    def __init__(self, path: Path, check: Check | None) -> None:
        self._news = threading.Condition()
        self._written = 0  # bytes
        self._whole = self._left = False
        self._fault: BaseException | None = None
        self._thread: threading.Thread | None = None
        if check is not None:
            self._thread = threading.Thread(target=self._run, args=(path, check), daemon=True)
            self._thread.start()

    def tell(self, written: int) -> None:
        """So many bytes were written by now."""
        if self._fault is not None:
            raise self._fault
        if written - self._written >= _BATCH:
            with self._news:
                self._written = written
                self._news.notify()

    def finish(self) -> None:
        """The file is whole, and on the disk: wait until it is read to its end."""
        if self._thread is None:
            return
        with self._news:
            self._whole = True
            self._news.notify()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Stop reading."""
        if self._thread is not None and self._thread.is_alive():
            with self._news:
                self._left = True
                self._news.notify()
            self._thread.join()

    def _run(self, path: Path, check: Check) -> None:
        try:
            check(self._pieces(path))
        except BaseException as fault:  # noqa: BLE001 - it is raised where the file is written
            self._fault = fault

    def _pieces(self, path: Path) -> Iterator[bytes]:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        at = 0
        try:
            whole = False
            while not whole:
                with self._news:
                    while not (self._whole or self._left or self._written - at >= _BATCH):
                        self._news.wait()
                    whole = self._whole
                if not whole and not self._left:
                    os.fsync(file)  # what is not on the disk yet can't be forgotten
                forget(file)
                while not self._left and (piece := os.pread(file, _PIECE, at)):
                    at += len(piece)
                    yield piece
                if self._left:
                    raise _Left
        finally:
            os.close(file)


def forget(file: int) -> None:
    """Have a file read from the disk where the system lets us: what was just written is still in
    memory, and checking it there proves nothing."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
