"""What goes with containers that are removed: what they wrote outside their mounts, and their
anonymous volumes, which are removed too or left without a container. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from safedocker.loss import databases
from safedocker.loss.facts import ANONYMOUS, HELPER, Container, Facts, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Stays

# Databases that keep their data in memory, and save it when they are stopped; by image name.
IN_MEMORY = {
    "redis": "Redis",
    "redis-stack": "Redis",
    "redis-stack-server": "Redis",
    "valkey": "Valkey",
    "keydb": "KeyDB",
    "dragonfly": "Dragonfly",
}


def in_memory(image: str) -> str:
    """The database that an image's name promises, where it keeps its data in memory; else ""."""
    return IN_MEMORY.get(image.rpartition("/")[2].partition("@")[0].partition(":")[0], "")


@dataclass(frozen=True)
class Removed:
    """The containers a command removes: with their anonymous volumes, and without."""

    with_volumes: tuple[Container, ...] = ()
    without_volumes: tuple[Container, ...] = ()

    @property
    def all(self) -> tuple[Container, ...]:
        """Both, those removed with their volumes first."""
        return self.with_volumes + self.without_volumes


def self_removing(removed: Iterable[Container], also: Iterable[Container] = ()) -> Removed:
    """Containers that are stopped and then removed without their volumes, and `also` those: one
    that was started with --rm takes its anonymous volumes along, as it is gone by the stop."""
    every = (*removed, *also)
    ends = tuple(one for one in every if one.running and one.auto_remove)
    return Removed(ends, tuple(one for one in every if one not in ends))


@dataclass(frozen=True)
class Gone:
    """What their removal takes, what it leaves, and what could not be found out."""

    losses: tuple[Loss, ...]
    stays: tuple[Stays, ...]
    gaps: tuple[str, ...]


def gone_with(facts: Facts, removed: Removed, *, disposable: bool = False) -> Gone:
    """Given the containers that are removed, return each one's layer and anonymous volumes.

    A volume that no container which stays refers to goes with a container removed with its
    volumes; with one removed without them it is left behind, detached. `disposable`: they end,
    and were started with --rm.
    Source: moby daemon/mounts.go removeMountPoints, daemon/delete.go cleanupContainer.
    """
    layers = [
        Loss(
            Kind.LAYER,
            container.name,
            None,
            f"what {container.name} wrote outside its volumes",
            id=container.id,
            project=container.project,
            disposable=disposable,
            labels=container.labels,
            inherited=container.not_its_own,
            holds=Holds.EMPTY if container.state == "created" else Holds.UNKNOWN,
        )
        for container in removed.all
        if HELPER not in container.labels
    ]
    remaining = without(facts.containers, removed.all)
    losses: dict[str, Loss] = {}
    detached: dict[str, Loss] = {}
    stays: list[Stays] = []
    gaps: list[str] = []
    for container in removed.all:
        takes = container in removed.with_volumes
        if takes and not container.inspected and any(m.volume for m in container.mounts):
            gaps.append(f"container {container.name} could not be inspected")
        for mount in container.mounts:
            volume = facts.volumes.get(mount.volume)
            if volume is None or (mount.anonymous is False and not named_by_engine(volume.name)):
                continue
            users = users_of(mount.volume, remaining)
            why = f"anonymous volume of {container.name} at {mount.target}"
            if users:
                stays.append(Stays(mount.volume, f"anonymous, but in use by {names(users)}"))
                continue
            lost = volume_loss(volume, why, facts, anonymous=True)
            labels = {**container.labels, **volume.labels}
            lost = replace(
                lost,
                image=container.image,
                target=mount.target,
                labels=labels,
                inherited=container.not_its_own - volume.labels.keys(),
                beside=_beside(container, facts),
            )
            if takes and mount.anonymous is not False and mount.held:
                losses[volume.name] = replace(lost, disposable=disposable)
            else:
                detached[volume.name] = replace(lost, kind=Kind.DETACHED_VOLUME)
    left = [loss for name, loss in detached.items() if name not in losses]
    return Gone((*layers, *losses.values(), *left), tuple(stays), tuple(gaps))


def _beside(container: Container, facts: Facts) -> tuple[Volume, ...]:
    """The named volumes of a database's container: it was meant to keep its data in one of them."""
    if databases.of_image(container.image) is None:
        return ()
    return tuple(
        facts.volumes[mount.volume]
        for mount in container.mounts
        if mount.volume in facts.volumes
        and mount.anonymous is False
        and not named_by_engine(mount.volume)
    )


def named_by_engine(volume: str) -> bool:
    """Did nobody give a volume this name? Compose mounts one that it hands on to the next container
    by it; then a removal with volumes spares it, and nobody knows it by that name either."""
    return re.fullmatch("[0-9a-f]{64}", volume) is not None


def volume_loss(volume: Volume, why: str, facts: Facts, *, anonymous: bool | None = None) -> Loss:
    """A volume that goes; `anonymous` None: its label tells."""
    if anonymous is None:
        anonymous = ANONYMOUS in volume.labels
    users = users_of(volume.name, facts.containers, held=False)
    return Loss(
        kind=Kind.ANONYMOUS_VOLUME if anonymous else Kind.NAMED_VOLUME,
        name=volume.name,
        volume=volume,
        why=why,
        used_by=tuple(c.name for c in users),
        project=volume.project,
        labels=volume.labels,
        in_memory=next((held for c in users if c.running and (held := in_memory(c.image))), ""),
        holds=Holds.ELSEWHERE if volume.elsewhere else Holds.UNKNOWN,
    )


def users_of(
    volume: str, containers: Iterable[Container], *, held: bool = True
) -> tuple[Container, ...]:
    """The containers, running or not, that mount the volume, and keep it from going unless `held`
    is False. A helper of another run of ours is gone in a moment, so it keeps nothing alive."""
    return tuple(
        c
        for c in containers
        if HELPER not in c.labels
        and any(m.volume == volume and (m.held or not held) for m in c.mounts)
    )


def without(containers: Iterable[Container], removed: Iterable[Container]) -> tuple[Container, ...]:
    """The containers that stay."""
    gone = {container.id for container in removed}
    return tuple(c for c in containers if c.id not in gone)


def names(containers: Iterable[Container]) -> str:
    """Their names, for a sentence."""
    return ", ".join(container.name for container in containers)


def named_mounts(containers: Iterable[Container]) -> list[Stays]:
    """The named volumes of containers that are removed with their anonymous ones."""
    return [
        Stays(mount.volume, f"a named volume of {container.name}: -v takes anonymous ones only")
        for container in containers
        for mount in container.mounts
        if mount.volume and mount.anonymous is False
    ]


def bind_mounts(containers: Iterable[Container]) -> list[Stays]:
    """The folders of the host that containers which are removed mount."""
    return [
        Stays(mount.source, f"bind mount of {container.name}: a folder of the host")
        for container in containers
        for mount in container.mounts
        if mount.kind == "bind"
    ]
