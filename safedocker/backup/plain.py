"""Plain tar archives as every tutorial makes them, read strictly, and written as the engine takes a
volume. Which one they go into is not decided here; what goes out is outgoing.py's.
"""

from __future__ import annotations

import enum
import io
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import zstandard

from safedocker.backup import zst
from safedocker.backup.files import PIECE
from safedocker.backup.inventory import BadArchive

_BLOCK = tarfile.BLOCKSIZE
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x04\x22\x4d\x18": "lz4"}
_GZIP_LEVEL = 1  # whoever runs with the volume rests meanwhile, and 6 takes three times as long
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}  # any bytes, and back again
_XATTRS = ("SCHILY.xattr.", "LIBARCHIVE.xattr.")
_IN_WORDS, _AS_KERNEL = "SCHILY.acl.", "SCHILY.xattr.system.posix_acl_"
_DEFAULT = f"{_AS_KERNEL}default"
_LIKE_A_FILE = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE}
_KNOWN = _LIKE_A_FILE | {
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
}
_NONE: Mapping[str, str] = MappingProxyType({})
TOP = "volume"  # what the engine's streams call the volume itself


class Packing(enum.Enum):
    """How an archive is packed, by the end of its name."""

    GZIP = ".tar.gz"
    ZSTD = ".tar.zst"
    NONE = ".tar"


SUFFIXES = {
    **{one.value: one for one in Packing},
    ".tgz": Packing.GZIP,
    ".tzst": Packing.ZSTD,
}


class Ambiguous(BadArchive):
    """All of it lies in one folder, which may be the volume, or a folder in it."""

    def __init__(self, top: str, depth: int) -> None:
        super().__init__(f"all of it lies in the folder {top}/")
        self.top = top
        self.depth = depth  # components of `top`


class Packed(BadArchive):
    """It is packed in a way that is not unpacked here, by the program of that name."""

    def __init__(self, program: str) -> None:
        super().__init__(f"it is packed with {program}")
        self.program = program


@dataclass
class Outline:
    """What an archive holds: every path below the volume's root, with its type."""

    kinds: dict[str, bytes] = field(default_factory=dict)
    strip: int = 0  # leading folders of the names that are not part of the path
    root: tarfile.TarInfo | None = None  # the entry of the volume's own folder
    # Folders whose entry comes behind something that is in them, by path.
    late: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    newest: int = 0  # the latest modification time, in seconds
    lists: int = 0  # entries with an access control list in words, which is not taken over


# packing


def packing_of(name: str) -> Packing | None:
    """How a file of that name is packed; None where the name does not tell."""
    return next((one for end, one in SUFFIXES.items() if name.lower().endswith(end)), None)


def pack(stream: Iterable[bytes], packing: Packing) -> Iterator[bytes]:
    """Pack a stream."""
    if packing is Packing.NONE:
        yield from stream
    elif packing is Packing.ZSTD:
        yield from zst.pack(stream, lambda _piece: None)
    else:
        packer = zlib.compressobj(_GZIP_LEVEL, wbits=31)
        for piece in stream:
            if packed := packer.compress(piece):
                yield packed
        yield packer.flush()


def unpack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack what may be packed, as its first bytes tell. Raise BadArchive when it is cut short,
    Packed when it is packed in another way."""
    first = b""
    while len(first) < 8 and (piece := next(pieces, b"")):
        first += piece
    source = _Pieces(first, pieces)
    if first.startswith(_GZIP):
        yield from _gunzip(source)
    elif first.startswith(_ZSTD):
        reader = zstandard.ZstdDecompressor().stream_reader(
            io.BufferedReader(source, PIECE), read_across_frames=True
        )
        try:
            while piece := reader.read(PIECE):
                yield piece
        except zstandard.ZstdError as fault:
            raise BadArchive(f"it can't be unpacked: {fault}") from fault
    else:
        for magic, name in _OTHERS.items():
            if first.startswith(magic):
                raise Packed(name)
        yield from source.rest()


def _gunzip(source: _Pieces) -> Iterator[bytes]:
    packer = zlib.decompressobj(wbits=31)
    try:
        for piece in source.rest():
            left = piece
            while left:
                if packer.eof:  # one packed file after the other is one packed file
                    if not left.strip(b"\0"):
                        break  # padding, as tapes have it
                    packer = zlib.decompressobj(wbits=31)
                if out := packer.decompress(left, PIECE):
                    yield out
                left = packer.unused_data if packer.eof else packer.unconsumed_tail
        if out := packer.flush():
            yield out
    except zlib.error as fault:
        raise BadArchive(f"it can't be unpacked: {fault}") from fault
    if not packer.eof:
        raise BadArchive("it is cut short")


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a file; counts what it gave, and the zeros at its end."""

    def __init__(self, first: bytes, pieces: Iterator[bytes]) -> None:
        self._piece = memoryview(first)
        self._pieces = pieces
        self.total = self.zeros = 0
        self._count(first)

    def _count(self, piece: bytes) -> None:
        end = len(piece) - len(piece.rstrip(b"\0"))
        self.zeros = self.zeros + end if end == len(piece) else end
        self.total += len(piece)

    def _next(self) -> bytes:
        piece = next(self._pieces, b"")
        self._count(piece)
        return piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            piece = self._next()
            if not piece:
                return 0
            self._piece = memoryview(piece)
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def rest(self) -> Iterator[bytes]:
        """What was not read so far."""
        if self._piece:
            yield bytes(self._piece)
        while piece := self._next():
            yield piece


