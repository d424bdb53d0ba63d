"""Who rests while a volume is copied on an ordinary day, and that they go on in every case: when
the copy fails, on Ctrl-C; and after a kill -9 the journal tells the next run who rests still.

What is copied, and where to, is not decided here.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from safedocker.backup import stillness
from safedocker.backup.manifest import Backup, Consistency, StoppedContainer
from safedocker.backup.store import Claim, Draft, FolderStore
from safedocker.backup.take import Calm, Progress, Stage
from safedocker.backup.ways import Engine
from safedocker.errors import Interrupted, NoBackup, SafedockerError
from safedocker.loss.facts import TASK, Container, Volume
from safedocker.loss.plan import Kind, Loss


class Rest(enum.Enum):
    """What is done about the running containers that use a volume. There is no live copy."""

    PAUSE = "pause"  # frozen while it is copied
    STOP = "stop"  # stopped, and started again
    REFUSE = "refuse"


class StillResting(SafedockerError):  # noqa: N818 - named for what it is, as errors.py does
    """Containers that rested for a copy could not be made to go on."""


@dataclass(frozen=True)
class Still:
    """The grade of a copy that is made now, and how it was reached."""

    consistency: Consistency
    reached: str


@contextlib.contextmanager
def journal(store: FolderStore, claim: Claim) -> Iterator[Draft]:
    """A draft that becomes no backup: it tells the next run what a killed one left. It stays where
    containers rest still."""
    draft = store.begin(claim)
    try:
        yield draft
    except StillResting:
        draft.abandon()
        raise
    except BaseException:
        with contextlib.suppress(OSError):  # the next sweep removes what is left
            draft.discard()
        raise
    with contextlib.suppress(OSError):
        draft.discard()


def calm(names: Iterable[str], containers: Sequence[Container], rest: Rest, engine: Engine) -> Calm:
    """Who is to rest so that the volumes can be copied. Who would be gone once stopped, started
    with --rm or run by a swarm, is paused where the others are stopped."""
    wanted = set(names)
    running = [
        one
        for one in containers
        if one.running and any(one in stillness.users(name, [one]) for name in wanted)
    ]
    ids = tuple(one.id for one in running)
    match rest:
        case Rest.REFUSE:
            return Calm()
        case Rest.PAUSE:
            return Calm(pause=ids)
        case Rest.STOP:
            pause = tuple(one.id for one in running if _only_pauses(one, engine))
            return Calm(stop=tuple(id_ for id_ in ids if id_ not in pause), pause=pause)
        case _:
            return assert_never(rest)


def _only_pauses(one: Container, engine: Engine) -> bool:
    return one.state == "paused" or TASK in one.labels or bool(engine.inspect(one).auto_remove)


@contextlib.contextmanager
def at_rest(
    volume: Volume, rest: Rest, engine: Engine, draft: Draft, progress: Progress
) -> Iterator[Still]:
    """Nobody writes to a volume inside the block. Raise NoBackup where that can't be had, or
    somebody did; StillResting when they can't be made to go on."""
    _volumes, containers = engine.snapshot()
    who = calm((volume.name,), containers, rest, engine)
    running = [one for one in containers if one.running]
    _check(volume, [one for one in running if one.id not in {*who.stop, *who.pause}])
    resting = tuple(
        StoppedContainer(one.id, one.name, paused=one.id in who.pause)
        for one in sorted(running, key=lambda one: one.created)
        if one.id in who.stop or (one.id in who.pause and one.state != "paused")
    )
    try:
        if resting:
            progress(Stage.STOP, ", ".join(one.name for one in resting), 0, None)
            draft.note_stopping(engine.identity.name, resting)
        stopped = engine.pause(who.pause) + engine.stop(who.stop)
        before = _look(volume, who, engine)
        idle, having = "no container was running with it", stillness.users(volume.name, containers)
        consistency, reached = stillness.how_still(stopped, idle, having)
        yield Still(consistency, reached)
        if _look(volume, who, engine) != before:
            raise NoBackup(
                f"the volume {volume.name} was replaced while it was being copied: nothing was "
                "removed",
                "type the command again",
            )
    finally:
        if resting:
            wake(resting, engine)
            with contextlib.suppress(OSError):
                draft.note_started()


def _look(volume: Volume, who: Calm, engine: Engine) -> Volume:
    """The volume as it is defined now. Raise NoBackup when anybody runs with it who does not rest.

    Only between two of these may created_at be compared: see take.py.
    """
    volumes, containers = engine.snapshot()
    loss = Loss(Kind.NAMED_VOLUME, volume.name, volume, "copied")
    stillness.check_there((loss,), volumes)
    paused = {one.id for one in containers if one.state == "paused"} & {*who.pause}
    _check(volume, [one for one in containers if one.running and one.id not in paused])
    return volumes[volume.name]


def _check(volume: Volume, running: Sequence[Container]) -> None:
    stillness.check_cold((Loss(Kind.NAMED_VOLUME, volume.name, volume, "copied"),), running)


def wake(resting: Sequence[StoppedContainer], engine: Engine) -> None:
    """Have those that rested go on. A Ctrl-C meanwhile does not keep them from it."""
    ids = tuple(one.id for one in resting)
    try:
        try:
            engine.start(ids)
        except (KeyboardInterrupt, Interrupted):
            engine.start(ids)
            raise
    except Interrupted:
        raise
    except SafedockerError as fault:
        raise StillResting(
            f"containers that rested for the copy do not run again: {fault.message}",
            f"to start them: {'; '.join(one.again for one in resting)}",
        ) from fault


def wake_after(backup: Backup, engine: Engine, store: FolderStore) -> None:
    """Have those that rested for a backup go on, and let its journal say so."""
    if not backup.stopped:
        return
    try:
        wake(tuple(reversed(backup.stopped)), engine)  # the oldest first: others depend on it
    except StillResting as fault:
        raise StillResting(
            f"the backup {backup.id} is whole, but {fault.message}", fault.hint
        ) from fault
    with contextlib.suppress(OSError):
        store.settle(backup.id)
