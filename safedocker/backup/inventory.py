"""Reads a volume's tar stream, in one pass: what it holds is tree.py's to count and digest.

Strict where tarfile is lenient: a stream that ends early, or goes on after its end, never passes.
What is copied and where it goes is not decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from safedocker.backup.sparse import SparseFile
from safedocker.backup.tree import (
    CAPABILITIES,
    DIRECTORY,
    HARD_LINK,
    NO_CONTENTS,
    REGULAR,
    SYMLINK,
    Entry,
    Tell,
    Tree,
    fine_of,
    read_key,
)
from safedocker.backup.tree import BadArchive as BadArchive
from safedocker.backup.tree import Inventory as Inventory
from safedocker.backup.tree import difference as difference
from safedocker.errors import SafedockerError

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_EXTENSION_LIMIT = 16 << 20  # bytes of one extended header: names and xattrs, never contents
_FIXED = frozenset(b"123456")  # hard link, symlink, devices, directory, fifo: no contents follow
_PLAIN = frozenset(b"07\0")


class Sink(Protocol):
    """Where a stream's entries go, for a reader that makes them."""

    def begin(self, entry: Entry, pax: Mapping[bytes, bytes], /) -> None: ...
    def data(self, piece: bytes | memoryview, /) -> object: ...
    def hole(self, size: int, /) -> None: ...
    def end(self) -> None: ...


