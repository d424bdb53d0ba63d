"""The walk's last step: what was backed up is handed to the command that now runs, or called off.

Volumes that are protected by moving are moved here, as the very last thing. A process that stays
behind sees how the command ends: volumes that it did not remove get back what was moved aside.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import safedocker
from safedocker.backup import aside, recover
from safedocker.edge import stamp
from safedocker.errors import NoBackup, SafedockerError

if TYPE_CHECKING:
    from safedocker.backup.store import Backup, FolderStore
    from safedocker.edge.engine import Engine
    from safedocker.edge.terminal import Terminal
    from safedocker.shim import Room

AFTER = "after-the-command"  # the command of our own that stays behind


def put_right(store: FolderStore, engine: Engine | None, terminal: Terminal) -> None:
    """Put right what killed runs left, in the store and in the engine, and tell of it."""
    if engine is not None:
        engine.sweep()
    for found in store.sweep(lambda mark: stamp.lives(mark) is not False and bool(mark)):
        notes: tuple[str, ...] = ()
        if engine is not None:
            try:
                notes = recover.recover(found, engine, store)
            except SafedockerError as fault:
                notes = (fault.message,)
        if notes or not found.handed:  # a command that did what it should is no news
            terminal.interrupted_backup(found, notes)


def hand_over(taken: tuple[Backup, ...], room: Room) -> None:
    """Move what is to be moved, and write down that the command runs from here on. Raise NoBackup
    when it can't be moved; then it is where it was."""
    for backup in reversed(_settled(taken, room)):
        if backup.places and room.engine is not None:
            room.store.note_moving(backup.id)
            aside.set_aside(room.engine, backup.places)
            room.terminal.moved(backup)
            if room.engine.mover.pulled:
                room.terminal.note(f"the engine pulled {room.engine.mover.pulled} for that")
        # Their journals are for the next run's message alone: one that can't be written stands in
        # nobody's way, unless it is to say that what was moved stays where it is.
        with contextlib.suppress(OSError) if not backup.places else contextlib.nullcontext():
            room.store.hand_over(backup.id)
        if backup.places or backup.stopped:
            _stay_behind(backup.id)


def _settled(taken: tuple[Backup, ...], room: Room) -> tuple[Backup, ...]:
    """The backups that there are to be of one command: a plan that grew was backed up more than
    once, and what a later one moves, the earlier ones don't. Of one that is left with nothing the
    last one takes over who was stopped for it, and it goes."""
    moved: set[str] = set()
    settled: list[Backup] = []
    for backup in reversed(taken):
        left = _without(backup, moved)
        moved |= {name for name, _place in left.places}
        try:
            if not left.parts:
                heir = replace(settled[0], stopped=backup.stopped + settled[0].stopped)
                room.store.amend(heir)
                settled[0] = heir
                _forget(backup, room)
                continue
            if left != backup:
                room.store.amend(left)
        except OSError as fault:
            raise NoBackup(
                f"the backup {backup.id} can't be changed: {fault.strerror}: nothing was removed",
                f"see that {room.store.where} can be written, and type the command again",
            ) from fault
        settled.append(left)
    return tuple(reversed(settled))


def _without(backup: Backup, moved: set[str]) -> Backup:
    """A backup without the volumes that a later one moves; a dump of theirs is of its own."""
    from safedocker.backup.manifest import Consistency
    from safedocker.backup.ways import DUMP_ONLY

    parts = []
    for part in backup.parts:
        if part.aside is None or part.name not in moved:
            parts.append(part)
        elif part.dumps:
            kept = ("its files: the next backup of the same command holds them",)
            dumped = replace(part, way=DUMP_ONLY, aside=None, size=None, not_kept=kept)
            by = ", ".join(dict.fromkeys(dump.tool for dump in part.dumps))
            parts.append(replace(dumped, consistency=Consistency.DUMPED, reached=f"by {by}"))
    return replace(backup, parts=tuple(parts))


def _forget(backup: Backup, room: Room) -> None:
    if room.engine is not None:
        with contextlib.suppress(SafedockerError):  # an empty folder stands in nobody's way
            aside.remove(room.engine, backup.places)
    room.store.delete(backup.id)


def call_off(taken: tuple[Backup, ...], room: Room) -> None:
    """The command does not run: what was stopped is started again, what was moved goes back.

    Where that fails, say what to type.
    """
    if room.engine is None:
        return
    stopped = [container for backup in taken for container in backup.stopped]
    try:
        for backup in reversed(taken):  # a volume of several was moved by the last
            if backup.places:
                aside.give_all_back(room.engine, backup.places)
        room.engine.start([container.id for container in stopped])
        for backup in taken:
            with contextlib.suppress(OSError):
                room.store.settle(backup.id)
            if backup.places:
                with contextlib.suppress(SafedockerError):  # it may be deleted already
                    room.store.delete(backup.id)
    except SafedockerError as fault:
        if stopped:
            again = "; ".join(container.again for container in stopped)
            room.terminal.note(f"stopped for the backup and not started again: {again}")
        room.terminal.note(fault.message)


def _stay_behind(id_: str) -> None:
    """Start what looks after the backup once this process, and what it becomes, has ended."""
    package = str(Path(safedocker.__file__).parents[1])
    program = (
        f"import sys; sys.path.insert(0, {package!r}); from safedocker.cli import main; main()"
    )
    subprocess.Popen(
        [sys.executable, "-I", "-c", program, AFTER, id_, stamp.make()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
