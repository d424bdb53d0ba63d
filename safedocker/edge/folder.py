"""A folder of this machine that a container mounts: how much it holds, whose it is, and whether a
database is in it."""

from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import dataclass, field

from safedocker.edge import look
from safedocker.loss.facts import Holds, Look, Owner


@dataclass
class _Seen:
    """What a walk saw so far."""

    tally: look.Tally = field(default_factory=look.Tally)
    owner: Owner | None = None
    recognised: str = ""
    ended: bool = False


def look_into(path: str, seconds: float) -> Look:
    """Look into a folder, or at a file, within `seconds`. A path that is not there, or that hangs,
    is unknown. Other file systems that are mounted below it are left out."""
    seen = _Seen()
    worker = threading.Thread(
        target=_walk, args=(path, seen, time.monotonic() + seconds), daemon=True
    )
    worker.start()  # a network file system may never answer: nobody waits for it past the end
    worker.join(seconds * 1.2)
    tally, whole = seen.tally, seen.ended and seen.tally.whole
    content = look.content(tally, seen.recognised) if seen.ended else ""
    holds = Holds.DATA if tally.entries else Holds.EMPTY if whole else Holds.UNKNOWN
    size = tally.size if whole else None
    return Look(holds, size, tally.size, content, tally.last_write, seen.owner)


def _walk(path: str, seen: _Seen, end: float) -> None:
    try:
        root = os.stat(path)
        seen.owner = Owner(root.st_uid, root.st_gid, stat.S_IMODE(root.st_mode))
        if stat.S_ISDIR(root.st_mode):
            seen.tally.root = root.st_mtime
            seen.tally.whole = _walk_below(path, root.st_dev, seen.tally, end)
            seen.recognised = _recognised(path)
        else:
            _count(path, seen.tally)
            seen.tally.whole = True
    except (OSError, RecursionError):  # os.walk goes no deeper than 1000 before Python 3.12
        return
    finally:
        seen.ended = True


def _walk_below(path: str, device: int, tally: look.Tally, end: float) -> bool:
    """Count what is below a folder. Was all of it seen?"""
    missed: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=missed.append):
        tally.entries += len(folders)
        for name in files:
            _count(os.path.join(folder, name), tally)
            if time.monotonic() > end:
                return False
        folders[:] = [one for one in folders if _device(os.path.join(folder, one)) == device]
    return not missed


def _device(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return None


def _count(path: str, tally: look.Tally) -> None:
    try:
        found = os.lstat(path)
    except OSError:
        return
    tally.entries += 1
    if not stat.S_ISREG(found.st_mode):
        return
    tally.size += found.st_size
    tally.newest = max(tally.newest or 0.0, found.st_mtime)
    if not tally.sqlite and found.st_size > len(look.SQLITE):
        tally.sqlite = _head(path, len(look.SQLITE)) == look.SQLITE


def _recognised(root: str) -> str:
    return look.recognise(
        lambda path: os.path.lexists(os.path.join(root, path)),
        lambda path: _head(os.path.join(root, path), look.HEAD),
    )


def _head(path: str, count: int) -> bytes:
    try:
        # A pipe would block, and a device may do anything.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(count) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""
