"""A volume's own folder on this machine, by an open descriptor: read as a tar stream that tells all
there is, and looked through. Such a stream is written into one by filling.py.

No name in it is trusted: every step goes from one open folder into the next, and follows no link.
That a folder is the volume's is edge/direct.py's to know.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from types import MappingProxyType
from typing import NamedTuple

from safedocker.backup.digests import AT_ONCE, THREADS, WAITING, Known, key_of
from safedocker.backup.flags import Flags
from safedocker.backup.tree import (
    ATTRIBUTE,
    CAPABILITIES,
    DIRECTORY,
    HARD_LINK,
    NO_CONTENTS,
    REGULAR,
    SYMLINK,
    Entry,
    Inventory,
    Tell,
    Tree,
    fine_of,
    spelled,
)
from safedocker.backup.walk import States, Step, changed, unreadable, walk

NOT_KEPT = ("sockets", "security.selinux attributes")
_TOP = b"volume"  # what the engine's streams call the volume itself
_BLOCK = 512
_PIECE = 1 << 20  # bytes read at a time
_ZEROS = memoryview(bytes(_PIECE))
_NAME = 100  # bytes of a name that a header has room for
_OCTAL = {7: 8**7, 11: 8**11}  # what as many digits can't tell any more
SECOND = 10**9
_ATTRIBUTES = ("user.", "trusted.", "security.", "system.posix_acl_")
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
KINDS = {  # a file's type: how an archive calls it
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: b"6",
}

Meter = Callable[[int], None]  # told the bytes of contents done so far


class _Found(NamedTuple):
    """One thing in a folder, open if it is a file or a folder."""

    path: bytes
    state: os.stat_result
    file: int  # -1 for what is not opened
    entry: Entry
    pax: dict[bytes, bytes]  # what a header has no place for: attributes, the whole time


# reading


def read(top: int, flags: Flags) -> Iterator[memoryview]:
    """Give a volume's folder as GNU tar writes it. Each piece is gone when the next is asked for.
    `flags` sees what has such as no archive keeps.

    Raise Changed when anything in it is changed until all of it is read, NoBackup when something
    can't be read.
    """
    buffer = memoryview(bytearray(_PIECE))
    at = 0
    states = States()
    with (
        contextlib.closing(walk(top)) as steps,
        contextlib.closing(_walk(states.watched(steps))) as found,
    ):
        for one in found:
            if one.file >= 0:
                flags.see(one.path, one.file)
            for part in _parts(one):
                if isinstance(part, bytes):
                    while part:
                        step = min(len(part), _PIECE - at)
                        buffer[at : at + step] = part[:step]
                        part, at = part[step:], at + step
                        if at == _PIECE:
                            yield buffer
                            at = 0
                    continue
                start, end = part[0], sum(part)
                while start < end:
                    step = _read_at(one, buffer[at : at + min(end - start, _PIECE - at)], start)
                    start, at = start + step, at + step
                    if at == _PIECE:
                        yield buffer
                        at = 0
    states.check(top)
    if at + 2 * _BLOCK > _PIECE:
        yield buffer[:at]
        at = 0
    buffer[at : at + 2 * _BLOCK] = bytes(2 * _BLOCK)
    yield buffer[: at + 2 * _BLOCK]


def look_through(
    top: int,
    meter: Meter,
    tell: Tell | None = None,
    *,
    remember: bool = True,
    known: Known = MappingProxyType({}),
) -> Tree:
    """Read a volume's folder to its end; return what it holds, fine. `tell` as a Tree's. A file
    that is as it was when its contents were `known` is not read again.

    Raise NoBackup as `read`.
    """
    tree = Tree(tell, remember=remember, fine=True)
    waiting: collections.deque[tuple[_Found, concurrent.futures.Future[bytes]]] = (
        collections.deque()
    )
    done = 0

    def settle(most: int) -> None:
        nonlocal done
        while len(waiting) > most:
            one, future = waiting.popleft()
            try:
                contents = future.result()
            finally:
                if one.file >= 0 and one.entry.kind == REGULAR:
                    os.close(one.file)
            tree.add(one.entry, contents, _told(one))
            done += one.entry.size
            meter(done)

    with (
        concurrent.futures.ThreadPoolExecutor(THREADS) as pool,
        contextlib.closing(walk(top)) as steps,
        contextlib.closing(_walk(steps)) as found,
    ):
        try:
            for one in found:
                told = known.get(key_of(one.state)) if one.entry.kind == REGULAR else NO_CONTENTS
                if told is None and one.entry.size > AT_ONCE:
                    kept = one._replace(file=os.dup(one.file))
                    waiting.append((kept, pool.submit(_digest, kept)))
                else:
                    ready: concurrent.futures.Future[bytes] = concurrent.futures.Future()
                    ready.set_result(_digest(one) if told is None else told)
                    waiting.append((one._replace(file=-1), ready))
                settle(WAITING)
            settle(0)
        finally:
            for one, future in waiting:
                future.cancel()
                concurrent.futures.wait([future])
                if one.file >= 0:
                    os.close(one.file)
    return tree


def inspect(top: int, meter: Meter, known: Known) -> tuple[Inventory, str]:
    """Return what a volume's folder holds, and Tree.fine of it. `known` and NoBackup as
    `look_through`."""
    tree = look_through(top, meter, known=known)
    return tree.finish(), tree.fine()


def _walk(steps: Iterator[Step]) -> Generator[_Found, None, None]:
    """What is to be read of a walk, open. Sockets are left out."""
    names: dict[tuple[int, int], tuple[bytes, dict[bytes, bytes]]] = {}  # of files with several
    for step in steps:
        try:
            kind = stat.S_IFMT(step.state.st_mode)
            if kind == stat.S_IFREG:
                file = os.open(step.name, _FILE, dir_fd=step.place)
                try:
                    yield _found(step, os.fstat(file), file, names)
                finally:
                    os.close(file)
            elif kind in KINDS:
                yield _found(step, step.state, step.file, names)
        except OSError as fault:
            raise unreadable(step.path, fault) from fault


def _found(
    step: Step,
    state: os.stat_result,
    file: int,
    names: dict[tuple[int, int], tuple[bytes, dict[bytes, bytes]]],
) -> _Found:
    path, folder, name = step.path, step.place, step.name
    kind = KINDS.get(stat.S_IFMT(state.st_mode), b"")
    if kind != KINDS[stat.S_IFMT(step.state.st_mode)]:
        raise changed(path)
    link, attributes, several = b"", {}, None
    if kind != DIRECTORY and state.st_nlink > 1:
        several = names.get((state.st_dev, state.st_ino))
    if several is not None:
        kind, link = HARD_LINK, several[0]
        capabilities = several[1]
    else:
        place: int | bytes = file if file >= 0 else b"/proc/self/fd/%d/%b" % (folder, name)
        capabilities = attributes = attributes_of(place)
        if kind == SYMLINK:
            link = os.readlink(name, dir_fd=folder)
        if kind != DIRECTORY and state.st_nlink > 1:
            names[state.st_dev, state.st_ino] = path, attributes
    entry = Entry(
        kind=kind,
        path=path,
        link=link,
        mode=stat.S_IMODE(state.st_mode),
        uid=state.st_uid,
        gid=state.st_gid,
        size=state.st_size if kind == REGULAR else 0,
        mtime=state.st_mtime_ns // SECOND,
        device=(os.major(state.st_rdev), os.minor(state.st_rdev)) if kind in b"34" else (0, 0),
        xattrs=tuple(sorted(one for one in capabilities.items() if one[0] in CAPABILITIES)),
    )
    if state.st_mtime_ns % SECOND or not 0 <= entry.mtime < _OCTAL[11]:
        attributes = {**attributes, b"mtime": _time(state.st_mtime_ns)}
    return _Found(path, state, file, entry, attributes)


def attributes_of(place: int | bytes) -> dict[bytes, bytes]:
    """The extended attributes that are kept, as an archive calls them. Raise OSError."""
    follow = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
    except OSError as fault:
        if fault.errno == errno.ENOTSUP:
            return {}
        raise
    return {
        ATTRIBUTE + os.fsencode(name): os.getxattr(place, name, follow_symlinks=follow)
        for name in names
        if name.startswith(_ATTRIBUTES) and name != "security.selinux"
    }


def _told(one: _Found) -> bytes:
    return fine_of(one.pax, one.pax.get(b"mtime"))


_room = threading.local()  # a buffer a thread


def _digest(one: _Found) -> bytes:
    """The sha256 of a file's contents."""
    digest = hashlib.sha256()
    buffer: memoryview | None = getattr(_room, "buffer", None)
    if buffer is None:
        buffer = _room.buffer = memoryview(bytearray(_PIECE))
    at = 0
    for start, length in _extents(one) or [(0, one.entry.size)]:
        while at < start:  # a hole
            step = min(start - at, len(_ZEROS))
            digest.update(_ZEROS[:step])
            at += step
        while at < start + length:
            step = _read_at(one, buffer[: min(_PIECE, start + length - at)], at)
            digest.update(buffer[:step])
            at += step
    return digest.digest()


