"""The restore journal of a backup: which of its parts an undo has begun to put back, and finished,
under which name, and what it made there. It tells an undo's own volumes and containers from a
stranger's of the same name, and how far a backup is undone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from safedocker.backup.manifest import Backup, Part
from safedocker.backup.store import FolderStore
from safedocker.loss.facts import Container, Volume

_NOTE = "restore.json"
_FEED = "dump "  # no volume's name has a space


@dataclass(frozen=True)
class Restore:
    """One line: what an undo makes or fills on an engine, or has."""

    engine: str  # its ID
    volume: str  # the name of a volume, or what `entry` or `feed` says
    done: bool
    part: str = ""  # what it is in the backup, where that is another name
    made: str = ""  # a container's ID, or a volume's date as the engine writes it; "" not known
    was: str = ""  # the ID of the container that it stands for

    @property
    def of(self) -> str:
        """The part that it is of, as `entry` calls it."""
        return self.part or self.volume


@dataclass(frozen=True)
class Undone:
    """How far a backup is put back. `begun`: an undo was at something that is left."""

    left: tuple[Part, ...]  # on no engine, under no name
    beside: tuple[tuple[Part, str], ...]  # under another name alone: that one; "": by its dump
    far: bool  # something is on another engine alone
    begun: bool
    any: bool  # something is back


def entry(part: Part, name: str) -> str:
    """How the journal calls a part that is put back under this name."""
    return name if part.kind.is_volume else f"{part.kind.value} {name}"


def feed(file: str, container: str) -> str:
    """How the journal calls a dump that is fed into a server."""
    return f"{_FEED}{file} into container {container}"


def other_names(lines: Iterable[Restore], part: Part) -> Iterator[str]:
    """The volumes other than its own that a volume was put back into, or was to be."""
    for line in lines:
        if line.of == part.name != line.volume and not line.volume.startswith(_FEED):
            yield line.volume


def read(store: FolderStore, id_: str) -> tuple[Restore, ...]:
    """Return the lines; () when there are none that can be read."""
    try:
        body = json.loads(store.note(id_, _NOTE) or b"")
        return tuple(Restore(**line) for line in body["volumes"])
    except (ValueError, KeyError, TypeError):
        return ()


def write(store: FolderStore, id_: str, lines: Iterable[Restore]) -> None:
    """Replace them. Raise OSError."""
    body = {"restore": 1, "volumes": [asdict(one) for one in lines]}
    store.write_note(id_, _NOTE, json.dumps(body, indent=1).encode("ascii") + b"\n")


def how_far(backup: Backup, lines: Iterable[Restore]) -> Undone:
    """Say which parts are back. A dump alone is fed into a server: no undo puts that back."""
    from safedocker.backup.ways import DUMP_ONLY

    own = {"", backup.engine.id if backup.engine else ""}  # a proxy may hide the ID
    known = tuple(lines)
    left, beside = [], []
    far = begun = any_ = False
    for part in backup.parts:
        of = entry(part, part.name)
        told = [line for line in known if line.of == of]
        back = [line for line in told if line.done]
        any_ |= bool(back)
        if not back and part.way != DUMP_ONLY:
            left.append(part)
            begun |= bool(told)
        if back and all(line.volume != of for line in back):
            fed = back[-1].volume.startswith(_FEED)
            beside.append((part, "" if fed else back[-1].volume.removeprefix(entry(part, ""))))
        far |= bool(back) and all(line.engine not in own for line in back)
    return Undone(tuple(left), tuple(beside), far, begun, any_)


def successors(store: FolderStore, engine: str) -> Mapping[str, str]:
    """The containers that undos of any backup made on an engine, by the ID of the one before."""
    return {
        line.was: line.made
        for backup in reversed(store.list().backups)
        for line in read(store, backup.id)
        if line.engine == engine and line.was and line.made
    }


class Journal:
    """The restore journal of a backup, for one engine."""

    def __init__(self, store: FolderStore, id_: str, engine: str) -> None:
        self._store = store
        self._id = id_
        self._engine = engine
        self._lines = {(one.engine, one.volume): one for one in read(store, id_)}
        self.notes: list[str] = []

    def line(self, name: str) -> Restore | None:
        """What is known of an entry."""
        return self._lines.get((self._engine, name))

    def began(self, name: str) -> bool:
        """Was an undo of this backup writing this volume when it ended?

        A namesake made since cannot be told from it; that is why it is backed up all the same.
        """
        line = self.line(name)
        return line is not None and not line.done

    def finished(self, name: str) -> bool:
        """Has an undo of this backup put it back, be it there still or not?"""
        line = self.line(name)
        return line is not None and line.done

    def filled(self, volume: Volume, mounting: Iterable[Container]) -> bool:
        """Is this very volume one that an undo of this backup has put back?

        A container that an undo made holds it fast: nobody can have made it anew since.
        """
        line = self.line(volume.name)
        if line is None or not line.done:
            return False
        ours = {one.made for one in self._lines.values() if one.was}
        return bool(ours & {one.id for one in mounting}) or (
            line.made != "" and line.made == volume.created_at
        )

    def other_names(self, part: Part) -> Iterator[str]:
        """The volumes other than its own that this one was put back into, or was to be."""
        own = (line for line in self._lines.values() if line.engine == self._engine)
        return other_names(own, part)

    def write(self, line: Restore) -> None:
        """Put down a state. A store that can only be read is noted, and no reason to stop."""
        line = replace(
            line, engine=self._engine, part="" if line.part == line.volume else line.part
        )
        if self.line(line.volume) == line:
            return
        self._lines[self._engine, line.volume] = line
        try:
            write(self._store, self._id, self._lines.values())
        except OSError as fault:
            note = (
                f"the restore journal in {self._store.where} can't be written ({fault.strerror}): "
                "an undo that is killed will need --overwrite"
            )
            if note not in self.notes:
                self.notes.append(note)

    def state(self, part: Part, name: str, *, done: bool, made: str = "", was: str = "") -> None:
        """Put down how far a part is, under a name."""
        of = entry(part, part.name)
        self.write(Restore(self._engine, entry(part, name), done, of, made, was))
