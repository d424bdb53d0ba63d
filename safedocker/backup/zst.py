"""Packs and unpacks streams with zstd."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator

import zstandard

from safedocker.backup.files import PIECE

_LEVEL = 1  # higher ones pack a database's files little smaller and take several times as long
_THREADS = min(4, os.cpu_count() or 1)
_STEP = 1 << 18  # bytes that stay in a processor's own memory


def pack(stream: Iterable[bytes | memoryview], seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """Pack a stream; `seen` is given what goes into the file."""
    packer = zstandard.ZstdCompressor(
        level=_LEVEL, threads=_THREADS, write_checksum=True
    ).compressobj()
    for piece in stream:
        if packed := packer.compress(piece):
            seen(packed)
            yield packed
    packed = packer.flush()
    seen(packed)
    yield packed


class _Source:
    """An iterator of bytes as the file that zstandard reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int = -1) -> bytes:
        return next(self._pieces, b"")


def _opened(pieces: Iterable[bytes]) -> zstandard.ZstdDecompressionReader:
    source = _Source(iter(pieces))
    return zstandard.ZstdDecompressor().stream_reader(source, read_size=PIECE)  # type: ignore[arg-type]  # read() is enough


def unpack(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack in bounded steps: a piece of packed zeros may stand for gigabytes."""
    with _opened(pieces) as reader:
        while piece := reader.read(PIECE):
            yield piece


def unpacked_sizes(pieces: Iterable[bytes]) -> Iterator[int]:
    """Unpack, and tell how much that is, step by step. Nothing of it is kept."""
    room = bytearray(_STEP)
    with _opened(pieces) as reader:
        while size := reader.readinto(room):
            yield size


_AHEAD = 4  # pieces that are made before they are asked for


def ahead(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same pieces, made in a thread while those before them are used."""
    made: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def make() -> None:
        last: BaseException | None = None
        try:
            for piece in pieces:
                made.put(piece)
                if stop.is_set():
                    break
        except BaseException as fault:  # noqa: BLE001 - it is raised where the pieces are used
            last = fault
        made.put(last)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while isinstance(piece := made.get(), bytes):
            yield piece
        if piece is not None:
            raise piece
    finally:
        stop.set()
        while thread.is_alive():  # it may wait for room
            try:
                made.get(timeout=0.01)
            except queue.Empty:
                continue
        thread.join()
