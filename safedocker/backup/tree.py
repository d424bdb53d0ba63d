"""What a volume holds, entry by entry: counts, bytes and one digest of the whole tree. Where the
entries come from, a tar stream or a folder, is inventory.py's and folder.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from safedocker.errors import SafedockerError

REGULAR = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
DIRECTORY = b"5"
ATTRIBUTE = b"SCHILY.xattr."  # how an archive calls an extended attribute
# Of extended attributes the engine gives only this one, whatever it was sent.
CAPABILITIES = (ATTRIBUTE + b"security.capability", b"LIBARCHIVE.xattr.security.capability")
NO_CONTENTS = hashlib.sha256().digest()
_LATEST = ((1 << 63) - 1) // 10**9  # the last second that the engine can set, in 2262


class BadArchive(SafedockerError):  # noqa: N818 - named for what it is, as errors.py does
    """A tar stream is cut short, damaged, or holds what cannot be checked."""


@dataclass(frozen=True)
class Inventory:
    """What a volume holds."""

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
    """One thing in a volume. Paths are relative to its root."""

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


class Tree:
    """Takes the entries of a volume, `root` among them; `finish` says what they come to. `tell` is
    handed each entry as it comes. Unless it is to `remember` them, a volume of any number of files
    takes no room, and `finish` has nothing to say.

    The digest covers, for the entries sorted by path: type, path, mode, uid, gid, size, mtime in
    whole seconds, link target, device numbers, xattrs and the sha256 of the contents. Left out: the
    root directory's mtime (mounting a volume may touch it), owner names, atime, ctime and fractions
    of a second. An mtime before 1970 or after 2262 counts as 1970, which is what the engine makes
    of it. Source: moby pkg/system/chtimes.go.

    One that is to be `fine` digests besides, for `fine()`, whole times and all attributes.
    """

    def __init__(
        self, tell: Tell | None = None, *, remember: bool = True, fine: bool = False
    ) -> None:
        self._tell = tell
        self._remember = remember
        self._keeps_fine = fine
        self._lines: list[tuple[bytes, bytes]] = []
        self._fine: list[tuple[bytes, bytes]] = []
        self._files = self._directories = self._links = self._others = 0
        self._bytes = self._link_bytes = 0
        self.entries = 0  # how many there were so far
        self.root: Entry | None = None

    def add(self, entry: Entry, contents: bytes, told: bytes) -> None:
        """Take one more. `contents` is the sha256 of what is in it, `told` what `fine_of` makes of
        it. Raise BadArchive when the root does not come first, and once."""
        mtime = entry.mtime if 0 <= entry.mtime <= _LATEST else 0
        if not entry.path:
            if self.root is not None or entry.kind != DIRECTORY:
                raise BadArchive("the archive does not begin with one root directory")
            self.root = entry
            mtime = 0
        elif self.root is None:
            raise BadArchive("the archive does not begin with the volume's root directory")
        if entry.kind == REGULAR:
            self._files += 1
            self._bytes += entry.size
        elif entry.kind == DIRECTORY:
            self._directories += 1
        elif entry.kind in {HARD_LINK, SYMLINK}:
            self._links += 1
            self._link_bytes += len(entry.link) if entry.kind == SYMLINK else 0
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
        fine = told if entry.path else told.partition(b"\0")[2]
        whole = b"%d" % entry.mtime if entry.path else b""
        self._fine.append((entry.path, hashlib.sha256(whole + b"\0" + fine).digest()))

    def finish(self) -> Inventory:
        """Return what they come to. Raise BadArchive when there was no root."""
        root = self.root
        if root is None:
            raise BadArchive("the archive does not hold the volume's root directory")
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

    def longest(self) -> int:
        """The bytes of the longest path."""
        return max((len(path) for path, _line in self._lines), default=0)

    def fine(self) -> str:
        """The digest of what the engine's own streams do not tell."""
        self._fine.sort()
        digest = hashlib.sha256()
        for path, line in self._fine:
            digest.update(b"%d %b%b" % (len(path), path, line))
        return digest.hexdigest()


def spelled(key: bytes) -> bytes:
    """A key as an archive has it, in which "=" ends a key. Source: GNU tar src/xheader.c,
    xattr_encode_keyword."""
    if not key.startswith(ATTRIBUTE):
        return key
    return key.replace(b"%", b"%25").replace(b"=", b"%3D")


def read_key(key: bytes) -> bytes:
    """What `spelled` made of it."""
    if not key.startswith(ATTRIBUTE):
        return key
    return key.replace(b"%3D", b"=").replace(b"%25", b"%")


def fine_of(pax: dict[bytes, bytes], mtime: bytes | None) -> bytes:
    """The fraction of the time, a zero byte, all extended attributes."""
    fraction = (mtime or b"").partition(b".")[2].rstrip(b"0")
    told = b""
    for key in sorted(one for one in pax if one.startswith(ATTRIBUTE)):
        told += b"%d %d\0%b%b" % (len(key), len(pax[key]), key, pax[key])
    return fraction + b"\0" + told


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
