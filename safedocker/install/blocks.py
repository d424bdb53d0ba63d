"""A marked block of lines in a shell's start file: put in, replaced, taken out, and the file
written so that nothing else about it changes. Which files and which lines is shells.py's."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from safedocker.errors import SafedockerError

BEGIN = b"# >>> safedocker >>>"
END = b"# <<< safedocker <<<"
_BLOCK = re.compile(rb"^%b[^\n]*\n(?:.*\n)*?%b[^\n]*(?:\n|\Z)" % (BEGIN, END), re.MULTILINE)
_IN_PLACE = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS, errno.EXDEV}


def block(lines: str) -> bytes:
    """The block that holds these lines."""
    return b"%b\n%b%b\n" % (BEGIN, os.fsencode(lines), END)


def without(content: bytes, ours: Sequence[bytes] = ()) -> bytes:
    """A file's content without our blocks. Raise ValueError where one has no end.

    `ours` are the blocks that were written into it, the last one last: what somebody has added
    between the lines of one of them stays.
    """
    rest = _BLOCK.sub(lambda found: added(found[0], ours), content)
    if re.search(rb"^(%b|%b)" % (BEGIN, END), rest, re.MULTILINE):
        raise ValueError("a block of safedocker's has lost its first or its last line")
    return rest


def with_blocks(content: bytes, made: bytes, ours: Sequence[bytes] = (), *, on_top: bool) -> bytes:
    """A file's content with the block at its end, and `on_top` also before all else.

    A block that is there already is replaced where it stands, as long as their number is right,
    and what was added to it stands behind it. `ours` and ValueError are as for `without`.
    """
    rest = without(content, ours)
    if len(_BLOCK.findall(content)) == 1 + on_top:
        return _BLOCK.sub(lambda found: made + added(found[0], ours), content)
    open_line = b"\n" if rest and not rest.endswith(b"\n") else b""
    return (made if on_top else b"") + rest + open_line + made


def added(found: bytes, ours: Sequence[bytes]) -> bytes:
    """The lines of a block that are in none that was written: as long as all of one that was are
    still there, in their order. Else somebody has changed ours, and nobody's line stands alone."""
    lines = found.splitlines(keepends=True)
    for block in reversed(ours):
        left = [line.rstrip() for line in block.splitlines()]
        more = []
        for line in lines:
            if left and line.rstrip() == left[0]:
                left.pop(0)
            else:
                more.append(line)
        if not left:
            return b"".join(more)
    return b""


def blocks_in(content: bytes) -> list[bytes]:
    """Our blocks, in their order."""
    return [found[0] for found in _BLOCK.finditer(content)]


def read(file: Path) -> bytes | None:
    """What is in a start file, through links; None where there is none. Raise SafedockerError."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise SafedockerError(
            f"{file} can't be read: {fault.strerror}; nothing was written",
            "make it readable, or put the shims on PATH yourself: safedocker install --shims DIR",
        ) from fault


def can_write(file: Path) -> bool:
    """Could this user write the file, or make it?"""
    target = Path(os.path.realpath(file))
    if target.exists():
        return target.is_file() and os.access(target, os.W_OK)
    while not target.parent.exists():
        target = target.parent
    return target.parent.is_dir() and os.access(target.parent, os.W_OK | os.X_OK)


def write(file: Path, content: bytes) -> None:
    """Replace a start file's content. Raise OSError.

    A link stays a link; mode, owner and extended attributes stay; a file of several names stays
    one. Where a file beside it can't be made, or renamed over it, it is written in its place.
    """
    target = Path(os.path.realpath(file))
    try:
        status = target.stat()
    except FileNotFoundError:
        with _beside(target) as draft:
            _fill(draft, content, os.O_CREAT | os.O_EXCL)
            draft.replace(target)
        return
    if status.st_nlink == 1:
        try:
            with _beside(target) as draft:
                _fill(draft, content, os.O_CREAT | os.O_EXCL)
                shutil.copystat(target, draft)
                own = draft.stat()
                if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
                    os.chown(draft, status.st_uid, status.st_gid)
                    draft.chmod(status.st_mode & 0o7777)  # a new owner takes setuid off
                os.utime(draft)
                draft.replace(target)
        except OSError as fault:
            if fault.errno not in _IN_PLACE:
                raise
        else:
            return
    _fill(target, content, os.O_TRUNC)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name beside a file's, and nothing left of it in the end."""
    draft = target.with_name(f".{target.name}.safedocker-{os.getpid()}")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _fill(file: Path, content: bytes, flags: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | flags, 0o666)
    with open(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)
