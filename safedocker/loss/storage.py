"""What an engine holds, place by place: whose it is, what it comes to, what could be had back and
what that would cost. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from safedocker.loss.facts import COMPOSE_SERVICE, Container, EngineIdentity, Holds, Look
from safedocker.loss.places import Ending, Fate, Place, Sort, Taken


@dataclass(frozen=True)
class Saved:
    """The last backup that holds a place."""

    id: str
    taken_at: datetime.datetime  # UTC


@dataclass(frozen=True)
class Spot:
    """A place, with what was seen in it."""

    place: Place
    look: Look
    saved: Saved | None
    fates: Mapping[Ending, Fate]

    @property
    def container(self) -> Container | None:
        """The container that has it."""
        return self.place.container

    @property
    def project(self) -> str | None:
        """The Compose project that it belongs to."""
        if self.place.container is not None:
            return self.place.container.project
        return self.place.volume.project if self.place.volume else None

    @property
    def key(self) -> tuple[Sort, str]:
        """What it is counted once by, however many containers have it."""
        container = self.place.container
        own = f"{container.id if container else ''} {self.place.target}"
        inside = self.place.sort in {Sort.LAYER, Sort.TMPFS}
        if self.place.volume is not None:
            return Sort.NAMED, self.place.source  # one container may call it anonymous, one not
        return self.place.sort, own if inside else self.place.source


@dataclass(frozen=True)
class Weights:
    """What images and build cache come to, in bytes, as the engine counts; None: not told."""

    images: int | None = None
    unused_images: int | None = None  # of those that no container was made of, what only they hold
    cache: int | None = None


@dataclass(frozen=True)
class Amount:
    """Places of one kind, each counted once."""

    places: int = 0
    size: int = 0  # bytes, as far as they are known
    unknown: int = 0  # how many of them have no known size


@dataclass(frozen=True)
class Reclaimable:
    """What a command would free, and what goes with it."""

    what: str
    command: str  # the one that takes it all
    amount: Amount
    costs: tuple[str, ...]  # what of it can't be had again: "shop_db: PostgreSQL 15"
    again: str = ""  # how it could be had again; "" where it could not


@dataclass(frozen=True)
class Storage:
    """What was found: an engine's places, all of them or those asked for."""

    engine: EngineIdentity
    api: tuple[int, int]  # that the client speaks with it: what a prune takes hangs on it
    spots: tuple[Spot, ...]
    asked: str = ""  # the container, service or project that was asked for
    weights: Weights = field(default_factory=Weights)
    gaps: tuple[str, ...] = ()

    @property
    def projects(self) -> dict[str | None, list[Spot]]:
        """The places by project, those of none last."""
        found: dict[str | None, list[Spot]] = {}
        for spot in sorted(self.spots, key=lambda one: (one.project is None, one.project or "")):
            found.setdefault(spot.project, []).append(spot)
        return found


def by_container(spots: Iterable[Spot]) -> dict[str, list[Spot]]:
    """The places by the name of the container, those of none, under "", last."""
    found: dict[str, list[Spot]] = {}
    for spot in spots:
        found.setdefault(spot.container.name if spot.container else "", []).append(spot)
    return dict(sorted(found.items(), key=lambda item: (not item[0], item[0])))


def amount(spots: Iterable[Spot]) -> Amount:
    """What places come to, each counted once. What lies elsewhere is none of the engine's."""
    each = {spot.key: spot.look for spot in spots}
    own = [look for look in each.values() if look.holds is not Holds.ELSEWHERE]
    known = [look.at_least if look.size is None else look.size for look in own]
    return Amount(len(own), sum(known), sum(look.size is None for look in own))


def amounts(spots: Iterable[Spot]) -> dict[Sort, Amount]:
    """What the places come to by their sort; a volume with two is counted under the first."""
    sorts: dict[Sort, list[Spot]] = {}
    seen: dict[tuple[Sort, str], Sort] = {}
    for spot in spots:
        sort = seen.setdefault(spot.key, spot.place.sort)
        sorts.setdefault(sort, []).append(spot)
    return {sort: amount(sorts[sort]) for sort in Sort if sort in sorts}


def reclaimable(storage: Storage, prunes: Mapping[Ending, Taken]) -> tuple[Reclaimable, ...]:
    """What could be freed, and what that would cost; `prunes` by command, as reckoned for the
    engine. Docker's own `system df` calls all of it reclaimable, and asks nothing about content."""
    stopped = [
        spot
        for spot in storage.spots
        if spot.place.sort is Sort.LAYER and spot.container and not spot.container.running
    ]
    dangling = [spot for spot in storage.spots if spot.container is None]
    holding = [spot for spot in dangling if spot.look.holds is not Holds.EMPTY]
    taken = prunes[Ending.VOLUME_PRUNE].volumes
    pruned = [spot for spot in holding if spot.place.source in taken]
    kept = [spot for spot in holding if spot.place.source not in taken]
    empty = [spot for spot in dangling if spot.look.holds is Holds.EMPTY]
    rows = [
        _row("stopped containers' own files", "docker container prune", stopped),
        _row("unused volumes that `docker volume prune` takes", "docker volume prune", pruned),
        _row("unused volumes that it spares", "docker volume rm", kept),
        _row("unused volumes that are empty", "docker volume rm", empty),
    ]
    weights = storage.weights
    for what, command, size, again in (
        ("images of no container", "docker image prune -a", weights.unused_images, "pull or build"),
        ("build cache", "docker builder prune -a", weights.cache, "build, which takes longer then"),
    ):
        if size:
            rows.append(Reclaimable(what, command, Amount(1, size), (), again))
    return tuple(row for row in rows if row.amount.places)


def _row(what: str, command: str, spots: list[Spot]) -> Reclaimable:
    costs = [
        f"{_name(spot)}: {spot.look.content or 'not looked into'}"
        for spot in sorted(spots, key=lambda one: -(one.look.at_least))
        if spot.look.holds is not Holds.EMPTY
    ]
    return Reclaimable(what, command, amount(spots), tuple(costs))


def _name(spot: Spot) -> str:
    if spot.place.sort is Sort.LAYER and spot.container:
        return f"container {spot.container.name}"
    source = spot.place.source
    return f"{source[:12]}…" if spot.place.sort is Sort.ANONYMOUS else source


def service_of(container: Container) -> str | None:
    """The Compose service that a container is of."""
    return container.labels.get(COMPOSE_SERVICE)


def chosen(containers: Iterable[Container], asked: str) -> tuple[Container, ...]:
    """The containers that a word means: one by its name or the beginning of its id, else those of a
    project, else those of a service. () when it means none."""
    every = tuple(containers)
    by_id = [one for one in every if len(asked) >= 4 and one.id.startswith(asked)]
    for found in (
        [one for one in every if one.name == asked or one.id == asked],
        [one for one in every if one.project == asked],
        [one for one in every if service_of(one) == asked],
        by_id if len(by_id) == 1 else [],
    ):
        if found:
            return tuple(found)
    return ()
