"""What is moved aside on the engine's own disk: where it stands, that it is what was in the volume,
and back again. How a rename is done there is edge/mover.py's; when, take.py's and undo.py's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import Volume


@dataclass(frozen=True)
class Place:
    """Where a volume's contents stand aside, and the inode of their root: a rename keeps it."""

    root: str  # the engine's data directory
    folder: str  # below ours there: "<backup>/<number>"
    inode: int

    @property
    def path(self) -> str:
        """Where that is on the engine's host."""
        return f"{self.root}/safedocker/{self.folder}/_data"


@dataclass(frozen=True)
class Move:
    """One volume to be moved. `about` is what is written beside it, so that it can be told without
    us; and when it is moved aside, the inode it must have."""

    volume: str
    folder: str
    about: str = ""


@dataclass(frozen=True)
class Standing:
    """The inodes of the contents in the volume, and of those aside; 0 where there are none."""

    volume: int
    aside: int


@dataclass(frozen=True)
class Aside:
    """One folder of ours on an engine. `inode` 0: nothing stands in it any more."""

    folder: str
    size: int  # bytes
    inode: int
    about: str  # JSON

    @property
    def volume(self) -> str:
        """The volume it was in; "?" where that can't be read."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.about)["volume"])
        return "?"


class Mover(Protocol):
    """What moving needs of an engine; edge/mover.py has it. Each raises NoBackup or NoEngine."""

    def rehearse(
        self, root: str, moves: Sequence[Move], images: Sequence[str], /
    ) -> list[Standing]: ...
    def aside(self, root: str, moves: Sequence[Move], /) -> list[Standing]: ...
    def back(self, root: str, moves: Sequence[Move], /) -> list[Standing]: ...
    def look(self, root: str, moves: Sequence[Move], /) -> list[Standing]: ...
    def inodes(self, root: str, volumes: Sequence[str], /) -> list[int]: ...
    def into(self, root: str, volume: str, inode: int, other: str, /) -> None: ...
    def remove(self, root: str, moves: Sequence[Move], /) -> None: ...
    def listed(self, root: str, /) -> list[Aside]: ...


class HasMover(Protocol):
    """An engine that can move."""

    @property
    def mover(self) -> Mover: ...
    def volume(self, name: str, /) -> Volume | None: ...


def prepare(engine: HasMover, volume: Volume, folder: str, images: Sequence[str]) -> Place:
    """Try on the engine whether the volume can be moved by a rename, and say where it will stand.

    Nothing is moved yet. Raise NoBackup when it can't be.
    """
    root = volume.data_directory
    if root is None:
        raise NoBackup(f"the volume {volume.name} lies in no folder of the engine's own")
    told = {
        "volume": volume.name,
        "driver": volume.driver,
        "options": dict(volume.options),
        "labels": dict(volume.labels),
    }
    (found,) = engine.mover.rehearse(root, [Move(volume.name, folder, json.dumps(told))], images)
    if not found.volume or found.aside:
        raise NoBackup(f"the engine does not show what is in the volume {volume.name}")
    return Place(root, folder, found.volume)


def set_aside(engine: HasMover, places: Iterable[tuple[str, Place]]) -> None:
    """Move what is in these volumes aside. Raise NoBackup when one can't be; then all are where
    they were, or the sentence says which is not."""
    moved: list[tuple[str, Place]] = []
    try:
        for root, pairs in _by_root(places):
            moved += pairs
            moves = [Move(name, place.folder, str(place.inode)) for name, place in pairs]
            for (name, place), at in zip(pairs, engine.mover.aside(root, moves), strict=True):
                if at != Standing(0, place.inode):
                    raise NoBackup(f"what was in the volume {name} is not what stands aside")
    except BaseException as fault:
        left = [name for name, place in moved if not _is_back(engine, name, place)]
        if not isinstance(fault, SafedockerError):
            raise
        if left:
            raise NoBackup(
                f"{fault.message}; what was in {', '.join(left)} stands aside on the engine",
                "the next command that safedocker looks at on that engine moves it back",
            ) from fault
        raise NoBackup(
            f"{fault.message}: nothing was removed",
            "to have it archived instead: SAFEDOCKER_PROTECT=archive",
        ) from fault


def _is_back(engine: HasMover, name: str, place: Place) -> bool:
    with contextlib.suppress(SafedockerError):
        give_back(engine, name, place)
        return True
    return False


def stands(engine: HasMover, name: str, place: Place) -> Standing:
    """What is in the volume of this name now, and what stands aside."""
    (found,) = engine.mover.look(place.root, [Move(name, place.folder)])
    return found


def other_name(engine: HasMover, names: Iterable[str], place: Place) -> str | None:
    """Which of these volumes holds the contents; None where none does."""
    for name in names:
        if stands(engine, name, place).volume == place.inode:
            return name
    return None


def check(engine: HasMover, name: str, place: Place) -> None:
    """Raise SafedockerError unless the contents stand aside, or in the volume of this name."""
    is_back(engine, name, place)


def is_back(engine: HasMover, name: str, place: Place) -> bool:
    """Are the contents in the volume of this name again? Raise SafedockerError where they stand
    nowhere."""
    at = stands(engine, name, place)
    if place.inode not in {at.volume, at.aside}:
        raise _nowhere(name, place)
    return at.aside != place.inode


def _nowhere(name: str, place: Place) -> SafedockerError:
    return SafedockerError(
        f"what was moved aside from the volume {name} is not at {place.path} any more",
        "see what stands aside on the engine: safedocker aside",
    )


def give_back(engine: HasMover, name: str, place: Place) -> None:
    """Move contents back into a volume that is there and holds nothing; nothing happens when they
    are there. Raise SafedockerError when they can't be, or stand nowhere."""
    at = stands(engine, name, place)
    if at.volume == place.inode:
        return
    if at.aside != place.inode:
        raise _nowhere(name, place)
    (at,) = engine.mover.back(place.root, [Move(name, place.folder)])
    if at != Standing(place.inode, 0):
        raise SafedockerError(
            f"the volume {name} does not hold what stood aside",
            f"look for it on the engine's host: {place.path}",
        )


def give_all_back(engine: HasMover, places: Iterable[tuple[str, Place]]) -> None:
    """The command does not run: everything goes back, and our folders on the engine go."""
    held = tuple(places)
    for name, place in held:
        give_back(engine, name, place)
    remove(engine, held)


def left_by_the_command(engine: HasMover, places: Iterable[tuple[str, Place]]) -> tuple[str, ...]:
    """After the command: give those volumes that it did not remove their contents back, and name
    them."""
    back = []
    for name, place in places:
        if engine.volume(name) is None:
            continue
        if stands(engine, name, place) == Standing(0, place.inode):
            give_back(engine, name, place)
            back.append(name)
    return tuple(back)


def remove(engine: HasMover, places: Iterable[tuple[str, Place]]) -> None:
    """Remove for good what stands aside."""
    for root, pairs in _by_root(places):
        engine.mover.remove(root, [Move(name, place.folder) for name, place in pairs])


def _by_root(
    places: Iterable[tuple[str, Place]],
) -> Iterator[tuple[str, list[tuple[str, Place]]]]:
    found: dict[str, list[tuple[str, Place]]] = {}
    for name, place in places:
        found.setdefault(place.root, []).append((name, place))
    yield from found.items()