# reading


def _members(stream: Iterator[bytes]) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Every entry with its contents. Raise BadArchive where tarfile would stop without a word."""
    pieces = _Pieces(b"", stream)
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(pieces, PIECE),
            mode="r|",
            bufsize=PIECE,
            **_TEXT,  # type: ignore[call-overload]  # of str alone
        ) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()
                yield info, _contents(tar, info)
            for _piece in pieces.rest():
                pass
            end = pieces.total - tar.offset
    except tarfile.TarError as fault:
        if "unexpected end" in str(fault):
            raise BadArchive("it is cut short") from fault
        raise BadArchive(f"it is no tar archive that can be read: {fault}") from fault
    if end < 2 * _BLOCK:
        raise BadArchive("it is cut short")
    if pieces.zeros < end:
        raise BadArchive("it is damaged: something else follows where it should end")


def _contents(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(info) if info.isreg() else None
    while file is not None and (piece := file.read(PIECE)):
        yield piece


def outline(stream: Iterator[bytes], strip: int | None) -> Outline:
    """Read an archive to its end and say what it holds, `strip` leading folders taken off.

    Raise BadArchive when it is cut short, or would write elsewhere than into a volume; Ambiguous
    when `strip` is None and all of it lies in one folder.
    """
    found = Outline()
    entries: dict[str, tarfile.TarInfo] = {}
    folders: set[str] = set()  # that hold something, whether they have an entry or not
    for info, _contents in _members(stream):
        path = _tidy(info.name)
        if info.type not in _KNOWN:
            raise BadArchive(f"{path} is of a type that is not known: {info.type!r}")
        if path in found.kinds:
            raise BadArchive(f"it holds {path or './'} twice")
        for folder in _above(path):
            if found.kinds.get(folder, tarfile.DIRTYPE) != tarfile.DIRTYPE:
                raise BadArchive(f"{path} lies below {folder}, which is no folder")
            folders.add(folder)
        kind = tarfile.REGTYPE if info.type in _LIKE_A_FILE else info.type
        if kind != tarfile.DIRTYPE and (path in folders or not path):
            raise BadArchive(f"{path or './'} is no folder, and there is something below it")
        link = _tidy(info.linkname) if kind == tarfile.LNKTYPE else None
        if link is not None and found.kinds.get(link, tarfile.DIRTYPE) == tarfile.DIRTYPE:
            raise BadArchive(f"{path} is a second name of {link}, which no file before it has")
        found.kinds[path] = kind
        found.lists += _has_list_in_words(info)
        found.newest = max(found.newest, seconds(info))
        if kind == tarfile.DIRTYPE:
            entries[path] = info
            if path in folders:
                found.late[path] = info
    if not found.kinds:
        raise BadArchive("it holds nothing")
    top = _common({path: kind for path, kind in found.kinds.items() if path not in folders})
    if strip is None and top and "" not in found.kinds:
        above = ("/".join(top[:depth]) for depth in range(1, len(top)))
        first = next((folder for folder in above if folder in entries), "/".join(top))
        raise Ambiguous(first, first.count("/") + 1)
    found.strip = strip or 0
    if found.strip > len(top):
        raise BadArchive(f"not all of it lies {found.strip} folders deep")
    found.root = entries.get("/".join(top[: found.strip]))
    return found


def _has_list_in_words(info: tarfile.TarInfo) -> bool:
    """Has it an access control list that it does not tell as the kernel takes it too?"""
    words = (key for key in info.pax_headers if key.startswith(_IN_WORDS))
    return any(
        f"{_AS_KERNEL}{key.removeprefix(_IN_WORDS)}" not in info.pax_headers for key in words
    )


def seconds(info: tarfile.TarInfo) -> int:
    """Its modification time in whole seconds, rounded down."""
    try:
        return math.floor(info.mtime)
    except (ValueError, OverflowError):
        raise BadArchive(f"{info.name} has no time that can be read") from None


def _tidy(name: str) -> str:
    """A name below the root: "./a//b/" is "a/b", "." is "". Raise BadArchive for others."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise BadArchive(f"{name!r} lies outside of the volume")
    return "/".join(parts)


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in, without the root."""
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _common(kinds: dict[str, bytes]) -> list[str]:
    """The folders, from the root, that all of it lies in."""
    top: list[str] | None = None
    for path, kind in kinds.items():
        if not path:
            continue
        parts = path.split("/")
        if kind != tarfile.DIRTYPE:
            parts.pop()
        if top is None:
            top = parts
        shared = (one for one, (a, b) in enumerate(zip(top, parts, strict=False)) if a != b)
        top = top[: next(shared, min(len(top), len(parts)))]
    return top or []


# writing


def as_volume(
    stream: Iterator[bytes],
    plan: Outline,
    owner: tuple[int, int, int],
    attributes: Mapping[str, str] = _NONE,
) -> Iterator[bytes]:
    """An archive as the engine takes a volume. `owner` is uid, gid and mode of the root where the
    archive has no entry for it, `attributes` its extended ones, as PAX calls them. Folders that it
    has no entry for are root's, mode 0755; each comes before what is in it."""

    def entries() -> Iterator[bytes]:
        root = plan.root or _folder(plan.newest, owner)
        yield _header(root, TOP, told=_told(root) if plan.root else attributes)
        made: set[str] = set()
        for info, contents in _members(stream):
            path = _tidy(info.name)
            parts = path.split("/")[plan.strip :] if path else []
            if not parts or path in made:
                continue
            for folder in reversed(list(_above(path))):
                below = folder.split("/")[plan.strip :]
                if not below or folder in made:
                    continue
                if folder in plan.late or folder not in plan.kinds:
                    made.add(folder)
                    own = plan.late.get(folder) or _folder(seconds(info), (0, 0, 0o755))
                    yield _header(own, _under(TOP, below), told=_told(own))
            link = _tidy(info.linkname).split("/")[plan.strip :] if info.islnk() else []
            linked = _under(TOP, link) if link else info.linkname
            yield _header(info, _under(TOP, parts), linked, _told(info))
            yield from _body(info, contents)
        yield bytes(2 * _BLOCK)

    return _gathered(entries())