class TreeReader(Tree):
    """Takes a tar stream in pieces of any size; `finish` says what it held. One that does not
    `remember` the entries can be asked for its `end` alone.

    The stream's entries share one first component ("volume", "volume/a"), which is dropped, so
    that a volume restored under another name compares equal; `top` says which it is, where that
    is known: "." is none otherwise. How a header was spelled (PAX, GNU,
    ustar) makes no difference. Sparse files of GNU tar's count as what they stand for.

    A `sink` is handed each entry and its contents, which are not digested then.
    """

    def __init__(
        self,
        tell: Tell | None = None,
        *,
        remember: bool = True,
        fine: bool = False,
        sink: Sink | None = None,
        top: bytes | None = None,
    ) -> None:
        super().__init__(tell, remember=remember and sink is None, fine=fine)
        self._sink = sink
        self._partial = bytearray()  # the beginning of a header block
        self._left = 0  # bytes of the current contents still to come
        self._padding = 0
        self._contents = hashlib.sha256()
        self._take = self._contents.update if sink is None else sink.data
        self._current: Entry | None = None  # a regular file whose contents are being read
        self._extension: tuple[bytes, bytearray] | None = None  # kind and body of one being read
        self._global: dict[bytes, bytes] = {}
        self._pax: dict[bytes, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._zeros = 0  # zero blocks seen at the end
        self._top = top
        # Of the last header: what the engine's own streams do not tell, the whole time and all
        # attributes; all of its extensions; and the bytes of a sparse file in the stream, its map
        # too.
        self._told = b""
        self._headers: Mapping[bytes, bytes] = {}
        self._packed: int | None = None
        self._sparse: SparseFile | None = None
        self._attributes: dict[bytes, tuple[tuple[bytes, bytes], ...]] = {}  # of files by path

    def feed(self, piece: bytes | memoryview) -> None:
        """Read on. Raise BadArchive at the first thing that cannot be right."""
        view = memoryview(piece)
        at, end = 0, len(view)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                if self._extension is not None:
                    self._extension[1].extend(view[at : at + step])
                elif self._sparse is not None:
                    self._unpack(view[at : at + step])
                elif self._current is not None:
                    self._take(view[at : at + step])
                self._left -= step
                at += step
                if not self._left:
                    self._close()
            elif self._padding:
                step = min(self._padding, end - at)
                self._padding -= step
                at += step
            elif not self._partial and end - at >= _BLOCK:
                self._block(bytes(view[at : at + _BLOCK]))
                at += _BLOCK
            else:
                step = min(_BLOCK - len(self._partial), end - at)
                self._partial.extend(view[at : at + step])
                at += step
                if len(self._partial) == _BLOCK:
                    block = bytes(self._partial)
                    self._partial.clear()
                    self._block(block)

    def end(self) -> Entry:
        """Return the root directory.

        Raise BadArchive unless the stream ended with its two zero blocks and began with one.
        """
        if self._zeros < 2 or self._partial or self._left or self._padding:
            raise BadArchive(f"the archive is cut short after {self.entries} entries")
        if self.root is None:
            raise BadArchive("the archive does not hold the volume's root directory")
        return self.root

    def finish(self) -> Inventory:
        """Return what the stream held. Raise BadArchive as `end` does."""
        self.end()
        return super().finish()

    def _block(self, block: bytes) -> None:
        if block == _ZEROS:
            self._zeros += 1
            return
        if self._zeros:
            raise BadArchive("the archive goes on after its end")
        if sum(block) - sum(block[148:156]) + 8 * 0x20 != _number(block[148:156]):
            raise BadArchive(f"a damaged header follows entry {self.entries}")
        kind = block[156:157]
        if kind in b"xgLK":
            self._left = _number(block[124:136])
            if self._left > _EXTENSION_LIMIT:
                raise BadArchive(f"a header of {self._left} bytes follows entry {self.entries}")
            self._padding = -self._left % _BLOCK
            self._extension = (kind, bytearray())
            if not self._left:
                self._close()
            return
        entry = self._entry(block, kind)
        if self._sink is not None:
            self.add(entry, NO_CONTENTS, self._told)
            self._sink.begin(entry, self._headers)
        elif entry.kind != REGULAR:
            self.add(entry, NO_CONTENTS, self._told)
        else:
            self._contents = hashlib.sha256()
            self._take = self._contents.update
        if entry.kind != REGULAR:
            if self._sink is not None:
                self._sink.end()
            return
        self._current = entry
        self._left = entry.size
        if self._packed is not None:
            skip = None if self._sink is None else self._sink.hole
            self._sparse = SparseFile(entry.size, self._take, skip)
            self._left = self._packed
        self._padding = -self._left % _BLOCK
        if not self._left:
            self._close()

    def _close(self) -> None:
        """The contents that a header announced are complete."""
        if self._extension is not None:
            kind, body = self._extension
            self._extension = None
            text = bytes(body)
            if kind == b"L":
                self._long_name = text.rstrip(b"\0")
            elif kind == b"K":
                self._long_link = text.rstrip(b"\0")
            else:
                (self._pax if kind == b"x" else self._global).update(_records(text))
        elif self._current is not None:
            entry, self._current = self._current, None
            if self._sparse is not None:
                sparse, self._sparse = self._sparse, None
                try:
                    sparse.finish()
                except SafedockerError as fault:
                    raise BadArchive(f"{fault.message}, entry {self.entries + 1}") from fault
            if self._sink is None:
                self.add(entry, self._contents.digest(), self._told)
            else:
                self._sink.end()

    def _entry(self, block: bytes, kind: bytes) -> Entry:
        pax = {**self._global, **self._pax} if self._global else self._pax
        path = block[:100].partition(b"\0")[0]
        link = block[157:257].partition(b"\0")[0]
        if block[257:263] == b"ustar\0":
            prefix = block[345:500].partition(b"\0")[0]
            path = prefix + b"/" + path if prefix else path
        path = pax.get(b"path", self._long_name if self._long_name is not None else path)
        link = pax.get(b"linkpath", self._long_link if self._long_link is not None else link)
        size = _decimal(pax, b"size", block[124:136])
        if kind[0] in _PLAIN:
            kind = DIRECTORY if path.endswith(b"/") else REGULAR
        if kind[0] not in _FIXED and kind != REGULAR:
            raise BadArchive(f"entry {self.entries + 1} is of a type that is not known: {kind!r}")
        packed = None
        if any(key.startswith(b"GNU.sparse.") for key in pax):
            form = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
            if form != (b"1", b"0") or kind != REGULAR or b"GNU.sparse.name" not in pax:
                raise BadArchive(
                    f"entry {self.entries + 1} is packed as a sparse file in an unknown way"
                )
            path = pax[b"GNU.sparse.name"]
            packed, size = size, _decimal(pax, b"GNU.sparse.realsize", b"")
        mtime = pax.get(b"mtime")
        entry = Entry(
            kind=kind,
            path=self._below(path),
            link=self._below(link) if kind == HARD_LINK else link if kind == SYMLINK else b"",
            mode=_number(block[100:108]) & 0o7777,
            uid=_decimal(pax, b"uid", block[108:116]),
            gid=_decimal(pax, b"gid", block[116:124]),
            size=size if kind == REGULAR else 0,
            mtime=_number(block[136:148]) if mtime is None else _seconds(mtime),
            device=(_number(block[329:337]), _number(block[337:345])) if kind in b"34" else (0, 0),
            xattrs=tuple(sorted(item for item in pax.items() if item[0].startswith(CAPABILITIES))),
        )
        self._told, self._packed, self._headers = fine_of(pax, mtime), packed, pax
        self._pax = {}
        self._long_name = self._long_link = None
        if entry.kind == HARD_LINK:  # the engine says them again, GNU tar does not
            return entry._replace(xattrs=self._attributes.get(entry.link, entry.xattrs))
        if entry.xattrs:
            self._attributes[entry.path] = entry.xattrs
        return entry

    def _below(self, path: bytes) -> bytes:
        """Drop the first component, which is the same in all entries."""
        told = path if self._top == b"." else path.removeprefix(b"./")
        first, _slash, rest = told.rstrip(b"/").partition(b"/")
        if self._top is None:
            self._top = first
        if first != self._top or b"\0" in rest:
            raise BadArchive(f"entry {self.entries + 1} is outside the volume: {path!r}")
        return rest

    def _unpack(self, piece: memoryview) -> None:
        try:
            if self._sparse is not None:
                self._sparse.feed(piece)
        except SafedockerError as fault:
            raise BadArchive(f"{fault.message}, entry {self.entries + 1}") from fault


def read(stream: Iterable[bytes]) -> Inventory:
    """Read a whole tar stream. Raise BadArchive when it is cut short or damaged."""
    reader = TreeReader()
    for piece in stream:
        reader.feed(piece)
    return reader.finish()


def _number(field: bytes) -> int:
    """Read a header's number: octal digits, or base 256 when the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        return value - (1 << 8 * (len(field) - 1)) if field[0] == 0xFF else value
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise BadArchive(f"a header holds {field!r} where a number should be") from None


def _decimal(pax: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    value = pax.get(key)
    if value is None:
        return _number(field)
    if not value.isdigit():
        raise BadArchive(f"a header holds {value!r} where a number should be")
    return int(value)


def _seconds(value: bytes) -> int:
    """Read a PAX time, rounded down: -0.5 is second -1, as a file system counts."""
    whole, _point, fraction = value.partition(b".")
    try:
        seconds = int(whole)
    except ValueError:
        raise BadArchive(f"a header holds {value!r} where a time should be") from None
    return seconds - 1 if whole.startswith(b"-") and fraction.strip(b"0") else seconds


def _records(body: bytes) -> dict[bytes, bytes]:
    """Read a PAX body: "LENGTH KEY=VALUE\\n", the length counting the whole record."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        digits, space, _rest = body[at : at + 20].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = body[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if length < len(digits) + 3 or len(record) != length or record[-1:] != b"\n" or not equals:
            raise BadArchive("an extended header is damaged")
        found[read_key(key)] = value
        at += length
    return found
