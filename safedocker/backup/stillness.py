"""Is anybody writing? Who has to be still for a copy, and the grade that a copy gets by how they
were kept from writing. Who is stopped, and when, is take.py's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from safedocker.backup import ways
from safedocker.backup.manifest import Consistency
from safedocker.backup.ways import Stopped
from safedocker.errors import NoBackup
from safedocker.loss.facts import HELPER, Container, Volume
from safedocker.loss.plan import Kind, Loss


def consistency(
    loss: Loss, containers: Iterable[Container], stopped: tuple[Stopped, ...], kept: ways.Kept
) -> tuple[Consistency, str]:
    live = [
        one.name
        for one in users(loss.name, containers)
        if one.running and one.id not in {each.id for each in stopped}
    ]
    if live and kept.inventory is not None and kept.inventory.entries > 1:
        return Consistency.LIVE, f"{', '.join(live)} went on running with it"
    if live:
        return Consistency.COLD_CLEAN, f"it was empty, while {', '.join(live)} ran with it"
    ids = {one.id for one in users(loss.name, containers)}
    return how_still([one for one in stopped if one.id in ids], "no container was running with it")


def how_still(own: Sequence[Stopped], idle: str) -> tuple[Consistency, str]:
    """The grade of a copy by how those that could write were kept from it."""
    paused = [one.name for one in own if one.paused]
    if paused:
        return Consistency.PAUSED, f"paused: {', '.join(paused)}"
    if not own:
        return Consistency.COLD_CLEAN, idle
    how = ", ".join(f"{one.name} (exit code {one.exit_code})" for one in own)
    killed = [one.name for one in own if not one.clean]
    if killed:
        return Consistency.COLD_KILLED, f"stopped first: {how}; killed: {', '.join(killed)}"
    return Consistency.COLD_CLEAN, f"stopped first: {how}"


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
