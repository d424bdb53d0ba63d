"""Fills a volume's own folder on this machine, by an open descriptor, from a volume's tar stream:
with holes, whole times and all attributes, which the engine would not write. And empties one.

No name in the stream is trusted, nor what stands in the folder: every step goes from one open
folder into the next, and follows no link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Mapping

from safedocker.backup.digests import Digests, Known
from safedocker.backup.files import sync_disk
from safedocker.backup.folder import KINDS, SECOND, Meter, attributes_of
from safedocker.backup.inventory import TreeReader
from safedocker.backup.tree import (
    ATTRIBUTE,
    DIRECTORY,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    BadArchive,
    Entry,
)
from safedocker.backup.walk import AT_ONCE, OPEN_FOLDER, shown

_TYPES = {kind: type_ for type_, kind in KINDS.items()}


def may_fill(top: int) -> bool:
    """Say whether this process may make files of anybody's in a folder: it tries."""
    name = f".safedocker-{secrets.token_hex(8)}"
    try:
        os.mkdir(name, 0o700, dir_fd=top)
    except OSError:
        return False
    try:
        os.chown(name, 1, 1, dir_fd=top, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.rmdir(name, dir_fd=top)
    return True


def fill(top: int, stream: Iterable[bytes | memoryview], meter: Meter) -> Known:
    """Write a volume's tar stream into its folder, which is empty: holes, whole times and all
    attributes too. What the file system does not take of attributes is left out. When this returns
    it is on the disk. Return what is in the files that were read again meanwhile.

    Raise OSError, BadArchive, and what the stream raises.
    """
    _set_attributes(top, {})  # what is made in it would inherit its access control list
    with (
        contextlib.closing(Digests()) as digests,
        contextlib.closing(_Filler(top, digests)) as filler,
    ):
        _feed(filler, stream, meter)
        sync_disk(top)
        return digests.finish()


def dress(top: int, stream: Iterable[bytes | memoryview], meter: Meter) -> None:
    """Give a folder that holds what a volume's tar stream tells the owners, modes, times and
    attributes that it tells, and no other attributes. Contents stay. Raise as `fill`."""
    with contextlib.closing(_Dresser(top)) as dresser:
        _feed(dresser, stream, meter)
        sync_disk(top)


def _feed(filler: _Filler, stream: Iterable[bytes | memoryview], meter: Meter) -> None:
    reader = TreeReader(sink=filler)
    done = 0
    for piece in stream:
        reader.feed(piece)
        done += len(piece)
        meter(done)
    reader.end()
    filler.finish()


def clear(top: int) -> None:
    """Remove all that is in a volume's folder. Raise OSError, also where another disk is mounted in
    it: that is not the volume's."""
    folders = [(top, b"", iter(os.listdir(top)))]
    try:
        while folders:
            folder, own, names = folders[-1]
            name = next(names, None)
            if name is None:
                folders.pop()
                if folder != top:
                    os.close(folder)
                    os.rmdir(own, dir_fd=folders[-1][0])
                continue
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISDIR(state.st_mode):
                os.unlink(name, dir_fd=folder)
                continue
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
            folders.append((inner, os.fsencode(name), iter(())))
            if os.fstat(inner).st_dev != os.fstat(top).st_dev:
                raise OSError(errno.EXDEV, "another disk is mounted in it")
            folders[-1] = (inner, os.fsencode(name), iter(os.listdir(inner)))
    finally:
        for folder, _own, _names in folders:
            if folder != top:
                os.close(folder)


class _Filler:
    """Makes what a stream tells. Folders get their owner, mode and time at the end: what is made in
    one changes its time, and would inherit its access control list."""

    def __init__(self, top: int, digests: Digests | None = None) -> None:
        self._top = top
        self._digests = digests  # None: nothing is read again
        self._open: list[
            tuple[bytes, int]
        ] = []  # folders from the top to the last one that was used; -1: closed meanwhile
        self._late: list[tuple[Entry, Mapping[bytes, bytes]]] = []
        self._file = -1
        self._at = 0
        self._now: tuple[Entry, Mapping[bytes, bytes]] | None = None

    def begin(self, entry: Entry, pax: Mapping[bytes, bytes]) -> None:
        """Make it, but for what is in it."""
        self._now = entry, pax
        if entry.kind == DIRECTORY:
            self._late.append(self._now)
            if not entry.path:
                return
        folder, name = self._place(entry.path)
        if entry.kind == DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=folder)
        elif entry.kind == REGULAR:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file, self._at = os.open(name, flags, 0o600, dir_fd=folder), 0
        elif entry.kind == HARD_LINK:
            inner = os.dup(folder)
            try:
                above, first = self._place(entry.link)
                os.link(first, name, src_dir_fd=above, dst_dir_fd=inner, follow_symlinks=False)
            finally:
                os.close(inner)
        elif entry.kind == SYMLINK:
            os.symlink(entry.link, name, dir_fd=folder)
        else:
            os.mknod(name, 0o600 | _TYPES[entry.kind], os.makedev(*entry.device), dir_fd=folder)

    def data(self, piece: bytes | memoryview) -> None:
        """Write on in the file that was begun."""
        view = memoryview(piece)
        while view:
            step = os.pwrite(self._file, view, self._at)
            self._at += step
            view = view[step:]

    def hole(self, size: int) -> None:
        """Go on behind a hole."""
        self._at += size

    def end(self) -> None:
        """It is complete."""
        if self._now is None or self._now[0].kind in {DIRECTORY, HARD_LINK}:
            return
        entry, pax = self._now
        if self._file >= 0:
            self._end_file(entry, pax)
            os.close(self._file)
            self._file = -1
            return
        folder, name = self._place(entry.path)
        os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        place = b"/proc/self/fd/%d/%b" % (folder, name)
        if entry.kind != SYMLINK:
            only = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{only}", entry.mode)
            finally:
                os.close(only)
        _set_attributes(place, pax)
        times = (_nanoseconds(entry, pax),) * 2
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _end_file(self, entry: Entry, pax: Mapping[bytes, bytes]) -> None:
        os.ftruncate(self._file, entry.size)
        _finish(self._file, entry, pax)
        if self._digests is not None:
            self._digests.add(self._file)

    def finish(self) -> None:
        """All is there: give the folders what is theirs, the innermost first."""
        for entry, pax in reversed(self._late):
            if not entry.path:
                _finish(self._top, entry, pax)
                continue
            folder, name = self._place(entry.path)
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
            try:
                _finish(inner, entry, pax)
            finally:
                os.close(inner)

    def close(self) -> None:
        """Let go of all that is open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._leave(0)

    def _place(self, path: bytes) -> tuple[int, bytes]:
        """The open folder that a path lies in, and its name there."""
        *above, name = parts = path.split(b"/")
        if not {b"", b".", b".."}.isdisjoint(parts):
            raise BadArchive(f"{shown(path)} lies outside of the volume")
        shared = 0
        while shared < min(len(above), len(self._open)) and self._open[shared][0] == above[shared]:
            shared += 1
        self._leave(shared)
        if self._open and self._open[-1][1] == -1:
            shared = 0  # and so are those above it
            self._open.clear()
        for part in above[shared:]:
            self._enter(part)
        return self._open[-1][1] if self._open else self._top, name

    def _enter(self, part: bytes) -> None:
        folder = self._open[-1][1] if self._open else self._top
        self._open.append((part, os.open(part, OPEN_FOLDER, dir_fd=folder)))
        if len(self._open) > AT_ONCE:
            far, file = self._open[-AT_ONCE - 1]
            if file != -1:
                self._open[-AT_ONCE - 1] = far, -1
                os.close(file)

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            if (file := self._open.pop()[1]) != -1:
                os.close(file)


class _Dresser(_Filler):
    """Finds what a stream tells, and makes nothing."""

    def begin(self, entry: Entry, pax: Mapping[bytes, bytes]) -> None:
        """Open it."""
        self._now = entry, pax
        if entry.kind == DIRECTORY:
            self._late.append(self._now)
        elif entry.kind == REGULAR:
            folder, name = self._place(entry.path)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(name, flags, dir_fd=folder)

    def data(self, piece: bytes | memoryview) -> None:
        """It has them."""

    def hole(self, size: int) -> None:
        """It has it."""

    def _end_file(self, entry: Entry, pax: Mapping[bytes, bytes]) -> None:
        _finish(self._file, entry, pax)


def _finish(file: int, entry: Entry, pax: Mapping[bytes, bytes]) -> None:
    """Owner first: a change of it takes capabilities and setuid away."""
    os.fchown(file, entry.uid, entry.gid)
    os.fchmod(file, entry.mode)
    _set_attributes(file, pax)
    os.utime(file, ns=(_nanoseconds(entry, pax),) * 2)


def _set_attributes(place: int | bytes, pax: Mapping[bytes, bytes]) -> None:
    """Give it these attributes and no others. What can't be set shows when it is compared."""
    follow = isinstance(place, int)
    told = {key: value for key, value in pax.items() if key.startswith(ATTRIBUTE)}
    for key in attributes_of(place).keys() - told.keys():
        with contextlib.suppress(OSError):
            os.removexattr(place, key.removeprefix(ATTRIBUTE), follow_symlinks=follow)
    for key, value in told.items():
        with contextlib.suppress(OSError):
            os.setxattr(place, key.removeprefix(ATTRIBUTE), value, follow_symlinks=follow)


def _nanoseconds(entry: Entry, pax: Mapping[bytes, bytes]) -> int:
    text = pax.get(b"mtime")
    if text is None:
        return entry.mtime * SECOND
    whole, _point, fraction = text.lstrip(b"-").partition(b".")
    told = int(whole) * SECOND + int(fraction[:9].ljust(9, b"0"))
    return -told if text.startswith(b"-") else told