def _read_at(one: _Found, buffer: memoryview, at: int) -> int:
    try:
        step = os.preadv(one.file, [buffer], at)
    except OSError as fault:
        raise unreadable(one.path, fault) from fault
    if not step:
        raise changed(one.path)  # it became shorter
    return step


def _extents(one: _Found) -> list[tuple[int, int]] | None:
    """Where there is data in a file, start and length; None for one without holes."""
    size = one.entry.size
    if one.entry.kind != REGULAR or one.state.st_blocks * _BLOCK >= size:
        return None
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(one.file, at, os.SEEK_DATA)
        except OSError as fault:
            if fault.errno == errno.ENXIO:  # nothing follows
                break
            raise unreadable(one.path, fault) from fault
        at = min(os.lseek(one.file, start, os.SEEK_HOLE), size)
        found.append((start, at - start))
    return None if found == [(0, size)] else [*found, (size, 0)]


def _parts(one: _Found) -> Iterator[bytes | tuple[int, int]]:
    """What an archive holds of it: bytes as they are, and stretches of its contents, start and
    length."""
    extents = _extents(one)
    yield from _headers(one, extents)
    if one.entry.kind == REGULAR:
        stretches = [(0, one.entry.size)] if extents is None else extents
        yield from stretches
        yield bytes(-sum(length for _start, length in stretches) % _BLOCK)


