"""A sparse file as GNU tar packs it with --sparse: a map of where there is data, then the data.

Source: GNU tar manual, "Sparse Formats", PAX format version 1.0.
"""

from __future__ import annotations

from collections.abc import Callable

from safedocker.errors import SafedockerError

_BLOCK = 512
_MOST = 1 << 24  # bytes of a map
_ZEROS = bytes(1 << 20)


class SparseFile:
    """Takes what is packed, in pieces of any size, and tells the contents; zeros too, unless they
    are to be skipped by `skip`."""

    def __init__(
        self,
        size: int,
        tell: Callable[[bytes | memoryview], object],
        skip: Callable[[int], None] | None = None,
    ) -> None:
        self._size = size
        self._tell = tell
        self._skip = skip
        self._head = bytearray()
        self._map: list[tuple[int, int]] | None = None
        self._next = 0  # which stretch of the map the data goes on with
        self._done = 0  # bytes of it that are there
        self._at = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """Take more of it. Raise SafedockerError for a map that is none."""
        if self._map is None:
            self._head += piece
            self._read_map()
            return
        view = memoryview(piece)
        while view:
            while self._next < len(self._map) and self._map[self._next][1] == self._done:
                self._next, self._done = self._next + 1, 0
            if self._next == len(self._map):
                raise SafedockerError("a sparse file holds more than its map tells")
            start, size = self._map[self._next]
            self._fill(start + self._done)
            step = min(size - self._done, len(view))
            self._tell(view[:step])
            self._at += step
            self._done += step
            view = view[step:]

    def finish(self) -> None:
        """All is there. Raise SafedockerError when it is not."""
        left = [size for _start, size in (self._map or ())[self._next :]]
        if self._map is None or sum(left) != self._done:
            raise SafedockerError("a sparse file holds less than its map tells")
        self._fill(self._size)

    def _fill(self, to: int) -> None:
        if to < self._at or to > self._size:
            raise SafedockerError("the map of a sparse file is damaged")
        if self._skip is not None and self._at < to:
            self._skip(to - self._at)
            self._at = to
        while self._at < to:
            step = min(to - self._at, len(_ZEROS))
            self._tell(memoryview(_ZEROS)[:step])
            self._at += step

    def _read_map(self) -> None:
        """Numbers, a line each: how many there are, then start and length of each; to the end of
        the block."""
        if len(self._head) > _MOST:
            raise SafedockerError("the map of a sparse file is too long")
        first, _newline, _rest = self._head.partition(b"\n")
        if b"\n" not in self._head or self._head.count(b"\n") < 1 + 2 * _number(first):
            return
        lines = self._head.split(b"\n", 1 + 2 * _number(first))
        numbers = [_number(line) for line in lines[1:-1]]
        end = len(self._head) - len(lines[-1])
        end += -end % _BLOCK
        if len(self._head) < end:
            return
        rest = bytes(self._head[end:])
        self._map = list(zip(numbers[::2], numbers[1::2], strict=True))
        self._head.clear()
        self.feed(rest)


def _number(line: bytes | bytearray) -> int:
    if not line.isdigit() or len(line) > 20:
        raise SafedockerError("the map of a sparse file is damaged")
    return int(line)
