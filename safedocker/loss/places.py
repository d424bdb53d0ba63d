"""The places that containers write to, and which of them a command that removes leaves. Pure.

What a prune or a removal takes is prune.py's and removal.py's; here it is asked for each place.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from safedocker.command.parse import parse
from safedocker.errors import WouldFail
from safedocker.loss import prune, removal
from safedocker.loss.compose import first_generation, one_off
from safedocker.loss.facts import (
    ANONYMOUS,
    COMPOSE_PROJECT,
    HELPER,
    Container,
    Facts,
    Mount,
    Volume,
)
from safedocker.loss.plan import Kind, Plan
from safedocker.loss.removal import Gone, Removed


class Sort(enum.Enum):
    """What sort of place it is."""

    NAMED = "named volume"
    ANONYMOUS = "anonymous volume"
    BIND = "bind mount"
    TMPFS = "tmpfs"
    LAYER = "writable layer"
    OTHER = "other mount"  # an image, a named pipe, a cluster's volume


class Ending(enum.Enum):
    """A command that removes, as it is typed."""

    RM = "rm"
    RM_VOLUMES = "rm -v"
    DOWN = "down"
    DOWN_VOLUMES = "down -v"
    VOLUME_PRUNE = "volume prune"
    VOLUME_PRUNE_ALL = "volume prune -a"
    SYSTEM_PRUNE = "system prune"
    SYSTEM_PRUNE_VOLUMES = "system prune --volumes"


DOWNS = (Ending.DOWN, Ending.DOWN_VOLUMES)
_VOLUME_PRUNES = (Ending.VOLUME_PRUNE, Ending.VOLUME_PRUNE_ALL)
PRUNES = (*_VOLUME_PRUNES, Ending.SYSTEM_PRUNE, Ending.SYSTEM_PRUNE_VOLUMES)


class Fate(enum.Enum):
    """What such a command does with a place."""

    STAYS = "stays"
    LEFT = "left behind"  # it stays, and no container refers to it
    GOES = "goes"
    UNKNOWN = "unknown"  # it hangs on what was not asked: a Compose file, a container's definition


@dataclass(frozen=True)
class Taken:
    """What one command would take from an engine as it stands."""

    containers: frozenset[str] = frozenset()  # ids
    volumes: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()  # volumes that stay without a container
    unsure: frozenset[str] = frozenset()  # volumes among those taken that may stay


@dataclass(frozen=True)
class Place:
    """Where data lies: a mount of a container, what it wrote beside its mounts, or a volume that no
    container has (`container` is None then)."""

    sort: Sort
    source: str  # the volume's name, or the host's path; "" for a layer or a tmpfs
    target: str  # in the container; "/" for its layer, "" without a container
    container: Container | None
    volume: Volume | None = None
    read_only: bool = False
    limit: int | None = None  # bytes that a tmpfs may hold
    certain: bool = True  # False: the container was not inspected, so its volumes' sort is a guess

    @property
    def driver(self) -> str:
        """The volume's driver; "" for what is none."""
        return self.volume.driver if self.volume else ""


def of_container(container: Container, volumes: Mapping[str, Volume]) -> tuple[Place, ...]:
    """Every place that a container writes to: its mounts by target, then its layer."""
    mounts = sorted(container.mounts, key=lambda mount: mount.target)
    layer = Place(Sort.LAYER, "", "/", container)
    return (*(_mounted(container, mount, volumes) for mount in mounts), layer)


def _mounted(container: Container, mount: Mount, volumes: Mapping[str, Volume]) -> Place:
    kinds = {"bind": Sort.BIND, "tmpfs": Sort.TMPFS}
    sort, volume = kinds.get(mount.kind, Sort.OTHER), volumes.get(mount.volume)
    if mount.volume:
        anonymous = mount.anonymous
        if anonymous is None or removal.named_by_engine(mount.volume):
            # Compose hands an anonymous volume on to the next container by its name.
            anonymous = removal.named_by_engine(mount.volume) or is_anonymous(volume)
        sort = Sort.ANONYMOUS if anonymous else Sort.NAMED
    return Place(
        sort,
        mount.volume or mount.source,
        mount.target,
        container,
        volume,
        mount.read_only,
        mount.limit,
        certain=not mount.volume or mount.anonymous is not None,
    )


def is_anonymous(volume: Volume | None) -> bool:
    """Did nobody name the volume?"""
    return volume is not None and (
        ANONYMOUS in volume.labels or removal.named_by_engine(volume.name)
    )


def unused(facts: Facts) -> tuple[Place, ...]:
    """The volumes that no container has, running or not, by name."""
    used = {m.volume for c in facts.containers if HELPER not in c.labels for m in c.mounts}
    return tuple(
        Place(Sort.ANONYMOUS if is_anonymous(volume) else Sort.NAMED, name, "", None, volume)
        for name, volume in sorted(facts.volumes.items())
        if name not in used and HELPER not in volume.labels
    )


