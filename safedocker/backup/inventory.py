"""What a volume's tar stream holds, in one pass: counts, bytes and a digest of the whole tree.

Strict where tarfile is lenient: a stream that ends early, or goes on after its end, never passes.
What is copied and where it goes is not decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from safedocker.backup.sparse import SparseFile
from safedocker.errors import SafedockerError

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_EXTENSION_LIMIT = 16 << 20  # bytes of one extended header: names and xattrs, never contents
# Of extended attributes the engine gives only this one, whatever it was sent.
_XATTRS = (b"SCHILY.xattr.security.capability", b"LIBARCHIVE.xattr.security.capability")
_REGULAR = b"0"
_HARD_LINK = b"1"
_SYMLINK = b"2"
_DIRECTORY = b"5"
_FIXED = frozenset(b"123456")  # hard link, symlink, devices, directory, fifo: no contents follow
_PLAIN = frozenset(b"07\0")
_LATEST = ((1 << 63) - 1) // 10**9  # the last second that the engine can set, in 2262
_NO_CONTENTS = hashlib.sha256().digest()


class BadArchive(SafedockerError):  # noqa: N818 - named for what it is, as errors.py does
    """A tar stream is cut short, damaged, or holds what cannot be checked."""


@dataclass(frozen=True)
class Inventory:
    """What a volume holds, as its tar stream states it."""

    entries: int  # everything, the root directory included
    files: int  # regular files; a file with several names counts once
    directories: int  # the root included
    links: int  # symlinks, and the further names of hard-linked files
    others: int  # devices and fifos
    bytes: int  # contents of the regular files
    engine_bytes: int  # the same plus the length of symlink targets: how moby counts a volume
    tree_sha256: str
    root_uid: int
    root_gid: int
    root_mode: int  # permission bits, setuid, setgid and sticky


class Entry(NamedTuple):
    """A header with its extensions applied. Paths are relative to the volume's root."""

    kind: bytes
    path: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]


Tell = Callable[[Entry, bytes], None]  # an entry, and the sha256 of its contents


