"""Files that matter, on a disk of this machine: written beside their place, synced, renamed into
it; and folders that are gone at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safedocker.backup import readback

PIECE = 1 << 20  # bytes read at a time
PART = ".part"  # the end of a name that is still being written
_HERE, _NO_REPLACE = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
GOING = ".going-"  # the beginning of a folder's that is being removed


def places_of(path: Path) -> tuple[str, ...]:
    """A path as it is called here, and as it is called on the disk that is mounted there: of a
    volume in a container, or of a container's own files, that is what the host calls it.

    Source: Linux proc(5), mountinfo.
    """
    real = os.path.realpath(path)
    places = [real]
    with contextlib.suppress(OSError):
        over: list[str] = []
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            fields = [_unescaped(field) for field in line.split()]
            if real == fields[4] or real.startswith(f"{fields[4].rstrip('/')}/"):
                over = fields if not over or len(fields[4]) >= len(over[4]) else over
        if over:
            rest = os.path.relpath(real, over[4])
            roots = [over[3]]
            roots += [
                option.removeprefix("upperdir=")
                for option in over[-1].split(",")
                if option.startswith("upperdir=")
            ]
            places += [os.path.normpath(os.path.join(root, rest)) for root in roots]
    return tuple(places)


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def make_folder(path: Path) -> None:
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
            place.chmod(0o700)
            sync_folder(place.parent)


def write_file(path: Path, pieces: Iterable[bytes], check: readback.Check | None = None) -> int:
    """Write beside the place, sync, have it read back, rename into it, sync the folder. Return the
    bytes written. What `check` raises, which runs in a thread meanwhile, is raised here."""
    beside = path.with_name(path.name + PART)
    try:
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            open(file, "wb", buffering=PIECE) as target,
            contextlib.closing(readback.Follower(beside, check)) as follower,
        ):
            os.fchmod(file, 0o600)
            for piece in pieces:
                target.write(piece)
                follower.tell(target.tell())
            target.flush()
            sync_file(file)
            written = target.tell()
            follower.finish()
        beside.rename(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return written


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        readback.forget(file.fileno())
        while piece := file.read(PIECE):
            yield piece


def remove_folder(folder: Path) -> None:
    """Rename first: a removal that is killed half-way must not look like a backup."""
    going = folder.with_name(GOING + folder.name)
    folder.rename(going)
    shutil.rmtree(going)


def sync_file(file: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the drive's cache
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file)


def place_new(beside: Path, path: Path) -> None:
    """Give a file that was written beside its place its name, which nothing may have meanwhile.

    Raise FileExistsError when something has; OSError also where the file system can't promise that.
    """
    try:
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # no second names here
        _rename_new(beside, path)
    else:
        beside.unlink()


def _rename_new(old: Path, new: Path) -> None:
    """Source: Linux rename(2), RENAME_NOREPLACE."""
    import ctypes  # as in sync_disk

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOTSUP, "no file can be given a name there that may be taken")
    if libc.renameat2(_HERE, os.fsencode(old), _HERE, os.fsencode(new), _NO_REPLACE):
        fault = ctypes.get_errno()
        raise OSError(fault, os.strerror(fault), os.fspath(new))


def sync_disk(file: int) -> None:
    """Have all that was written onto the file system that an open file lies on reach its disk.
    Raise OSError when something did not, also what was written and closed long ago.

    Source: Linux syncfs(2).
    """
    import ctypes  # three times as long to load as all of this room, and seldom needed

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(file):
        fault = ctypes.get_errno()
        raise OSError(fault, os.strerror(fault))


def sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """One process at a time makes folders or removes them: the claim in one that is just being
    made is not locked yet, and the one in a folder that is going is not there any more."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(lock).st_mode & 0o777 != 0o600:  # the umask took something away
            os.fchmod(lock, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def try_lock(lock: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as fault:
        if fault.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def append_line(file: int, line: Mapping[str, object]) -> None:
    text = json.dumps(line).encode("ascii") + b"\n"
    os.lseek(file, 0, os.SEEK_END)
    while text:
        text = text[os.write(file, text) :]
    sync_file(file)
