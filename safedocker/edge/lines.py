"""Files of JSON lines that many processes write at once: a line is appended whole, a file that has
grown goes on under the next number, and none is ever removed. Hot."""

from __future__ import annotations

import os

from safedocker.command.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FULL = 8 << 20  # bytes after which a new file is begun


def append(path: str, text: str, *, shared: bool = False, full: int = FULL) -> None:
    """Append one line, in one write; past `full` bytes the file becomes `path.N`, the next number.
    `shared`: it lies where others make files too, and is for them to read. Raise OSError.

    What a full disk cut short is ended first, so that it takes no whole line with it.
    """
    import errno
    import stat

    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    flags |= os.O_NOFOLLOW if shared else 0
    mode = 0o644 if shared else 0o600
    descriptor = os.open(path, flags, mode)
    try:
        state = os.fstat(descriptor)
        if shared and (state.st_uid != os.getuid() or not stat.S_ISREG(state.st_mode)):
            raise OSError(errno.EPERM, "it is somebody else's")
        if shared and state.st_mode & 0o777 != mode:  # the umask took something away
            os.fchmod(descriptor, mode)
        size = state.st_size
        begun = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if begun else b"") + text.encode("ascii") + b"\n"
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what is left of it is no line
        if size + len(data) >= full:
            _rotate(descriptor, path)
    finally:
        os.close(descriptor)


def _rotate(descriptor: int, path: str) -> None:
    """Give the file the next number. One process does it; who has it open writes into it still."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            numbers = [number for number, _ in _numbered(path)]
            os.rename(path, f"{path}.{max(numbers, default=0) + 1}")
    except OSError:
        return  # another does it, or the next line will


def _numbered(path: str) -> list[tuple[int, str]]:
    folder, name = os.path.split(path)
    found = []
    for other in os.listdir(folder or "."):
        number = other.removeprefix(f"{name}.")
        if number != other and number.isascii() and number.isdecimal():
            found.append((int(number), os.path.join(folder, other)))
    return sorted(found)


def files(path: str) -> list[str]:
    """The files that a path has become, the oldest first, and at last the path itself."""
    try:
        return [*(other for _, other in _numbered(path)), path]
    except OSError:
        return [path]


def read(
    path: str, *, owner: int | None = None, last: int | None = None
) -> Iterator[dict[str, Any]]:
    """Every line that can be read, the oldest first; what can't is passed over. `owner`: only of
    files that are this uid's. `last`: of that many bytes at the end."""
    import json
    import stat

    chosen = files(path)
    kept: list[tuple[str, int]] = []  # a file, and where to begin
    for file in reversed(chosen):
        try:
            size = os.stat(file).st_size
        except OSError:
            continue
        start = 0 if last is None else max(0, size - last)
        kept.insert(0, (file, start))
        if last is not None:
            last -= size
            if last <= 0:
                break
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if owner is not None else 0)

    def opener(name: str, _flags: int) -> int:
        return os.open(name, flags)

    for file, start in kept:
        try:
            opened = open(file, "rb", opener=opener)  # noqa: SIM115 - closed below
        except OSError:
            continue
        with opened:
            state = os.fstat(opened.fileno())
            if not stat.S_ISREG(state.st_mode) or owner not in {None, state.st_uid}:
                continue
            opened.seek(start)
            for line in opened:
                try:
                    told = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(told, dict):
                    yield told
