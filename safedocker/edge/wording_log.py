"""Decisions and removals in words: who typed what, what was done about it, what became of a thing.
Nothing is printed here."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, assert_never

from safedocker.edge.wording import ago, clean, count, own_command, short
from safedocker.loss.facts import Bytes
from safedocker.loss.history import PRUNE, Cause

if TYPE_CHECKING:
    from safedocker.loss.facts import Volume
    from safedocker.loss.history import Entry, Removal, Told

Names = Callable[[int], str]  # the login of a uid
SHOWN = 4  # names in one cell
HEAD = ("WHEN", "WHO", "COMMAND", "ABOUT", "OUTCOME")

# The audit's words are written before the command runs; after that nobody of ours is there to see.
_OUTCOMES = {
    "pass": "let run",
    "backed up": "let run after a backup",
    "without a backup": "let run without a backup",
    "paths made": "let run, the paths made first",
    "unguarded": "let run, SAFEDOCKER=off: nobody looked what it takes",
    "called off": "called off: it did not run",
}


def outcome(told: str) -> str:
    """What was done about a command, in words that say no more than is known."""
    return _OUTCOMES.get(told, told)


def sentence(line: Mapping[str, Any], name: Names) -> str:
    """A line of the machine's log for the system's log: who, what, and what was done about it."""
    losses = [str(one["name"]) for one in line.get("losses") or ()]
    about = f" ({_few(losses)})" if losses else ""
    mark = "" if line["caller"] == "person" else f" [{line['caller']}: {line['caller_mark']}]"
    return clean(
        f"{name(line['person'])}{mark} in {line['directory']}: {line['command']}: "
        f"{outcome(line['outcome'])}{about}"
    )


def _few(names: Sequence[str]) -> str:
    told = ", ".join(short(one) for one in names[:SHOWN])
    return told + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def when(at: float) -> str:
    """A moment in this machine's time."""
    return f"{datetime.datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"


def who(entry: Entry, name: Names) -> str:
    """ "bob", "bob (agent: CLAUDECODE)"."""
    login = name(entry.person) if entry.person >= 0 else "unknown"
    return login if entry.caller in {"person", ""} else f"{login} ({entry.caller}: {entry.mark})"