class Endings:
    """What each command would take, reckoned once for an engine as it stands.

    A container counts as stopped first where the command is about it; a prune takes what is stopped
    now. `down` is that of the whole project: as `told`, by what Compose made of its files, or else
    reckoned by labels, as `docker compose -p PROJECT down` works.
    """

    def __init__(
        self, facts: Facts, told: Mapping[tuple[Ending, str], Taken] | None = None
    ) -> None:
        self._facts = facts
        self._told = told or {}
        self._users: dict[str, list[Container]] = {}
        for container in facts.containers:
            for volume in {mount.volume for mount in container.mounts if mount.volume}:
                self._users.setdefault(volume, []).append(container)
        self._prunes = {ending: _pruned(ending, facts) for ending in PRUNES}
        self._known: dict[tuple[Ending, str], Taken] = {}

    def fates(self, place: Place) -> dict[Ending, Fate]:
        """What becomes of a place; without the commands that can't be about it."""
        return {
            ending: fate for ending in Ending if (fate := self._fate(place, ending)) is not None
        }

    def taken(self, ending: Ending) -> Taken:
        """What a prune takes."""
        return self._prunes[ending]

    def _fate(self, place: Place, ending: Ending) -> Fate | None:
        container = place.container
        told = self._told.get((ending, _project(place)))
        if ending in PRUNES:
            taken = self._prunes[ending]
        elif told is not None:
            taken = told
        elif container is None:
            return None
        elif ending in {Ending.RM, Ending.RM_VOLUMES}:
            taken = self._once(ending, container.id, (container,))
        elif container.project is None:
            return None
        else:
            taken = self._once(ending, container.project, self._down(container.project))
            if ending is Ending.DOWN_VOLUMES and place.sort is Sort.NAMED and not _is_own(place):
                # It goes where the file names it without `external`, which labels do not tell.
                return Fate.UNKNOWN
        return _fate(place, ending, taken)

    def _down(self, project: str) -> tuple[Container, ...]:
        return tuple(
            one
            for one in self._facts.containers
            if one.project == project and (first_generation(self._facts) or not one_off(one))
        )

    def _once(self, ending: Ending, of: str, removed: tuple[Container, ...]) -> Taken:
        if (ending, of) not in self._known:
            self._known[ending, of] = self._removed(ending, of, removed)
        return self._known[ending, of]

    def _removed(self, ending: Ending, of: str, removed: tuple[Container, ...]) -> Taken:
        near = {one.id: one for one in removed}
        for one in removed:
            for mount in one.mounts:
                near.update((user.id, user) for user in self._users.get(mount.volume, ()))
        facts = replace(self._facts, containers=tuple(near.values()))
        with_volumes = ending in {Ending.RM_VOLUMES, Ending.DOWN_VOLUMES}
        gone = removal.gone_with(
            facts, Removed(removed, ()) if with_volumes else Removed((), removed)
        )
        taken = _taken(gone, removed)
        if ending is not Ending.DOWN_VOLUMES:
            return taken
        ids = {one.id for one in removed}
        own = {
            volume.name
            for volume in self._facts.volumes.values()
            if volume.labels.get(COMPOSE_PROJECT) == of
            and all(user.id in ids for user in self._users.get(volume.name, ()))
        }
        return replace(taken, volumes=taken.volumes | own, left=taken.left - own)


def _project(place: Place) -> str:
    if place.container is not None:
        return place.container.project or ""
    return (place.volume.project if place.volume else None) or ""


def _is_own(place: Place) -> bool:
    """Does the volume say that it is of its container's project?"""
    volume, container = place.volume, place.container
    return (
        volume is not None
        and container is not None
        and volume.project is not None
        and volume.project == container.project
    )


def _pruned(ending: Ending, facts: Facts) -> Taken:
    (command,) = parse("docker", [*ending.value.split(), "--force"])
    try:
        if ending in _VOLUME_PRUNES:
            return _taken(prune.unused_volumes(command, facts), ())
        stopped = prune.stopped_containers(command, facts)
        return _taken(prune.stopped_and_unused(command, facts), stopped)
    except WouldFail:  # --all before API 1.42, or filters of the client's that the engine refuses
        return Taken()


def of_plan(plan: Plan) -> Taken:
    """What a plan takes."""
    return Taken(
        frozenset(loss.id for loss in plan.losses if loss.kind is Kind.LAYER),
        frozenset(loss.name for loss in plan.losses if loss.kind.is_volume),
        frozenset(loss.name for loss in plan.losses if loss.kind is Kind.DETACHED_VOLUME),
        frozenset(one.name for one in plan.losses if one.kind.is_volume and not one.certain),
    )


def _taken(gone: Gone, removed: Iterable[Container]) -> Taken:
    return Taken(
        frozenset(one.id for one in removed),
        frozenset(loss.name for loss in gone.losses if loss.kind.is_volume),
        frozenset(loss.name for loss in gone.losses if loss.kind is Kind.DETACHED_VOLUME),
    )


def _fate(place: Place, ending: Ending, taken: Taken) -> Fate | None:
    container = place.container
    ended = container is not None and container.id in taken.containers
    if place.sort in {Sort.LAYER, Sort.TMPFS}:
        return Fate.GOES if ended else Fate.STAYS
    if place.volume is None:
        return Fate.STAYS
    if place.source in taken.volumes:
        guess = not place.certain and ending in {Ending.RM_VOLUMES, Ending.DOWN_VOLUMES}
        guess |= place.source in taken.unsure
        return Fate.UNKNOWN if guess else Fate.GOES
    # A named one may be without a container then, too, but its name tells where it was.
    return Fate.LEFT if place.source in taken.left else Fate.STAYS
