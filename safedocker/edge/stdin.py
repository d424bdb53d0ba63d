"""What stdin would answer to a question of the real client's own. Nothing is taken from it: the
client reads the same bytes afterwards."""

from __future__ import annotations

import enum
import errno
import os
import re
import select
import stat
import sys
import time

PATIENCE = 0.2  # seconds that a pipe's writer has for its first lines
_WINDOW = 1 << 16  # bytes looked at; a pipe holds no more
_TICK = 0.005  # seconds
_NONBLOCK = 2  # SPLICE_F_NONBLOCK, linux/splice.h

# What each client takes for a yes, in lower case; all else, and nothing at all, is a no. Tried on
# docker 20.10, 26.1, 28.5, Compose 1.29, 2.26, 2.40. docker/cli cli/command/utils.go
# PromptForConfirmation; compose cli/utils.py yesno; docker/compose pkg/utils StringToBool.
DOCKER_YES = frozenset(("y",))
COMPOSE_V1_YES = frozenset(("y", "yes"))
COMPOSE_YES = frozenset(("y", "t", "true", "1"))


def yes(path: tuple[str, ...], compose: tuple[int, ...] | None) -> frozenset[str]:
    """What the client of a command takes for a yes, given Compose's version; None: any Compose."""
    if path[0] != "compose":
        return DOCKER_YES
    if compose is None:
        return COMPOSE_V1_YES | COMPOSE_YES
    return COMPOSE_V1_YES if compose[0] == 1 else COMPOSE_YES


class Says(enum.Enum):
    """What stdin answers."""

    YES = "yes"
    NO = "no"  # the one word that lets a command through, so it is said only when it is certain
    PERHAPS = "perhaps"  # a terminal; or it can't be told


def says(yes: frozenset[str], questions: int = 1) -> Says:
    """Given what the client takes for a yes, return what stdin answers to all of its questions.

    One line answers each, and YES and NO hold for every one of them. Waits up to PATIENCE for a
    pipe's writer.
    """
    seen, ended = _peek(questions)
    if seen is None:
        return Says.PERHAPS
    lines = seen.split(b"\n")
    last = lines.pop()
    if ended:
        lines += [last] + [b""] * questions  # at the end every question is answered by nothing
    if len(lines) < questions:
        return Says.PERHAPS
    answers = {_one(line, yes) for line in lines[:questions]}
    return answers.pop() if len(answers) == 1 else Says.PERHAPS


def _one(line: bytes, yes: frozenset[str]) -> Says:
    """Clients trim in ways of their own, or read the first word alone: only what is a no in all
    of these is one."""
    if line.decode("latin-1").strip(" \r\t").lower() in yes:
        return Says.YES
    words = re.findall(rb"[0-9A-Za-z]+", line)
    return Says.PERHAPS if words and words[0].decode().lower() in yes else Says.NO


def _peek(lines: int) -> tuple[bytes | None, bool]:
    """Return what stands first in stdin, None where that can't be seen, and whether it ends there.

    Complete as far as it goes: so many lines, or up to the end, or all that came in time.
    """
    try:
        status = os.fstat(0)
    except OSError:
        return b"", True  # closed
    if stat.S_ISREG(status.st_mode):
        try:
            seen = os.pread(0, _WINDOW, os.lseek(0, 0, os.SEEK_CUR))
        except OSError:
            return None, False  # opened for writing alone
        return seen, len(seen) < _WINDOW
    if stat.S_ISCHR(status.st_mode):
        nothing = os.path.exists(os.devnull) and os.stat(os.devnull).st_rdev == status.st_rdev
        return (b"", True) if nothing else (None, False)
    if stat.S_ISFIFO(status.st_mode) and sys.platform == "linux":
        return _peek_pipe(lines)
    hung_up, waiting = _poll()
    return (b"", True) if hung_up and not waiting else (None, False)


def _poll() -> tuple[bool, bool]:
    """Is nobody left who writes, and is there something to read?"""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    events = dict(poll.poll(0)).get(0, 0)
    return bool(events & select.POLLHUP), bool(events & select.POLLIN)


def _peek_pipe(lines: int) -> tuple[bytes | None, bool]:
    deadline = time.monotonic() + PATIENCE
    while True:
        hung_up, _waiting = _poll()  # first: what is there after that is all there will be
        seen = _copy()
        if seen is None:
            return None, False
        if hung_up or seen.count(b"\n") >= lines or time.monotonic() > deadline:
            return seen, hung_up and len(seen) == _waiting_bytes()
        time.sleep(_TICK)


def _waiting_bytes() -> int:
    """How much the pipe holds: a big one may hold more than can be copied."""
    import fcntl
    import struct
    import termios

    return int(struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))[0])


def _copy() -> bytes | None:
    """Return what the pipe holds and leave it there; None where the kernel can't copy a pipe."""
    import ctypes

    tee = getattr(ctypes.CDLL(None, use_errno=True), "tee", None)
    if tee is None:
        return None
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
        tee.restype = ctypes.c_ssize_t
        copied = tee(0, writing, _WINDOW, _NONBLOCK)
        if copied < 0:
            return b"" if ctypes.get_errno() == errno.EAGAIN else None
        return os.read(reading, _WINDOW) if copied else b""
    finally:
        os.close(reading)
        os.close(writing)
