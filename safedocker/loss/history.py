"""What became of things: the decisions that were written down, and the engine's own events, joined.
Pure. A removal that no decision explains went past safedocker."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

PRUNE = "prune"
LASTS = 900.0  # seconds that a command may take from its line to the last removal
EARLY = 2.0  # seconds by which the engine's clock may be behind

UNDO = "safedocker-undo"  # the form of what puts a backup back

# Outcomes after which the command did not run. Of all others it was let run, and no more is known.
DID_NOT_RUN = frozenset({"refused", "cancelled", "called off"})


@dataclass(frozen=True)
class Lost:
    """One thing that a command would take."""

    kind: str  # a Kind's value
    name: str
    size: int | None  # bytes
    used_by: tuple[str, ...] = ()
    project: str = ""

    @property
    def is_volume(self) -> bool:
        """Is it a volume, or the reference to one?"""
        return self.kind.endswith(" volume")

    def is_called(self, asked: str) -> bool:
        """As `named`."""
        return named(self.name, asked)


@dataclass(frozen=True)
class Entry:
    """A decision as it was written down, before the command ran."""

    at: float  # seconds since the epoch
    person: int  # the uid; behind sudo, of who typed it
    command: str
    directory: str
    caller: str  # "person", "ci", "agent", "script"
    mark: str  # what told that: "CI", "no terminal"
    parent: str
    form: str
    outcome: str
    rule: str = ""
    answered: str = ""
    backup: str = ""
    backups: tuple[str, ...] = ()  # of one of our own commands: those that it is about
    engine: str = ""  # its address
    engine_id: str = ""
    engine_name: str = ""
    project: str = ""
    losses: tuple[Lost, ...] = ()
    gaps: tuple[str, ...] = ()
    pid: int = 0

    @property
    def ran(self) -> bool:
        """Was it let run?"""
        return self.outcome not in DID_NOT_RUN

    def takes(self, volume: str) -> bool:
        """Does it name the volume, by its name or by the beginning of one that the engine made?"""
        return any(one.is_volume and one.is_called(volume) for one in self.losses)


@dataclass(frozen=True)
class Event:
    """A removal, by the engine's own events. That something was made they do not tell surely: 20.10
    says so each time a container mounts a volume."""

    at: float  # seconds since the epoch, by the engine's clock
    kind: str  # "volume", "container"; "prune" of volumes, by an engine that does not name them
    name: str


@dataclass(frozen=True)
class Told:
    """What an engine still remembers. `since`: how far back it reaches; None: nothing is there, or
    it could not be asked."""

    engine_id: str = ""
    events: tuple[Event, ...] = ()  # the oldest first
    since: float | None = None


class Cause(enum.Enum):
    """What is behind a removal that the engine tells of."""

    COMMAND = "command"  # one that was written down
    PERHAPS = "perhaps"  # one whose losses were not all known ran then
    UNSEEN = "unseen"  # none that safedocker saw


@dataclass(frozen=True)
class Removal:
    """A removal that the engine tells of."""

    event: Event
    cause: Cause
    entry: Entry | None

    @property
    def nameless(self) -> bool:
        """Is it of a volume that nobody named?"""
        return self.event.kind == "volume" and len(self.event.name) == 64


@dataclass(frozen=True)
class Wanted:
    """What is asked for; what is empty is not asked."""

    volume: str = ""
    container: str = ""
    project: str = ""
    engine: str = ""
    outcome: str = ""
    caller: str = ""
    persons: frozenset[int] = field(default_factory=frozenset)  # uids of `caller`, as a login
    since: float | None = None


def named(name: str, asked: str) -> bool:
    """Is it the name, or the beginning that is shown of one the engine made?"""
    return name == asked or (len(name) == 64 and len(asked) >= 6 and name.startswith(asked))


def chosen(entries: Iterable[Entry], wanted: Wanted) -> tuple[Entry, ...]:
    """The decisions that are asked for, the newest first."""
    found = [one for one in without_doubles(entries) if _fits(one, wanted)]
    return tuple(sorted(found, key=lambda one: one.at, reverse=True))


def without_doubles(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Each decision once, though two logs tell it; the first that tells it counts. One that was
    called off counts as such alone."""
    found: dict[tuple[float, int, int, str, str], Entry] = {}
    for one in entries:
        found.setdefault((one.at, one.person, one.pid, one.outcome, one.backup), one)
    off = {
        (one.person, one.pid, one.command, one.backup)
        for one in found.values()
        if one.outcome == "called off"
    }
    return tuple(
        one
        for one in found.values()
        if not (one.ran and (one.person, one.pid, one.command, one.backup) in off)
    )


