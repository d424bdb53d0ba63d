"""Walks a volume's own folder on this machine, by an open descriptor: all that is in it, in the
engine's order; and once more, to say whether anybody changed it meanwhile.

No name in it is trusted: every step goes from one open folder into the next, and follows no link.
What is read of each thing is folder.py's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from array import array
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from safedocker.backup.digests import key_of
from safedocker.errors import Changed, NoBackup, NoWayRound

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
AT_ONCE = 32  # folders that are open at the same time, however deep they lie
# What a name says that another process took away, or put something else in the place of. ENODATA:
# an attribute went.
_TAKEN_AWAY = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.ENODATA}
_FILES_CLOCK = 5  # CLOCK_REALTIME_COARSE: it goes in steps of some milliseconds
_OURS: dict[int | None, str] = {  # and what can be done about it
    errno.EMFILE: "let more files be open at the same time: ulimit -n 1024",
    errno.ENFILE: "this machine has too many files open: sysctl fs.file-nr",
    errno.ENOMEM: "",
    errno.EPERM: "",
    errno.EACCES: "",
}


class Step(NamedTuple):
    """One thing in a folder. `place` is the folder that it lies in, open, and `file` itself, if it
    is a folder; they are closed when the next step is asked for."""

    path: bytes
    place: int
    name: bytes
    state: os.stat_result
    file: int  # -1 for what is no folder


class _Level:
    """A folder that the walk is in."""

    def __init__(self, file: int, state: os.stat_result, above: int) -> None:
        self.file = file  # -1 while it is closed, as too many are open below
        self.own = state.st_dev, state.st_ino
        self.above = above  # how long the path is of what lies above
        self.names: Iterator[bytes] = iter(sorted(map(os.fsencode, os.listdir(file))))


def walk(top: int) -> Generator[Step, None, None]:
    """Everything in the order in which the engine walks: of two names of a file it is then the same
    that counts as the file, and the other as the link. The folder itself is the first.

    Raise Changed where something goes meanwhile; NoWayRound where something else is mounted in it;
    these and NoBackup when something can't be looked at, as `unreadable` has it.
    """
    levels: list[_Level] = []
    path = at = b""
    try:
        first = os.fstat(top)
        yield Step(b"", top, b"", first, top)
        levels.append(_Level(top, first, 0))
        while levels:
            level = levels[-1]
            name = next(level.names, None)
            if name is None:
                _leave(levels)
                path = at = path[: level.above]
                continue
            at = path + b"/" + name if path else name
            state = os.stat(name, dir_fd=level.file, follow_symlinks=False)
            if not stat.S_ISDIR(state.st_mode):
                if state.st_dev != first.st_dev:
                    _check_mount(top, level.file, at, name)
                yield Step(at, level.file, name, state, -1)
                continue
            inner = os.open(name, OPEN_FOLDER, dir_fd=level.file)
            try:
                state = os.fstat(inner)
                if state.st_dev != first.st_dev:
                    _check_mount(top, level.file, at, name)
                yield Step(at, level.file, name, state, inner)
                levels.append(_Level(inner, state, len(path)))
            except BaseException:
                os.close(inner)
                raise
            path = at
            if len(levels) > AT_ONCE and (far := levels[-AT_ONCE]).file not in {-1, top}:
                os.close(far.file)
                far.file = -1
    except OSError as fault:
        raise unreadable(at, fault) from fault
    finally:
        for level in levels:
            if level.file not in {-1, top}:
                os.close(level.file)


def _check_mount(top: int, place: int, path: bytes, name: bytes) -> None:
    """Raise NoWayRound unless it is of the same mount, though of another device: a subvolume of
    btrfs, or a file behind overlayfs."""
    only = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    try:
        if _mount(only) != _mount(top):
            raise mounted(path)
    finally:
        os.close(only)


def _mount(file: int) -> bytes:
    """The id of the mount that an open file was reached by. Source: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{file}", "rb") as told:
        return next((line for line in told if line.startswith(b"mnt_id:")), b"")


def _leave(levels: list[_Level]) -> None:
    """Go up again, from the innermost folder to the one that it was found in."""
    left = levels.pop()
    if not levels:
        return
    try:
        if levels[-1].file == -1:
            above = os.open("..", OPEN_FOLDER, dir_fd=left.file)
            levels[-1].file = above
            state = os.fstat(above)
            if (state.st_dev, state.st_ino) != levels[-1].own:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))  # it was moved elsewhere
    finally:
        os.close(left.file)


class States:
    """How all stood that a walk came by, in its order, without a name: a number for each."""

    def __init__(self) -> None:
        self._began = time.time_ns()
        while time.clock_gettime_ns(_FILES_CLOCK) <= self._began:
            time.sleep(0.001)
        self._seen = array("q")

    def watched(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass a walk on. Raise Changed where something has changed since it began: what was read
        before is then of another moment."""
        for step in steps:
            when = step.state.st_ctime_ns
            if when > self._began and when <= time.time_ns():  # a clock may have run ahead once
                raise changed(step.path)
            self._seen.append(hash(key_of(step.state)))
            yield step

    def check(self, top: int) -> None:
        """Walk again. Raise Changed where anything was written, made, removed, or given another
        owner, mode or attribute since: each moves the time of change of a file, or of the folder
        that it lies in. Reading moves only the time of access, which does not count.

        What is written through a memory map shows when the page was clean before, or is written
        out. Source: Linux mm/memory.c, do_page_mkwrite.
        """
        before = iter(self._seen)
        path = b""
        with contextlib.closing(walk(top)) as steps:
            for step in steps:
                path = step.path
                if next(before, None) != hash(key_of(step.state)):
                    raise changed(path)
        if next(before, None) is not None:
            raise changed(path)


def shown(path: bytes) -> str:
    """A path in a volume, for a sentence."""
    return os.fsdecode(path).encode("utf-8", "replace").decode() or "the volume's folder"


def changed(path: bytes) -> Changed:
    """The fault of what is not as it was when the walk came by."""
    return Changed(f"{shown(path)} was changed while it was read", "stop what writes to it")


def mounted(path: bytes) -> NoWayRound:
    """The fault of a volume that something else is mounted in.

    Source: moby volume/local, removePath: os.RemoveAll empties what is mounted there, too, and then
    fails at the mount point.
    """
    return NoWayRound(
        f"something else is mounted in the volume's folder, at {shown(path)}, which is not the "
        "volume's, though the engine would empty it, too, and then fail",
        "unmount it first",
    )


def unreadable(path: bytes, fault: OSError) -> NoBackup:
    """The fault of what could not be read. The engine leaves what it can't read out of its streams
    without a word, so it is asked only where it may do what we may not."""
    if fault.errno in _TAKEN_AWAY:
        return changed(path)
    said = f"{shown(path)} can't be read: {fault.strerror}"
    if fault.errno in _OURS:
        return NoBackup(said, _OURS[fault.errno])
    return NoWayRound(said, "see what the kernel says of its disk: dmesg")