def as_sent(stream: Iterator[bytes]) -> Iterator[bytes]:
    """A volume as GNU tar gave it, as the engine can put it back with all that it tells.

    The engine sets the owner of a hard link, which takes a file's capability away: each is given
    the attributes of its file. What is made in a folder with a default access control list would
    get one too: such folders get theirs at the end. Source: moby pkg/archive, createTarFile.
    """

    def entries() -> Iterator[bytes]:
        attributes: dict[str, dict[str, str]] = {}
        late: list[tarfile.TarInfo] = []
        for info, contents in _members(stream):
            told = _told(info)
            if info.islnk():
                told = attributes.get(info.linkname, {}) | told
            elif told and not info.isdir():
                attributes[info.name] = told
            if info.isdir() and _DEFAULT in told:
                late.append(info)
                told = {key: value for key, value in told.items() if key != _DEFAULT}
            yield _header(info, info.name, info.linkname, told)
            yield from _body(info, contents)
        for info in late:
            yield _header(info, info.name, told=_told(info))
        yield bytes(2 * _BLOCK)

    return _gathered(entries())


def _told(info: tarfile.TarInfo) -> dict[str, str]:
    """Its extended attributes, and the whole of its modification time."""
    kept = _XATTRS if "." not in info.pax_headers.get("mtime", "") else (*_XATTRS, "mtime")
    return {key: value for key, value in info.pax_headers.items() if key.startswith(kept)}


def _under(top: str, parts: list[str]) -> str:
    return "/".join((top, *parts))


def _folder(mtime: int, owner: tuple[int, int, int]) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type, made.mtime = tarfile.DIRTYPE, mtime
    made.uid, made.gid, made.mode = owner
    return made


def _body(info: tarfile.TarInfo, contents: Iterator[bytes]) -> Iterator[bytes]:
    yield from contents
    if info.isreg():
        yield bytes(-info.size % _BLOCK)


def _header(
    info: tarfile.TarInfo, name: str, link: str = "", told: Mapping[str, str] = _NONE
) -> bytes:
    """GNU's way of writing: busybox reads no others' long names, and takes names that are not ASCII
    for what they are. Extended attributes stand before it in PAX's way: tars without skip them."""
    plain = tarfile.TarInfo(name)
    plain.type = tarfile.REGTYPE if info.type in _LIKE_A_FILE else info.type
    plain.mode, plain.uid, plain.gid = info.mode & 0o7777, info.uid, info.gid
    plain.size = info.size if info.isreg() else 0
    plain.mtime, plain.linkname = seconds(info), link
    if plain.ischr() or plain.isblk():
        plain.devmajor, plain.devminor = info.devmajor, info.devminor
    return _extension(told) + _bytes(plain)


def _extension(headers: Mapping[str, str]) -> bytes:
    if not headers:
        return b""
    body = b""
    for key, value in headers.items():
        rest = b" %b=%b\n" % (_encode(key), _encode(value))
        size = len(rest)
        while len(str(size)) + len(rest) != size:  # the length counts itself
            size = len(str(size)) + len(rest)
        body += str(size).encode() + rest
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, len(body)
    return _bytes(header) + body + bytes(-len(body) % _BLOCK)


def _bytes(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, **_TEXT)


def _encode(text: str) -> bytes:
    return text.encode(**_TEXT)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in larger pieces: each is a call to the engine."""
    parts: list[bytes] = []
    held = 0
    for piece in pieces:
        parts.append(piece)
        held += len(piece)
        if held >= PIECE:
            yield b"".join(parts)
            parts, held = [], 0
    if held:
        yield b"".join(parts)


Reader = Callable[[], Iterator[bytes]]  # opens an archive again, from its beginning
