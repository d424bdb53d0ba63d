"""The digests of files that were just written, read back in threads while others are written."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import os
from collections.abc import Mapping

Key = tuple[int, ...]  # a file as it stands; it is another one as soon as anything is changed in it
Known = Mapping[Key, bytes]  # the sha256 of files' contents

AT_ONCE = 1 << 17  # bytes of a file that is not worth a thread
WAITING = 32  # files that are open at the same time
THREADS = min(4, os.cpu_count() or 1)


def key_of(state: os.stat_result) -> Key:
    """Name a file and its state: any write, and any change of an attribute, moves its ctime."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Digests:
    """Takes files that are complete; `finish` says what is in them."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(THREADS)
        self._waiting: collections.deque[tuple[Key, concurrent.futures.Future[bytes]]] = (
            collections.deque()
        )
        self._known: dict[Key, bytes] = {}

    def add(self, file: int) -> None:
        """Read a file on, which is open for reading; a small one is left to whoever compares."""
        state = os.fstat(file)
        if state.st_size <= AT_ONCE:
            return
        self._settle(WAITING - 1)
        self._waiting.append((key_of(state), self._pool.submit(_digest, os.dup(file))))

    def finish(self) -> Known:
        """Wait for the rest. Raise OSError where one could not be read."""
        self._settle(0)
        return self._known

    def close(self) -> None:
        """Let go of all that is open."""
        self._pool.shutdown()

    def _settle(self, most: int) -> None:
        while len(self._waiting) > most:
            key, future = self._waiting.popleft()
            self._known[key] = future.result()


def _digest(file: int) -> bytes:
    with open(file, "rb", buffering=0) as stream:
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").digest()
