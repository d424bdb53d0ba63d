"""Puts right what a run left half done when it was killed, or a command when it failed: what was
moved aside goes back into volumes that are still there, and what was stopped runs again."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from safedocker.backup import aside, restores
from safedocker.backup.aside import HasMover
from safedocker.backup.manifest import Backup, StoppedContainer
from safedocker.backup.restores import Restore
from safedocker.backup.store import Abandoned, FolderStore
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Container, EngineIdentity, Volume

TASKS_END = 60.0  # seconds that a swarm may take to end its tasks
_PAUSE = 0.5  # seconds between two looks


class Engine(HasMover, Protocol):
    """What it needs of an engine."""

    @property
    def identity(self) -> EngineIdentity: ...
    def snapshot(self) -> tuple[Mapping[str, Volume], tuple[Container, ...]]: ...
    def start(self, ids: tuple[str, ...], /) -> None: ...


def recover(found: Abandoned, engine: Engine, store: FolderStore) -> tuple[str, ...]:
    """Put right what one run left, where it is this engine's; return sentences for the person.

    Raise SafedockerError when it can't be: then nothing is forgotten, and it is tried again.
    """
    notes: tuple[str, ...] = ()
    backup = store.get(found.id) if found.whole else None
    here = _same_engine(backup, found, engine.identity)
    if not here:
        return ()
    if found.handed and backup is not None:
        age = datetime.datetime.now(datetime.UTC) - backup.taken_at
        if age.total_seconds() < TASKS_END and _any_paused(backup, engine):
            return ()  # a swarm may be about to end them
        return after_the_command(backup, engine, store)
    if found.moving and backup is not None:
        notes += _call_off(backup, engine, store)
    return notes + _as_they_are(found.stopped, engine)


def _same_engine(backup: Backup | None, found: Abandoned, here: EngineIdentity) -> bool:
    if backup is not None and backup.engine is not None:
        there = backup.engine
        return (there.id or there.host) == (here.id or here.host)
    return found.engine == here.name


def _call_off(backup: Backup, engine: Engine, store: FolderStore) -> tuple[str, ...]:
    """The command did not run: all is to be where it was, and the backup then holds nothing."""
    gone = [name for name, _place in backup.places if engine.volume(name) is None]
    back = _given_back(engine, ((n, place) for n, place in backup.places if n not in gone))
    left = [p.path for n, p in backup.places if aside.stands(engine, n, p).aside]
    if gone or left:  # somebody removed or changed the volume, and what it held stands aside
        store.settle(backup.id)
    else:
        aside.remove(engine, backup.places)
        store.delete(backup.id)
    notes = (f"moved back into {', '.join(back)}: what it held",) if back else ()
    return notes + tuple(f"left where it stands on the engine's host: {path}" for path in left)


def _given_back(engine: Engine, places: Iterable[tuple[str, aside.Place]]) -> list[str]:
    back = []
    for name, place in places:
        if aside.stands(engine, name, place).aside == place.inode:
            aside.give_back(engine, name, place)
            back.append(name)
    return back


def after_the_command(
    backup: Backup, engine: Engine, store: FolderStore, patience: float = 0.0
) -> tuple[str, ...]:
    """The command has ended: volumes that it did not remove get back what was moved aside, and
    containers that it did not remove run again.

    A swarm ends its tasks after `docker service rm` has: what is paused has so many seconds of
    `patience`, as it would go on writing what no copy holds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and _any_paused(backup, engine):
        time.sleep(_PAUSE)
    with store.hold(backup.id):
        back = aside.left_by_the_command(engine, backup.places)
        notes = _start_again(backup.stopped, engine)
        if back:
            known = restores.read(store, backup.id)
            told = [Restore(engine.identity.id, name, done=True) for name in back]
            restores.write(store, backup.id, (*known, *told))
        store.settle(backup.id)
    if back:
        notes = (
            f"the command did not remove {', '.join(back)}: what it held is in it again",
            *notes,
        )
    return notes


def _any_paused(backup: Backup, engine: Engine) -> bool:
    paused = {one.id for one in backup.stopped if one.paused}
    if not paused:
        return False
    _volumes, containers = engine.snapshot()
    return any(one.id in paused and one.state == "paused" for one in containers)


def _as_they_are(stopped: Iterable[StoppedContainer], engine: Engine) -> tuple[str, ...]:
    """Start those again that can be; of the others say what they are now."""
    _volumes, containers = engine.snapshot()
    states = {one.id: one.state for one in containers}
    # An engine that starts again ends what was paused, and that is no state to go on from.
    ended = [one for one in stopped if one.paused and states.get(one.id) == "exited"]
    told = tuple(
        f"{one.name}, which it had paused, has ended since; to start it: docker start {one.name}"
        for one in ended
    )
    if again := _start_again(stopped, engine):
        return again + told
    rest = [one.name for one in stopped if one.id in states and one not in ended]
    gone = [one.name for one in stopped if one.id not in states]
    if rest:
        told += (f"of what it had stopped runs again: {', '.join(rest)}",)
    if gone:
        told += (f"of what it had stopped is gone: {', '.join(gone)}",)
    return told


def _start_again(stopped: Iterable[StoppedContainer], engine: Engine) -> tuple[str, ...]:
    """Start those that are still there and as they were left."""
    _volumes, containers = engine.snapshot()
    states = {one.id: one.state for one in containers}
    down = [one for one in stopped if states.get(one.id) == ("paused" if one.paused else "exited")]
    if not down:
        return ()
    try:
        engine.start(tuple(one.id for one in down))
    except SafedockerError as fault:
        again = "; ".join(one.again for one in down)
        return (f"{fault.message}; to start again what it stopped: {again}",)
    return (f"started again: {', '.join(one.name for one in down)}",)
