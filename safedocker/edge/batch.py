"""One question at a time on a terminal, and answers that hold for a whole batch: for what the same
parent process starts after it. What an answer covers is policy's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from safedocker.edge import process, wording
from safedocker.policy.batch import Scope
from safedocker.policy.options import Answer


class Turn:
    """The right to draw and ask on the controlling terminal. A lock, which ends with its holder."""

    def __init__(self, state: Path) -> None:
        self._file = state / "asking" / f"{os.uname().nodename}-{_terminal_name()}.lock"
        self._held: int | None = None

    def take(self) -> bool:
        """Wait for it; return whether somebody else had it meanwhile.

        Ctrl-C while waiting raises KeyboardInterrupt, and what a signal's handler raises passes.
        """
        _to_foreground()
        if self.take_if_free():
            return False
        descriptor = self._open()
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        self._held = descriptor
        return True

    def take_if_free(self) -> bool:
        """Take it unless somebody has it; say whether it is ours."""
        if self._held is not None:
            return True
        descriptor = self._open()
        if descriptor is None:
            return True  # nothing can be kept there: questions may meet, nothing else happens
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held = descriptor
        return True

    def end(self) -> None:
        """Give it to the next."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _open(self) -> int | None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None


def _terminal_name() -> str:
    """The controlling terminal, named so that two processes at it say the same."""
    try:
        # Field 7, behind the name in brackets, which may hold blanks and brackets. proc(5).
        return Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[4].decode()
    except OSError:
        with contextlib.suppress(OSError):
            return os.ttyname(sys.stderr.fileno()).replace("/", "-")
    return "0"


def _to_foreground() -> None:
    """In the background, be stopped as the terminal would do, before the others have to wait."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if os.tcgetpgrp(descriptor) != os.getpgrp():
                os.killpg(0, signal.SIGTTOU)
        finally:
            os.close(descriptor)


class Parent(NamedTuple):
    """The process that starts a batch of commands, told from a later one of its number."""

    pid: int
    started: str
    command: str


def parent(command: str) -> Parent | None:
    """Given the parent's command line, return it if it starts commands in the person's stead.

    None for a shell that a person types into, which gives each job a process group of its own,
    and for a program that runs one command.
    """
    pid = os.getppid()
    try:
        same_job = os.getpgid(pid) == os.getpgrp()
    except OSError:
        return None
    started = process.started(pid)
    if not (same_job and started and wording.starts_many(command)) or os.getppid() != pid:
        return None
    return Parent(pid, started, command)


@dataclass(frozen=True)
class Given:
    """An answer for a batch, and what it was given to. No answer: it was ended by Ctrl-C."""

    answer: Answer | None
    scope: Scope
    at: float  # seconds since the epoch


def remember(state: Path, parent: Parent, given: Given) -> None:
    """Keep an answer for what the parent starts from now on. Where it can't be kept, the next
    question comes."""
    sweep(state)
    file = _file(state, parent)
    told = {
        "answer": given.answer.value if given.answer else None,
        "scope": asdict(given.scope) | {"stakes": sorted(given.scope.stakes)},
        "at": given.at,
    }
    draft = file.with_name(f"draft-{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as stream:
            json.dump(told, stream)
        draft.replace(file)


def recall(state: Path, parent: Parent, lasts: float) -> Given | None:
    """Return the answer that was given for the parent's batch in the last so many seconds."""
    sweep(state)
    try:
        told = json.loads(_file(state, parent).read_text(encoding="ascii"))
        scope = told["scope"]
        given = Given(
            None if told["answer"] is None else Answer(told["answer"]),
            Scope(
                scope["form"],
                scope["engine"],
                scope["directory"],
                scope["project"],
                frozenset(scope["stakes"]),
            ),
            float(told["at"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return given if 0 <= time.time() - given.at < lasts else None


def sweep(state: Path) -> None:
    """Forget the answers to batches whose parent is gone."""
    for file in _kept(state):
        pid, _, started = file.name.partition(".")
        if process.started(int(pid)) != started:
            with contextlib.suppress(OSError):
                file.unlink()


def _kept(state: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for file in (state / "batches").iterdir():
            if file.name.partition(".")[0].isdecimal():
                yield file


def _file(state: Path, parent: Parent) -> Path:
    return state / "batches" / f"{parent.pid}.{parent.started}"
