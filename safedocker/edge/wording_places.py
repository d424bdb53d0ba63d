"""Where data lies, in words and for programs. Nothing is printed here, and no rule is decided."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from safedocker.edge.wording import ago, clean, count, short
from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.places import Ending, Fate, Sort

if TYPE_CHECKING:
    from safedocker.loss.facts import Container, Look
    from safedocker.loss.storage import Amount, Reclaimable, Spot, Storage

VERSION = 1  # of the JSON; storage.schema.json describes it
COSTS_SHOWN = 5
NARROW = 28  # columns of a path in a table
NO_PROJECT = "no project"
UNUSED = "volumes that no container has"


def size(look: Look) -> str:
    """ "48 MB", "more than 1.2 GB", "unknown"."""
    if look.size is not None:
        return str(Bytes(look.size))
    return f"more than {Bytes(look.at_least)}" if look.at_least else "unknown"


def content(spot: Spot) -> str:
    """What is in a place."""
    look, place = spot.look, spot.place
    if place.volume is not None and place.volume.elsewhere:
        return f"elsewhere: {place.volume.elsewhere}"
    if place.sort is Sort.TMPFS:
        limit = "no size set" if place.limit is None else f"up to {Bytes(place.limit)}"
        return f"memory, {limit}"
    if place.sort is Sort.OTHER:
        return "-"
    told = {Holds.EMPTY: "empty", Holds.UNKNOWN: "not looked into", Holds.ELSEWHERE: "elsewhere"}
    return look.content or told.get(look.holds, "files")


def of(container: Container) -> str:
    """A container's name, image and state."""
    return f"{container.name} ({container.image}, {container.state})"


def place_name(spot: Spot) -> str:
    """A place as a person knows it."""
    place = spot.place
    return short(place.source) if place.source else place.sort.value


def narrow(cells: tuple[str, ...]) -> tuple[str, ...]:
    """A row for a terminal: of a long path the end, which `notes` tells in full."""
    return (_end_of(cells[0]), *cells[1:])


def _end_of(path: str) -> str:
    if not path.startswith("/") or len(path) <= NARROW:
        return path
    end = path[-NARROW + 1 :]
    return f"…{end[end.find('/') :]}" if "/" in end else f"…{end}"


TITLES = ("PLACE", "KIND", "AT", "SIZE", "CONTENT", "OWNER", "LAST WRITE", "LAST BACKUP")


def row(spot: Spot, now: datetime.datetime) -> tuple[str, ...]:
    """A place in the columns of TITLES."""
    place, look = spot.place, spot.look
    driver = f" ({place.driver})" if place.driver not in {"", "local"} else ""
    kind = f"{place.sort.value}{driver}{', read-only' if place.read_only else ''}"
    weighed = size(look) if place.sort not in {Sort.TMPFS, Sort.OTHER} else "-"
    written = ago(look.last_write, now) if look.last_write else "-"
    owner = str(look.owner) if look.owner else "-"
    if place.sort in {Sort.LAYER, Sort.TMPFS, Sort.OTHER}:
        owner = "-"
    return (
        place_name(spot),
        kind,
        place.target or "-",
        weighed,
        content(spot),
        owner,
        written,
        saved(spot, now),
    )


def saved(spot: Spot, now: datetime.datetime) -> str:
    """The last backup, if a place can have one."""
    if spot.saved is not None:
        return f"{spot.saved.id}, {ago(spot.saved.taken_at, now)}"
    return "never" if spot.place.volume or spot.place.sort is Sort.LAYER else "-"


def fate_titles(spots: Sequence[Spot]) -> tuple[str, ...]:
    """The commands that can be about one of these places."""
    return ("PLACE", *(ending.value for ending in Ending if any(ending in s.fates for s in spots)))


def fate_row(spot: Spot, titles: Sequence[str]) -> tuple[str, ...]:
    """What becomes of a place, in the columns of `titles`."""
    told = {ending.value: fate.value for ending, fate in spot.fates.items()}
    name = place_name(spot)
    if spot.container and not spot.place.source:
        name = f"{name} of {spot.container.name}"
    return (name, *(told.get(title, "-") for title in titles[1:]))


def notes(spots: Sequence[Spot]) -> Iterator[str]:
    """What the words of the second table mean, as far as they stand there."""
    found = {fate for spot in spots for fate in spot.fates.values()}
    paths = dict.fromkeys(spot.place.source for spot in spots if spot.place.sort is Sort.BIND)
    yield from (f"{_end_of(path)} is {path}" for path in paths if _end_of(path) != path)
    if Fate.LEFT in found:
        yield "left behind: it stays, and no container has it; `safedocker rescue` finds it again"
    if Fate.UNKNOWN in found:
        yield (
            "unknown: where the Compose file is not here, a volume without the project's label "
            "goes with `down -v` if the file names it without external: true; and Compose v1 ends "
            "at a volume that is in use"
        )
    if any(ending in spot.fates for spot in spots for ending in (Ending.DOWN, Ending.RM)):
        yield (
            "rm is that of its container, down that of its whole project, as Compose reads its "
            "files; by labels where they are not here"
        )