def rows(
    entries: Sequence[Entry], removals: Iterable[Removal], undos: Mapping[str, float], name: Names
) -> list[tuple[str, ...]]:
    """The decisions, and the removals that none explains, in the columns of HEAD; the newest
    first. `undos` tell when backups were put back."""
    found = [(one.at, _row(one, undos, name)) for one in entries]
    found += [
        (one.event.at, _unseen_row(one)) for one in removals if one.cause is not Cause.COMMAND
    ]
    return [row for _, row in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _row(entry: Entry, undos: Mapping[str, float], name: Names) -> tuple[str, ...]:
    about = _few([one.name for one in entry.losses]) or entry.project or "-"
    return when(entry.at), who(entry, name), entry.command, about, _done(entry, undos)


def _unseen_row(removal: Removal) -> tuple[str, ...]:
    event = removal.event
    about = "volumes" if event.kind == PRUNE else f"{event.kind} {short(event.name)}"
    return when(event.at), "not known", "-", about, f"{_went(removal)}, {_cause(removal)}"


def _went(removal: Removal) -> str:
    if removal.event.kind == PRUNE:
        return "a prune, of which this engine does not tell what it took"
    return "removed"


def _done(entry: Entry, undos: Mapping[str, float]) -> str:
    told = outcome(entry.outcome) + _why(entry)
    if entry.backup:
        told += f"; backup {entry.backup}"
        back = undos.get(entry.backup)
        told += f", put back {when(back)}" if back is not None else ""
    return told


def _why(entry: Entry) -> str:
    """The code of why a command did not run, where it was not the person who said so."""
    return f" ({entry.rule})" if entry.rule and entry.outcome in {"refused", "called off"} else ""


def _cause(removal: Removal) -> str:
    match removal.cause:
        case Cause.COMMAND:
            return "by this command"
        case Cause.PERHAPS:
            entry = removal.entry
            told = f"`{entry.command}` of {when(entry.at)}" if entry else "a command"
            return f"perhaps by {told}, of which not all was known"
        case Cause.UNSEEN:
            return "by no command that safedocker saw"
        case _:
            return assert_never(removal.cause)


def reaches(told: Told) -> str:
    """How far back the engine's own events go."""
    if told.since is None:
        return "the engine has no events to tell: it keeps the last 256, until it starts again"
    return (
        f"the engine's own events reach back to {when(told.since)}: it keeps the last 256, until "
        "it starts again; before that, only what safedocker saw is told"
    )


@dataclass(frozen=True)
class Story:
    """What there is to tell of a volume. `volume` is the one of that name that is there now, `here`
    the backups that this person's store holds; `told` is None where the engine can't be asked."""

    asked: str
    volume: Volume | None
    entries: Sequence[Entry]  # about it, the newest first
    removals: Sequence[Removal]  # of it
    undos: Mapping[str, float]
    told: Told | None
    here: frozenset[str]


def of_volume(story: Story, name: Names, now: datetime.datetime) -> Iterator[str]:
    """The story of a volume, the newest first; the last line says how far back the engine goes."""
    asked = clean(story.asked)
    if story.told is None:
        yield f"{asked}: whether it is there now is not known"
    elif story.volume is None:
        yield f"{asked}: it is not on the engine now"
    else:
        made = f", made {clean(story.volume.created_at)}" if story.volume.created_at else ""
        yield f"{asked}: there is a volume of that name on the engine now{made}"
    parts = [(one.at, list(_told(one, story, name, now))) for one in story.entries]
    shown = {id(one) for one in story.entries}
    parts += [
        (one.event.at, list(_alone(one)))
        for one in story.removals
        if one.cause is not Cause.COMMAND
        or (id(one.entry) not in shown and one.event.kind != PRUNE)
    ]
    for _, block in sorted(parts, key=lambda part: part[0], reverse=True):
        yield ""
        yield from block
    if not parts:
        yield "nothing is written down about it"
    if story.told is not None:
        yield ""
        yield reaches(story.told)


def below(removals: Sequence[Removal], told: Told | None) -> Iterator[str]:
    """What stands below the table: volumes that nobody named, and how far the events go."""
    unseen = [one for one in removals if one.nameless and one.cause is Cause.UNSEEN]
    if unseen:
        yield (
            f"the engine also removed {count(len(unseen), 'volume')} without a name, by no command "
            "that safedocker saw: --json lists them"
        )
    if told is not None:
        yield reaches(told)


def _told(entry: Entry, story: Story, name: Names, now: datetime.datetime) -> Iterator[str]:
    then = datetime.datetime.fromtimestamp(entry.at, datetime.UTC)
    yield clean(f"{when(entry.at)} ({ago(then, now)})  {who(entry, name)}")
    yield clean(f"  typed:    {entry.command}")
    yield clean(f"  in:       {entry.directory}")
    if entry.parent:
        yield clean(f"  from:     {entry.parent}")
    answered = f", answered {entry.answered}" if entry.answered else ""
    yield clean(f"  outcome:  {outcome(entry.outcome)}{_why(entry)}{answered}")
    sizes = [
        one.size
        for one in entry.losses
        if one.is_volume and one.is_called(story.asked) and one.size
    ]
    if sizes:
        yield f"  held:     {Bytes(sizes[0])}"
    for one in story.removals:
        if one.cause is Cause.COMMAND and one.entry is entry and one.event.kind != PRUNE:
            yield f"  engine:   removed {when(one.event.at)}"
    if entry.backup:
        back = story.undos.get(entry.backup)
        if back is not None:
            yield f"  backup:   {entry.backup}, put back {when(back)}"
        elif entry.backup in story.here:
            yield f"  backup:   {entry.backup}; to put it back: {own_command()} undo {entry.backup}"
        else:
            yield clean(f"  backup:   {entry.backup}, not in your store: ask {who(entry, name)}")


def _alone(removal: Removal) -> Iterator[str]:
    yield when(removal.event.at)
    yield f"  engine:   {_went(removal)}, {_cause(removal)}"
    if removal.cause is Cause.UNSEEN:
        past = "past safedocker: another program, or docker by its full path"
        ended = "; or a container ended that was started with --rm"
        yield f"            {past}{ended if removal.nameless else ''}"


def entry_as_json(entry: Entry, undos: Mapping[str, float], name: Names) -> dict[str, object]:
    """A decision for programs. Times are ISO 8601 in UTC."""
    back = undos.get(entry.backup)
    told = {key: value for key, value in vars(entry).items() if key not in {"at", "losses", "mark"}}
    return {
        "log": "decision",
        "at": _iso(entry.at),
        **told,
        "caller_mark": entry.mark,
        "login": name(entry.person) if entry.person >= 0 else None,
        "let_run": entry.ran,
        "losses": [asdict(one) for one in entry.losses],
        "undone_at": None if back is None else _iso(back),
    }


def removal_as_json(removal: Removal) -> dict[str, object]:
    """A removal that the engine tells of, for programs."""
    return {
        "log": "removal",
        "at": _iso(removal.event.at),
        "kind": removal.event.kind,
        "name": removal.event.name,
        "cause": removal.cause.value,
        "decision_at": None if removal.entry is None else _iso(removal.entry.at),
    }


def _iso(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
