"""Which backups a rule of retention lets go. Nothing is deleted here, and nobody is asked."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from safedocker.backup import notes, restores
from safedocker.backup.manifest import Backup
from safedocker.backup.store import FolderStore

KEPT = "it is kept"
HALF_UNDONE = "an undo of it was interrupted"
PARTLY = "it is undone only in part, and left is"


@dataclass(frozen=True)
class Rule:
    """What may go: what is older, what is not among the last ones, what stands in the way of free
    room. Where several are given, what any of them lets go; but never one of the last ones."""

    older_than: datetime.timedelta | None = None
    keep_last: int | None = None
    free: int | None = None  # bytes that are to be free on the store's disk


@dataclass(frozen=True)
class Spared:
    """A backup that the rule would let go and that stays all the same."""

    backup: Backup
    why: str


@dataclass(frozen=True)
class Choice:
    """What goes, oldest first; what is spared; and whether that makes the room asked for."""

    going: tuple[Backup, ...]
    spared: tuple[Spared, ...]
    enough: bool = True

    @property
    def bytes(self) -> int:
        """What it frees."""
        return sum(backup.stored_bytes for backup in self.going)


def choose(
    store: FolderStore,
    rule: Rule,
    now: datetime.datetime,
    lives: Callable[[str], bool] = lambda _: False,
) -> Choice:
    """Apply a rule to what a store holds. `now` is UTC, `lives` tells a process by its stamp.

    The newest backup always stays. One that can't be read is no part of it.
    """
    newest_first = store.list().backups
    last = max(1, rule.keep_last or 0)
    going: list[Backup] = []
    spared: list[Spared] = []
    free = store.free_bytes()

    def let_go(backup: Backup) -> bool:
        why = reason_to_stay(store, backup, lives)
        if why:
            spared.append(Spared(backup, why))
        else:
            going.append(backup)
        return not why

    by_count = rule.keep_last is not None and rule.older_than is None and rule.free is None
    for_room: list[Backup] = []
    for backup in reversed(newest_first[last:]):
        old = rule.older_than is not None and now - backup.taken_at > rule.older_than
        if by_count or old:
            if let_go(backup) and free is not None:
                free += backup.stored_bytes
        else:
            for_room.append(backup)
    if rule.free is None or free is None:
        return Choice(tuple(going), tuple(spared))
    for backup in for_room:
        if free >= rule.free:
            break
        if backup.stored_bytes and let_go(backup):
            free += backup.stored_bytes
    return Choice(tuple(going), tuple(spared), enough=free >= rule.free)


def reason_to_stay(store: FolderStore, backup: Backup, lives: Callable[[str], bool]) -> str:
    """Why a backup is not let go, whatever its age; "" when there is no reason. `lives` tells a
    process by its stamp."""
    if notes.read(store, backup.id).kept:
        return KEPT
    undone = restores.how_far(backup, restores.read(store, backup.id))
    if undone.begun:
        return HALF_UNDONE
    if undone.any and undone.left:
        return f"{PARTLY}: {', '.join(part.name for part in undone.left)}"
    return "its command has not ended" if store.in_use(backup.id, lives) else ""


def last_copies(
    going: Iterable[Backup], staying: Iterable[Backup]
) -> tuple[tuple[Backup, str], ...]:
    """The volumes of which no backup would be left, each with the newest one that goes."""
    left = {held for backup in staying for held in _held(backup)}
    found: dict[tuple[str, str], Backup] = {}
    for backup in sorted(going, key=lambda one: one.taken_at):
        found |= {held: backup for held in _held(backup) if held not in left}
    return tuple((backup, name) for (_engine, name), backup in found.items())


def _held(backup: Backup) -> Iterable[tuple[str, str]]:
    engine = backup.engine.id if backup.engine else ""
    return [(engine, part.name) for part in backup.parts if part.inventory or part.aside]
