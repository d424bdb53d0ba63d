"""Is anybody writing? Who has to be still for a copy, and the grade that a copy gets by how they
were kept from writing. Who is stopped, and when, is take.py's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from safedocker.backup import ways
from safedocker.backup.manifest import Consistency
from safedocker.backup.ways import Stopped
from safedocker.errors import Changed, NoBackup, NoWayRound
from safedocker.loss.facts import HELPER, Container, Volume
from safedocker.loss.plan import Kind, Loss

# Exit codes of who ended by no stop of its own: killed, crashed, or lost with the engine's machine.
# Source: Linux signal(7), 128 + SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV; moby daemon/daemon.go,
# restore.
_CUT_OFF = frozenset({134, 135, 136, 137, 139, 255})


def consistency(
    loss: Loss,
    containers: Iterable[Container],
    stopped: tuple[Stopped, ...],
    kept: ways.Kept,
    changed: str,
) -> tuple[Consistency, str]:
    """The grade of a volume's copy, and how it was reached. `changed` says what was seen to be
    written meanwhile; "" for nothing."""
    if changed:
        return Consistency.LIVE, changed
    live = [
        one.name
        for one in users(loss.name, containers)
        if one.running and one.id not in {each.id for each in stopped}
    ]
    if live and kept.inventory is not None and kept.inventory.entries > 1:
        return Consistency.LIVE, f"{', '.join(live)} went on running with it"
    if live:
        return Consistency.COLD_CLEAN, f"it was empty, while {', '.join(live)} ran with it"
    own = users(loss.name, containers)
    ids = {one.id for one in own}
    idle = "no container was running with it"
    return how_still([one for one in stopped if one.id in ids], idle, own)


def how_still(
    own: Sequence[Stopped], idle: str, having: Iterable[Container] = ()
) -> tuple[Consistency, str]:
    """The grade of a copy by how those that could write were kept from it. `having` are all that
    have it, as they were before: one that did not run may have been cut off, and nobody have
    cleaned up since. The worst grade counts, and all that was done is told."""
    paused = [one.name for one in own if one.paused]
    stopped = [one for one in own if not one.paused]
    killed = [one.name for one in stopped if not one.clean]
    before = [one for one in having if not one.running and one.exit_code in _CUT_OFF]
    told = [f"paused: {', '.join(paused)}"] if paused else []
    if stopped:
        told.append(f"stopped first: {_with_codes(stopped)}")
    if killed:
        told.append(f"killed: {', '.join(killed)}")
    if before:
        told += [] if own else [idle]
        told.append(f"cut off before: {_with_codes(before)}")
    if paused:
        return Consistency.PAUSED, "; ".join(told)
    if killed or before:
        return Consistency.COLD_KILLED, "; ".join(told)
    return Consistency.COLD_CLEAN, "; ".join(told) or idle


def _with_codes(ended: Iterable[Stopped | Container]) -> str:
    return ", ".join(f"{one.name} (exit code {one.exit_code})" for one in ended)


def users(volume: str, containers: Iterable[Container]) -> tuple[Container, ...]:
    """Return the containers, in any state, that mount a volume; our own helpers do not count."""
    return tuple(
        one
        for one in containers
        if HELPER not in one.labels and any(mount.volume == volume for mount in one.mounts)
    )


def check_there(losses: Iterable[Loss], volumes: Mapping[str, Volume]) -> None:
    for loss in losses:
        if loss.name not in volumes:
            raise NoBackup(
                f"the volume {loss.name} is gone meanwhile: nothing was removed by safedocker",
                "type the command again to see what it takes now",
            )


def written_to(loss: Loss, fault: Changed) -> NoBackup:
    """The fault of a volume that somebody writes to, where no container does."""
    root = loss.volume.data_directory if loss.volume else None
    who = f": sudo lsof +D {root}/volumes/{loss.name}/_data" if root else ""
    return NoBackup(
        f"in the volume {loss.name}, {fault.message}, twice, and by no container: nothing was "
        "removed",
        f"stop what writes to it on the engine's own machine{who}\n"
        "or have it moved aside instead of copied: SAFEDOCKER_PROTECT=move",
    )


def not_to_be_copied(loss: Loss, fault: NoWayRound) -> NoBackup:
    """The fault of a volume that no way of reading gives as it is."""
    return NoBackup(
        f"the volume {loss.name} can't be copied: {fault.message}: nothing was removed",
        f"{fault.hint}\nor have it moved aside as it is: SAFEDOCKER_PROTECT=move",
    )


def check_cold(losses: Iterable[Loss], running: Sequence[Container]) -> None:
    for loss in losses:
        live = users(loss.name, running)
        if loss.kind is Kind.LAYER:
            live = tuple(one for one in running if one.id == loss.id)
        if live:
            names = " ".join(one.name for one in live)
            what = f"with the volume {loss.name}" if loss.kind.is_volume else "still"
            raise NoBackup(
                f"{', '.join(one.name for one in live)} runs {what}, and a "
                "copy of data in use may be torn: nothing was removed",
                f"stop it first: docker stop {names}",
            )
