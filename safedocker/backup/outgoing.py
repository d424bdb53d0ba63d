"""A volume's stream as the archive that `tar -C /volume .` would have written: names below ".",
numbers for owners, GNU's way, which every tar reads. What comes in from one is plain.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from safedocker.backup.folder import record
from safedocker.backup.inventory import TreeReader
from safedocker.backup.tree import DIRECTORY, HARD_LINK, REGULAR, Entry

TOP = b"."  # what such an archive calls the volume itself
_BLOCK = 512
_RECORD = 20 * _BLOCK  # an archive's length is a multiple of it
_ZEROS = bytes(1 << 20)
_ROOM = 100  # bytes of a name that a header has room for
_KEPT = (b"SCHILY.xattr.", b"LIBARCHIVE.xattr.")
_DEVICES = (b"3", b"4")


def as_plain(stream: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """A volume as the engine gives it, or GNU tar: fractions of a second beside what every tar
    reads, holes as zeros. A piece of memory may be gone when the next is asked for.

    Raise BadArchive at the end where the stream was cut short.
    """
    written = _Written()
    reader = TreeReader(sink=written)
    done = 0
    for piece in stream:
        reader.feed(piece)
        for part in written.taken():
            done += len(part)
            yield part
    reader.end()
    yield bytes(2 * _BLOCK)
    yield bytes(-(done + 2 * _BLOCK) % _RECORD)


class _Written:
    """The sink of a reader: headers, contents, and how many zeros a hole stands for."""

    def __init__(self) -> None:
        self._parts: list[bytes | int] = []
        self._padding = 0

    def begin(self, entry: Entry, pax: Mapping[bytes, bytes], /) -> None:
        self._parts += _headers(entry, pax)
        self._padding = -entry.size % _BLOCK

    def data(self, piece: bytes | memoryview, /) -> None:
        self._parts.append(bytes(piece))

    def hole(self, size: int, /) -> None:
        self._parts.append(size)

    def end(self) -> None:
        if self._padding:
            self._parts.append(self._padding)

    def taken(self) -> Iterator[bytes]:
        """What was written since, in large pieces; a hole of any size takes no memory."""
        parts, self._parts = self._parts, []
        gathered: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                gathered.append(part)
            elif part < len(_ZEROS):
                gathered.append(bytes(part))
            else:
                yield b"".join(gathered)
                gathered = []
                yield from (_ZEROS for _ in range(part // len(_ZEROS)))
                gathered.append(bytes(part % len(_ZEROS)))
        if gathered:
            yield b"".join(gathered)


def _headers(entry: Entry, pax: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """busybox reads no others' long names than GNU's, and takes those that are not ASCII for what
    they are. What it has no place for stands before it in PAX's way: tars without skip that."""
    name = b"./" + entry.path
    if entry.kind == DIRECTORY and entry.path:
        name += b"/"
    link = b"./" + entry.link if entry.kind == HARD_LINK else entry.link
    whole = b"." not in pax.get(b"mtime", b"")
    told = [
        record(key, value)
        for key, value in pax.items()
        if key.startswith(_KEPT) or (key == b"mtime" and not whole)
    ]
    if told:
        body = b"".join(told)
        yield _block(b"x", b"././@PaxHeader", size=len(body), mode=0o644)
        yield body + bytes(-len(body) % _BLOCK)
    for kind, text in ((b"K", link), (b"L", name)):
        if len(text) > _ROOM:
            yield _block(kind, b"././@LongLink", size=len(text) + 1)
            yield text + bytes(_BLOCK - len(text) % _BLOCK)
    size = entry.size if entry.kind == REGULAR else 0
    owner = (entry.uid, entry.gid)
    yield _block(entry.kind, name, link, size, entry.mode, owner, entry.mtime, entry.device)


def _block(
    kind: bytes,
    name: bytes,
    link: bytes = b"",
    size: int = 0,
    mode: int = 0,
    owner: tuple[int, int] = (0, 0),
    mtime: int = 0,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Source: GNU tar manual, "Basic Tar Format"."""
    numbered = kind in _DEVICES
    block = b"%b%b%b%b%b%b        %b%bustar  \0%b%b%b%b" % (
        name[:_ROOM].ljust(_ROOM, b"\0"),
        _number(mode, 8),
        _number(owner[0], 8),
        _number(owner[1], 8),
        _number(size, 12),
        _number(mtime, 12),
        kind,
        link[:_ROOM].ljust(_ROOM, b"\0"),
        bytes(64),
        _number(device[0], 8) if numbered else bytes(8),
        _number(device[1], 8) if numbered else bytes(8),
        bytes(167),
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _number(value: int, size: int) -> bytes:
    """Octal digits, or base 256 where they have no room for it."""
    if 0 <= value < 8 ** (size - 1):
        return b"%0*o\0" % (size - 1, value)
    return (b"\x80" if value >= 0 else b"\xff") + value.to_bytes(size - 1, "big", signed=value < 0)