def tree(storage: Storage, now: datetime.datetime) -> Iterator[str]:
    """The engine's places by project and container, a line each."""
    for project, spots in storage.projects.items():
        yield f"project {clean(project)}" if project else NO_PROJECT
        groups: dict[str, list[Spot]] = {}
        for spot in spots:
            groups.setdefault(of(spot.container) if spot.container else "", []).append(spot)
        for name, own in sorted(groups.items(), key=lambda item: (not item[0], item[0])):
            yield f"  {clean(name) or UNUSED}"
            for spot in own:
                yield f"    {_line(spot, now)}"
        yield ""


def _line(spot: Spot, now: datetime.datetime) -> str:
    name, kind, at, weighed, what, owner, written, backup = row(spot, now)
    first, _, rest = kind.partition(", ")
    told = [f"{first} {name}" if spot.place.source else first]
    told += [rest] if rest else []
    if spot.place.source and at != "-":
        told.append(f"at {at}")
    elif spot.place.sort is Sort.TMPFS:
        told.append(at)
    told += [part for part in (weighed, what) if part != "-"]
    if written != "-":
        told.append(f"written {written}")
    if owner != "-" and spot.place.sort is not Sort.LAYER:
        told.append(f"owner {owner}")
    if spot.place.volume is not None:
        told.append(f"backup {backup}" if backup == "never" else f"backup {backup.split(',')[0]}")
    return clean(", ".join(told))


def total(amount: Amount) -> str:
    """ "3, 1.2 GB", "3, more than 1.2 GB (1 of unknown size)"."""
    if not amount.unknown:
        return f"{amount.places}, {Bytes(amount.size)}"
    return f"{amount.places}, more than {Bytes(amount.size)} ({amount.unknown} of unknown size)"


def totals(amounts: Mapping[Sort, Amount], storage: Storage) -> list[tuple[str, str]]:
    """What everything comes to, each thing counted once."""
    skipped = {Sort.TMPFS, Sort.OTHER}
    rows = [(f"{s.value}s", total(found)) for s, found in amounts.items() if s not in skipped]
    weights = storage.weights
    if weights.images is not None:
        rows.append(("images", str(Bytes(weights.images))))
    if weights.cache:
        rows.append(("build cache", str(Bytes(weights.cache))))
    return rows


def freed(one: Reclaimable) -> Iterator[str]:
    """What a command would free, and what it would cost."""
    size = "more than " if one.amount.unknown else ""
    number = "" if one.again else f" ({one.amount.places})"
    yield f"{one.what}{number}: {size}{Bytes(one.amount.size)} by `{one.command}`"
    if one.again:
        yield f"  costs a {one.again}"
    elif not one.costs:
        yield "  costs nothing"
    for cost in one.costs[:COSTS_SHOWN]:
        yield f"  lost for good: {clean(cost)}"
    if len(one.costs) > COSTS_SHOWN:
        yield f"  and {count(len(one.costs) - COSTS_SHOWN, 'more', 'more')}"


# for programs


def as_json(storage: Storage, freeable: Sequence[Reclaimable]) -> dict[str, object]:
    """The same by storage.schema.json."""
    engine = storage.engine
    return {
        "storage": VERSION,
        "asked": storage.asked or None,
        "engine": {
            "name": engine.name,
            "id": engine.id,
            "host": engine.host,
            "version": engine.version,
            "api_spoken": ".".join(map(str, storage.api)),
        },
        "places": [_spot(spot) for spot in storage.spots],
        "images_bytes": storage.weights.images,
        "build_cache_bytes": storage.weights.cache,
        "reclaimable": [
            {
                "what": one.what,
                "command": one.command,
                "bytes": one.amount.size,
                "unknown_sizes": one.amount.unknown,
                "lost": list(one.costs),
                "again": one.again or None,
            }
            for one in freeable
        ],
        "gaps": list(storage.gaps),
    }


def _spot(spot: Spot) -> dict[str, object]:
    place, look, container = spot.place, spot.look, spot.container
    owner = look.owner
    return {
        "kind": place.sort.value,
        "source": place.source or None,
        "target": place.target or None,
        "driver": place.driver or None,
        "read_only": place.read_only,
        "limit_bytes": place.limit,
        "project": spot.project,
        "container": container
        and {"name": container.name, "image": container.image, "state": container.state},
        "holds": look.holds.value,
        "bytes": look.size,
        "at_least_bytes": look.at_least,
        "content": look.content or None,
        "elsewhere": place.volume.elsewhere if place.volume else None,
        "owner": owner and {"uid": owner.uid, "gid": owner.gid, "mode": f"{owner.mode:04o}"},
        "last_write": look.last_write.isoformat() if look.last_write else None,
        "last_backup": spot.saved
        and {"id": spot.saved.id, "taken_at": spot.saved.taken_at.isoformat()},
        "survives": {ending.value: fate.value for ending, fate in spot.fates.items()},
    }