def _headers(one: _Found, extents: list[tuple[int, int]] | None) -> Iterator[bytes]:
    entry, pax = one.entry, dict(one.pax)
    name = _TOP + b"/" + entry.path if entry.path else _TOP
    if entry.kind == DIRECTORY:
        name += b"/"
    link = _TOP + b"/" + entry.link if entry.kind == HARD_LINK else entry.link
    size, spread = entry.size, b""
    if extents is not None:
        numbers = [len(extents), *(number for extent in extents for number in extent)]
        spread = b"".join(b"%d\n" % number for number in numbers)
        spread += bytes(-len(spread) % _BLOCK)
        size = len(spread) + sum(length for _start, length in extents)
        pax |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": name}
        pax[b"GNU.sparse.realsize"] = b"%d" % entry.size
        name = b"%b/GNUSparseFile.0/%b" % (_TOP, name.rpartition(b"/")[2])
        name = name[:_NAME]
    numbered = {b"uid": (entry.uid, 7), b"gid": (entry.gid, 7), b"size": (size, 11)}
    pax |= {key: b"%d" % one for key, (one, digits) in numbered.items() if one >= _OCTAL[digits]}
    pax |= {key: text for key, text in ((b"path", name), (b"linkpath", link)) if len(text) > _NAME}
    if pax:
        body = b"".join(record(spelled(key), pax[key]) for key in sorted(pax))
        yield _block(b"x", b"././@PaxHeader", 0o644, (0, 0), len(body), 0)
        yield body + bytes(-len(body) % _BLOCK)
    mtime = entry.mtime if 0 <= entry.mtime < _OCTAL[11] else 0
    owner = tuple(id_ if id_ < _OCTAL[7] else 0 for id_ in (entry.uid, entry.gid))
    told = size if size < _OCTAL[11] else 0
    yield _block(entry.kind, name, entry.mode, owner, told, mtime, link, entry.device)
    yield spread


def _block(
    kind: bytes,
    name: bytes,
    mode: int,
    owner: tuple[int, ...],
    size: int,
    mtime: int,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *owner, size, mtime)
    block = b"%b%b        %b%bustar\x0000%b%07o\0%07o\0%b" % (
        name[:_NAME].ljust(_NAME, b"\0"),
        numbers,
        kind,
        link[:_NAME].ljust(_NAME, b"\0"),
        bytes(64),
        *device,
        bytes(167),
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def record(key: bytes, value: bytes) -> bytes:
    """One line of an extended header. Source: POSIX pax, "pax Extended Header"."""
    rest = b" %b=%b\n" % (key, value)
    size = len(rest)
    while len(b"%d" % size) + len(rest) != size:  # the length counts itself
        size = len(b"%d" % size) + len(rest)
    return b"%d%b" % (size, rest)


def _time(nanoseconds: int) -> bytes:
    whole, rest = divmod(abs(nanoseconds), SECOND)
    text = b"%d.%09d" % (whole, rest) if rest else b"%d" % whole
    return (b"-" if nanoseconds < 0 else b"") + (text.rstrip(b"0") if rest else text)