def undos(entries: Iterable[Entry]) -> dict[str, float]:
    """When each backup was put back for the first time, as far as is written down."""
    found: dict[str, float] = {}
    for one in entries:
        if one.form == UNDO:
            for backup in one.backups:
                found[backup] = min(one.at, found.get(backup, one.at))
    return found


def _fits(entry: Entry, wanted: Wanted) -> bool:
    if wanted.since is not None and entry.at < wanted.since:
        return False
    if wanted.volume and not entry.takes(wanted.volume):
        return False
    if wanted.container and not any(
        (not one.is_volume and one.name == wanted.container) or wanted.container in one.used_by
        for one in entry.losses
    ):
        return False
    if wanted.project and wanted.project not in {entry.project, *(o.project for o in entry.losses)}:
        return False
    if wanted.engine and not (
        wanted.engine in {entry.engine, entry.engine_name}
        or (len(wanted.engine) >= 4 and entry.engine_id.startswith(wanted.engine))
    ):
        return False
    if wanted.outcome and not entry.outcome.startswith(wanted.outcome):
        return False
    if not wanted.caller:
        return True
    return wanted.caller in {entry.caller, entry.mark} or entry.person in wanted.persons


def removals(entries: Sequence[Entry], told: Told) -> tuple[Removal, ...]:
    """Each removal that the engine tells of, with the command behind it: the last one before it
    that was let run there and named it. The oldest first."""
    ran = [one for one in without_doubles(entries) if one.ran]
    found = []
    for event in told.events:
        maybe = [one for one in ran if one.at - EARLY <= event.at <= one.at + LASTS]
        # One that nobody looked at tells no engine either.
        maybe = [one for one in maybe if one.engine_id in {told.engine_id, ""}]
        near = [one for one in maybe if one.engine_id]
        by = [one for one in near if _names(one, event)]
        unsure = [one for one in maybe if one.gaps]
        if by:
            entry, cause = max(by, key=lambda one: one.at), Cause.COMMAND
        elif unsure:
            entry, cause = max(unsure, key=lambda one: one.at), Cause.PERHAPS
        else:
            found.append(Removal(event, Cause.UNSEEN, None))
            continue
        found.append(Removal(event, cause, entry))
    return tuple(found)


_PRUNES = frozenset({"volume-prune", "system-prune-volumes"})


def _names(entry: Entry, event: Event) -> bool:
    if event.kind == PRUNE:
        return entry.form in _PRUNES
    if event.kind == "volume":
        return any(one.is_volume and one.name == event.name for one in entry.losses)
    return any(not one.is_volume and one.name == event.name for one in entry.losses)


def about(told: Told, *, volume: str = "", container: str = "") -> Told:
    """The events of one volume or one container alone; else those of all volumes."""
    kind, asked = ("container", container) if container and not volume else ("volume", volume)
    events = (e for e in told.events if e.kind == kind and (not asked or named(e.name, asked)))
    prunes = (e for e in told.events if e.kind == PRUNE and kind == "volume")
    return replace(told, events=tuple(sorted((*events, *prunes), key=lambda e: e.at)))
