"""The flags of files (chattr): no archive keeps them. Which there were is told of a copy, so that
nobody takes it for more than it is."""

from __future__ import annotations

import errno
import fcntl
import struct
import sys

from safedocker.backup.walk import shown, unreadable

# Source: Linux include/uapi/linux/fs.h. What a volume's folder has itself, as the one that it is
# made in has it, the files of another volume get too.
_GET = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1  # FS_IOC_GETFLAGS
_FLAGS = {
    0x20: "append-only",
    0x40000000: "casefold",
    0x4: "compressed",
    0x4000: "data journal",
    0x10: "immutable",
    0x80: "noatime",
    0x800000: "no copy-on-write",
    0x40: "nodump",
    0x8: "synchronous",
    0x100000: "verity",
}
_ALL = sum(_FLAGS)
_OWN = 0x10 | 0x20  # nothing inherits these
_NONE = {errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class Flags:
    """Takes the open files and folders of a volume, its own folder first."""

    def __init__(self) -> None:
        self._known = True
        self._inherited: int | None = None
        self._found: dict[int, tuple[int, bytes]] = {}  # how many have a flag, the first of them
        self._room = bytearray(struct.calcsize("l"))

    def see(self, path: bytes, file: int) -> None:
        """Look at one more. Raise NoBackup where it can't be told."""
        if not self._known:
            return
        try:
            fcntl.ioctl(file, _GET, self._room)
        except OSError as fault:
            if fault.errno not in _NONE:
                raise unreadable(path, fault) from fault
            self._known = False  # this file system has no flags
            return
        found = int.from_bytes(self._room[:4], sys.byteorder) & _ALL
        if self._inherited is None:
            self._inherited = found & ~_OWN
        found &= ~self._inherited
        if found:
            for flag in _FLAGS:
                if found & flag:
                    count, first = self._found.get(flag, (0, path))
                    self._found[flag] = count + 1, first

    def told(self) -> tuple[str, ...]:
        """What a copy lacks by them, in words."""
        return tuple(
            f"the file flag {name} of {shown(first)}"
            if count == 1
            else f"the file flag {name} of {count} files, the first of them {shown(first)}"
            for flag, name in _FLAGS.items()
            if (found := self._found.get(flag)) is not None
            for count, first in (found,)
        )