class TreeReader:
    """Takes a tar stream in pieces of any size; `finish` says what it held. `tell` is handed each
    entry as it comes. Unless it is to `remember` them, `end` is all that can be asked, and a volume
    of any number of files takes no room.

    The stream's entries share one first component ("volume", "volume/a"), which is dropped, so
    that a volume restored under another name compares equal. The digest covers, for the entries
    sorted by path: type, path, mode, uid, gid, size, mtime in whole seconds, link target, device
    numbers, xattrs and the sha256 of the contents. Left out: the root directory's mtime (mounting
    a volume may touch it), owner names, atime, ctime, fractions of a second, and how the header
    was spelled (PAX, GNU, ustar). An mtime before 1970 or after 2262 counts as 1970, which is what
    the engine makes of it. Source: moby pkg/system/chtimes.go.

    A stream of GNU tar's holds more. Sparse files count as what they stand for; and for a reader
    that is to be `fine`, `fine()` digests modification times with their fractions, and all extended
    attributes.
    """

    def __init__(
        self, tell: Tell | None = None, *, remember: bool = True, fine: bool = False
    ) -> None:
        self._tell = tell
        self._remember = remember
        self._keeps_fine = fine
        self._partial = bytearray()  # the beginning of a header block
        self._left = 0  # bytes of the current contents still to come
        self._padding = 0
        self._contents = hashlib.sha256()
        self._current: Entry | None = None  # a regular file whose contents are being read
        self._extension: tuple[bytes, bytearray] | None = None  # kind and body of one being read
        self._global: dict[bytes, bytes] = {}
        self._pax: dict[bytes, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._zeros = 0  # zero blocks seen at the end
        self._top: bytes | None = None
        self._root: Entry | None = None
        self._lines: list[tuple[bytes, bytes]] = []
        self.entries = 0  # how many have been read so far
        self._fine: list[tuple[bytes, bytes]] = []
        # Of the last header: what the engine's own streams do not tell, the whole time and all
        # attributes; and the bytes of a sparse file in the stream, its map too.
        self._told = b""
        self._packed: int | None = None
        self._sparse: SparseFile | None = None
        self._attributes: dict[bytes, tuple[tuple[bytes, bytes], ...]] = {}  # of files by path
        self._files = self._directories = self._links = self._others = 0
        self._bytes = self._link_bytes = 0

    def feed(self, piece: bytes) -> None:
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
                    self._contents.update(view[at : at + step])
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
        if self._root is None:
            raise BadArchive("the archive does not hold the volume's root directory")
        return self._root

    def finish(self) -> Inventory:
        """Return what the stream held. Raise BadArchive as `end` does."""
        root = self.end()
        tree = hashlib.sha256()
        self._lines.sort()
        for _path, line in self._lines:
            tree.update(line)
        return Inventory(
            entries=self.entries,
            files=self._files,
            directories=self._directories,
            links=self._links,
            others=self._others,
            bytes=self._bytes,
            engine_bytes=self._bytes + self._link_bytes,
            tree_sha256=tree.hexdigest(),
            root_uid=root.uid,
            root_gid=root.gid,
            root_mode=root.mode,
        )

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
        if entry.kind != _REGULAR:
            self._record(entry, _NO_CONTENTS)
            return
        self._contents = hashlib.sha256()
        self._current = entry
        self._left = entry.size
        if self._packed is not None:
            self._sparse = SparseFile(entry.size, self._contents.update)
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
            self._record(entry, self._contents.digest())

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
            kind = _DIRECTORY if path.endswith(b"/") else _REGULAR
        if kind[0] not in _FIXED and kind != _REGULAR:
            raise BadArchive(f"entry {self.entries + 1} is of a type that is not known: {kind!r}")
        packed = None
        if any(key.startswith(b"GNU.sparse.") for key in pax):
            form = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
            if form != (b"1", b"0") or kind != _REGULAR or b"GNU.sparse.name" not in pax:
                raise BadArchive(
                    f"entry {self.entries + 1} is packed as a sparse file in an unknown way"
                )
            path = pax[b"GNU.sparse.name"]
            packed, size = size, _decimal(pax, b"GNU.sparse.realsize", b"")
        mtime = pax.get(b"mtime")
        entry = Entry(
            kind=kind,
            path=self._below(path),
            link=self._below(link) if kind == _HARD_LINK else link if kind == _SYMLINK else b"",
            mode=_number(block[100:108]) & 0o7777,
            uid=_decimal(pax, b"uid", block[108:116]),
            gid=_decimal(pax, b"gid", block[116:124]),
            size=size if kind == _REGULAR else 0,
            mtime=_number(block[136:148]) if mtime is None else _seconds(mtime),
            device=(_number(block[329:337]), _number(block[337:345])) if kind in b"34" else (0, 0),
            xattrs=tuple(sorted(item for item in pax.items() if item[0].startswith(_XATTRS))),
        )
        self._told, self._packed = _fine(pax, mtime), packed
        self._pax = {}
        self._long_name = self._long_link = None
        if entry.kind == _HARD_LINK:  # the engine says them again, GNU tar does not
            return entry._replace(xattrs=self._attributes.get(entry.link, entry.xattrs))
        if entry.xattrs:
            self._attributes[entry.path] = entry.xattrs
        return entry

    def _below(self, path: bytes) -> bytes:
        """Drop the first component, which is the same in all entries."""
        first, _slash, rest = path.removeprefix(b"./").rstrip(b"/").partition(b"/")
        if self._top is None:
            self._top = first
        if first != self._top or b"\0" in rest:
            raise BadArchive(f"entry {self.entries + 1} is outside the volume: {path!r}")
        return rest

    def _record(self, entry: Entry, contents: bytes) -> None:
        mtime = entry.mtime if 0 <= entry.mtime <= _LATEST else 0
        if not entry.path:
            if self._root is not None or entry.kind != _DIRECTORY:
                raise BadArchive("the archive does not begin with one root directory")
            self._root = entry
            mtime = 0
        elif self._root is None:
            raise BadArchive("the archive does not begin with the volume's root directory")
        if entry.kind == _REGULAR:
            self._files += 1
            self._bytes += entry.size
        elif entry.kind == _DIRECTORY:
            self._directories += 1
        elif entry.kind in {_HARD_LINK, _SYMLINK}:
            self._links += 1
            self._link_bytes += len(entry.link) if entry.kind == _SYMLINK else 0
        else:
            self._others += 1
        self.entries += 1
        if self._tell is not None:
            self._tell(entry._replace(mtime=mtime), contents)
        if not self._remember:
            return
        line = b"%b %o %d %d %d %d %d %d %d\0%b\0%b\0" % (
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            mtime,
            *entry.device,
            len(entry.xattrs),
            entry.path,
            entry.link,
        )
        for key, value in entry.xattrs:
            line += b"%d %d\0%b%b" % (len(key), len(value), key, value)
        self._lines.append((entry.path, hashlib.sha256(line + contents).digest()))
        if not self._keeps_fine:
            return
        fine = self._told if entry.path else self._told.partition(b"\0")[2]
        whole = b"%d" % entry.mtime if entry.path else b""
        self._fine.append((entry.path, hashlib.sha256(whole + b"\0" + fine).digest()))

    def _unpack(self, piece: memoryview) -> None:
        try:
            if self._sparse is not None:
                self._sparse.feed(piece)
        except SafedockerError as fault:
            raise BadArchive(f"{fault.message}, entry {self.entries + 1}") from fault

    def fine(self) -> str:
        """The digest of what the engine's own streams do not tell. After `finish`."""
        self._fine.sort()
        digest = hashlib.sha256()
        for path, line in self._fine:
            digest.update(b"%d %b%b" % (len(path), path, line))
        return digest.hexdigest()


def _fine(pax: dict[bytes, bytes], mtime: bytes | None) -> bytes:
    """The fraction of the time, a zero byte, all extended attributes."""
    fraction = (mtime or b"").partition(b".")[2].rstrip(b"0")
    told = b""
    for key in sorted(one for one in pax if one.startswith(b"SCHILY.xattr.")):
        told += b"%d %d\0%b%b" % (len(key), len(pax[key]), key, pax[key])
    return fraction + b"\0" + told


def read(stream: Iterable[bytes]) -> Inventory:
    """Read a whole tar stream. Raise BadArchive when it is cut short or damaged."""
    reader = TreeReader()
    for piece in stream:
        reader.feed(piece)
    return reader.finish()


def difference(expected: Inventory, found: Inventory) -> str:
    """Say in a few words how two inventories differ; "" when they are the same."""
    if expected == found:
        return ""
    for what in ("entries", "files", "directories", "links", "others", "bytes"):
        want, have = getattr(expected, what), getattr(found, what)
        if want != have:
            return f"{want} {what} expected, {have} found"
    for what in ("root_uid", "root_gid", "root_mode"):
        want, have = getattr(expected, what), getattr(found, what)
        if want != have:
            return f"{what.replace('_', ' ')} {want:o} expected, {have:o} found"
    return "counts are equal, but contents, owners, modes or times are not"


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
        found[key] = value
        at += length
    return found
