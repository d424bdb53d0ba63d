"""What is learnt of a backup after it was taken: its last check, its last drill, that it is kept.

Each is a note of its own in the store, small and replaced as a whole; the manifest is written once.
A note that can't be read counts as none: it is no part of what brings data back.
"""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from safedocker.backup.store import PIN, FolderStore

_CHECK = "check.json"
_DRILL = "drill.json"


class Found(enum.Enum):
    """How a part was found when it was read again."""

    WHOLE = "whole"
    ASIDE = "aside"  # what was moved stands on its engine; a rename changes nothing in it
    DEFINITION = "definition only"  # it has no file in the store: nothing could be read
    UNKNOWN = "not known"  # it can't be read by us, or stands on an engine that can't be asked
    MISSING = "missing"
    DAMAGED = "damaged"


class Outcome(enum.Enum):
    """How a part came through a drill."""

    CAME_UP = "came up"
    COMPARED = "compared"  # its files are right, and nothing was started
    FAILED = "failed"


@dataclass(frozen=True)
class PartCheck:
    """One part, read again and compared with the manifest. `why` is a sentence, or ""."""

    name: str
    found: Found
    why: str

    @property
    def well(self) -> bool:
        """Is there nothing wrong with it?"""
        return self.found in {Found.WHOLE, Found.ASIDE, Found.DEFINITION}


@dataclass(frozen=True)
class Check:
    """A whole backup, read again."""

    at: datetime.datetime  # UTC
    parts: tuple[PartCheck, ...]

    @property
    def well(self) -> bool:
        """Is every part well?"""
        return all(part.well for part in self.parts)


@dataclass(frozen=True)
class PartDrill:
    """One part, put back into a scratch volume. `told` says what was seen, or why it failed."""

    name: str
    outcome: Outcome
    told: str
    log: tuple[str, ...] = ()  # the last lines of a database that did not come up
    counts: Mapping[str, int] = field(default_factory=dict)  # "tables": 14, "rows": 20000

    @property
    def well(self) -> bool:
        """Did it not fail?"""
        return self.outcome is not Outcome.FAILED


@dataclass(frozen=True)
class Drill:
    """A whole backup, put back for a trial."""

    at: datetime.datetime  # UTC
    engine: str  # its name, where the trial was
    parts: tuple[PartDrill, ...]

    @property
    def well(self) -> bool:
        """Did nothing fail?"""
        return all(part.well for part in self.parts)


@dataclass(frozen=True)
class Notes:
    """All that is known of a backup beside its manifest."""

    check: Check | None
    drill: Drill | None
    kept: bool


def read(store: FolderStore, id_: str) -> Notes:
    """Return what the notes of a backup say."""
    return Notes(
        check=_read(store, id_, _CHECK, _check),
        drill=_read(store, id_, _DRILL, _drill),
        kept=store.note(id_, PIN) is not None,
    )


def write_check(store: FolderStore, id_: str, check: Check) -> None:
    """Write down the last check. Raise OSError."""
    store.write_note(id_, _CHECK, _text(asdict(check)))


def write_drill(store: FolderStore, id_: str, drill: Drill) -> None:
    """Write down the last drill. Raise OSError."""
    store.write_note(id_, _DRILL, _text(asdict(drill)))


def pin(store: FolderStore, id_: str, now: datetime.datetime) -> None:
    """Let the backup be neither expired nor deleted. Raise OSError."""
    store.write_note(id_, PIN, _text({"at": now}))


def unpin(store: FolderStore, id_: str) -> None:
    """Take that back. Raise OSError."""
    store.drop_note(id_, PIN)


def _text(body: Mapping[str, object]) -> bytes:
    told = json.dumps({"note": 1, **body}, indent=1, default=_plain)
    return told.encode("ascii") + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


_Note = TypeVar("_Note")


def _read(
    store: FolderStore, id_: str, name: str, make: Callable[[Mapping[str, Any]], _Note]
) -> _Note | None:
    text = store.note(id_, name)
    try:
        return None if text is None else make(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _check(body: Mapping[str, Any]) -> Check:
    return Check(
        _time(body),
        tuple(PartCheck(one["name"], Found(one["found"]), one["why"]) for one in body["parts"]),
    )


def _drill(body: Mapping[str, Any]) -> Drill:
    return Drill(
        _time(body),
        body["engine"],
        tuple(
            PartDrill(
                one["name"],
                Outcome(one["outcome"]),
                one["told"],
                tuple(one["log"]),
                dict(one["counts"]),
            )
            for one in body["parts"]
        ),
    )


def _time(body: Mapping[str, Any]) -> datetime.datetime:
    at = datetime.datetime.fromisoformat(body["at"])
    if at.tzinfo is None:
        raise ValueError(body["at"])
    return at.astimezone(datetime.UTC)
