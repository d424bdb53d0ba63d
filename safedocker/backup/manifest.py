"""The nouns of a backup, and how they are written down: manifest.json, read strictly.

Where a manifest lies, and when it is written, is store.py's.
"""

from __future__ import annotations

import datetime
import enum
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from safedocker.backup.aside import Place
from safedocker.backup.inventory import Inventory
from safedocker.errors import SafedockerError
from safedocker.loss.plan import Kind

VERSION = 3
_ON_ENGINE = 3  # holds what was moved aside on its engine
_DUMPS = 3  # holds a dump, or tells why there is none
_FINE = 3  # holds what GNU tar read
_RECORDS = 2
FIRST = 1  # the version of those that hold volumes alone, and name their engine
ID = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}")
_FOLDER = re.compile(ID.pattern + r"/\d+")
_FILE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class Consistency(enum.Enum):
    """What state the data was in when it was copied."""

    COLD_CLEAN = "cold-clean"
    COLD_KILLED = "cold-killed"
    PAUSED = "paused"
    LIVE = "live"
    RECORD = "record"
    DUMPED = "dumped"
    DEFINITION = "definition"

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        return _SENTENCES[self]


_SENTENCES = {
    Consistency.COLD_CLEAN: "cold: nothing is known to have written to it while it was copied",
    Consistency.COLD_KILLED: "cold, but a container was killed: as after a power cut",
    Consistency.PAUSED: "paused: nothing was written meanwhile; as after a power cut",
    Consistency.RECORD: "whole: it can be read in one piece",
    Consistency.DUMPED: "dumped: by the database's own program while it ran",
    Consistency.LIVE: "live: it was in use, or written to, while it was copied, which may be torn",
    Consistency.DEFINITION: "definition only: the data lies elsewhere and is not removed",
}


class CrossCheck(enum.Enum):
    """How the copy compares with what the engine itself says the volume holds."""

    EQUAL = "equal"
    MORE = "more"  # the copy holds more bytes than the engine counted
    UNKNOWN = "unknown"  # the engine did not say in time
    NONE = "none"  # there are no contents to compare

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        return _CHECKED[self]


_CHECKED = {
    CrossCheck.EQUAL: "the engine counts the same bytes",
    CrossCheck.MORE: "the copy holds more than the engine counts",
    CrossCheck.UNKNOWN: "not compared with the engine's own count, which did not come in time",
    CrossCheck.NONE: "there are no contents to compare",
}


@dataclass(frozen=True)
class Use:
    """A container that mounted the volume."""

    container: str
    image: str
    target: str
    running: bool  # before the backup


@dataclass(frozen=True)
class Stored:
    """A part's file in the store."""

    name: str
    bytes: int  # compressed
    sha256: str  # of the compressed bytes


@dataclass(frozen=True)
class Dump:
    """What a database wrote of itself while it ran, beside the copy of its volume. It holds all of
    the server's databases, not only what lies in that volume."""

    file: Stored
    bytes: int  # of the dump itself
    sha256: str  # of the dump itself
    database: str  # a row of dumps.DATABASES
    version: str  # of the server
    tool: str  # that wrote it, as it calls itself
    container: str
    image: str
    holds: tuple[str, ...]  # the names of the databases
    proof: str  # how it is known to be whole, a sentence
    lacks: tuple[str, ...] = ()  # databases of the server that let nobody connect


@dataclass(frozen=True)
class Part:
    """One thing in a backup: a volume, or what is kept as a record. `inventory` is None for a
    record; both it and `file` where only a volume's definition is kept."""

    kind: Kind
    name: str
    driver: str
    options: Mapping[str, str]
    labels: Mapping[str, str]
    used_by: tuple[Use, ...]
    content: str  # "PostgreSQL 15", "files", "" where nobody looked
    way: str  # a row of ways.WAYS, or of records.RECORDS
    file: Stored | None
    inventory: Inventory | None
    consistency: Consistency
    reached: str  # how, in a sentence
    cross_check: CrossCheck
    not_kept: tuple[str, ...]
    aside: Place | None = None  # where it stands on its engine, when it was moved and not copied
    fine_sha256: str = ""  # of what GNU tar tells beside the inventory: whole times, attributes
    size: int | None = None  # bytes, as counted before it was moved; None: not known, or a copy
    dumps: tuple[Dump, ...] = ()
    no_dump: str = ""  # why a database that ran with it has none


@dataclass(frozen=True)
class Origin:
    """The engine a backup was taken from."""

    name: str
    id: str
    host: str
    version: str


@dataclass(frozen=True)
class StoppedContainer:
    """A container that was stopped or paused for the backup, and is so since."""

    id: str
    name: str
    paused: bool = False

    @property
    def again(self) -> str:
        """What to type to have it run again."""
        return f"docker {'unpause' if self.paused else 'start'} {self.name}"


@dataclass(frozen=True)
class Backup:
    """A backup that was verified: what it holds and how it came to be."""

    id: str
    taken_at: datetime.datetime  # UTC
    verified_at: datetime.datetime  # UTC; when all parts had been read back and compared
    safedocker: str  # the version that wrote it
    argv: tuple[str, ...]  # undecodable bytes as surrogates, as sys.argv has them
    cwd: str
    caller: str
    engine: Origin | None  # None: what it holds is of no engine
    form: str
    project: str | None
    stopped: tuple[StoppedContainer, ...]
    parts: tuple[Part, ...]

    @property
    def stored_bytes(self) -> int:
        """What the parts take in the store."""
        files = [part.file for part in self.parts if part.file]
        files += [dump.file for part in self.parts for dump in part.dumps]
        return sum(file.bytes for file in files)

    @property
    def data_bytes(self) -> int:
        """What the parts hold, unpacked; of what was moved, as far as it had been counted."""
        return self.copied_bytes + sum(part.size or 0 for part in self.moved)

    @property
    def copied_bytes(self) -> int:
        """What the parts in the store hold, unpacked."""
        return sum(
            part.inventory.bytes if part.inventory else part.file.bytes
            for part in self.parts
            if part.file
        )

    @property
    def moved(self) -> tuple[Part, ...]:
        """The parts that stand aside on the engine."""
        return tuple(part for part in self.parts if part.aside)

    @property
    def places(self) -> tuple[tuple[str, Place], ...]:
        """The volumes that are moved, each with where it stands aside."""
        return tuple((part.name, part.aside) for part in self.parts if part.aside)

    @property
    def version(self) -> int:
        """The version of its manifest: the lowest that can tell it."""
        if self.moved:
            return _ON_ENGINE
        if any(part.fine_sha256 for part in self.parts):
            return _FINE
        only_volumes = all(part.kind.is_volume for part in self.parts)
        known = {Consistency.PAUSED, Consistency.RECORD}.isdisjoint(
            part.consistency for part in self.parts
        )
        if any(part.dumps or part.no_dump for part in self.parts):
            return _DUMPS
        return FIRST if self.engine and only_volumes and known else _RECORDS


def dump(backup: Backup) -> bytes:
    """Write a manifest: ASCII JSON; `load` gives the same Backup back."""
    body = {"manifest": backup.version, **asdict(backup)}
    return json.dumps(body, indent=1, default=_plain).encode("ascii") + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def load(text: bytes, where: str) -> Backup:
    """Read a manifest strictly. `where` names the file in the sentences.

    Raise SafedockerError when it is truncated, of a newer version, or not a manifest.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(where, "it is not whole JSON") from None
    top = _Object(body, where, "")
    version = top.integer("manifest")
    if version > VERSION:
        raise SafedockerError(
            f"{where} was written by a newer safedocker (manifest {version})",
            "update safedocker to use this backup",
        )
    if version < FIRST:
        raise _damaged(where, f"manifest {version} is not known")
    id_ = top.text("id")
    if not ID.fullmatch(id_):
        raise _damaged(where, f"{id_!r} is not an ID")
    origin = top.maybe_object("engine")
    return Backup(
        id=id_,
        taken_at=top.time("taken_at"),
        verified_at=top.time("verified_at"),
        safedocker=top.text("safedocker"),
        argv=top.texts("argv"),
        cwd=top.text("cwd"),
        caller=top.text("caller"),
        engine=None
        if origin is None
        else Origin(
            name=origin.text("name"),
            id=origin.text("id"),
            host=origin.text("host"),
            version=origin.text("version"),
        ),
        form=top.text("form"),
        project=top.maybe_text("project"),
        stopped=tuple(
            StoppedContainer(one.text("id"), one.text("name"), one.maybe_flag("paused"))
            for one in top.objects("stopped")
        ),
        parts=tuple(_part(one) for one in top.objects("parts")),
    )


def _part(one: _Object) -> Part:
    file = one.maybe_object("file")
    inventory = one.maybe_object("inventory")
    kind = one.choice("kind", Kind)
    aside = one.maybe_object("aside") if one.has("aside") else None
    if kind.is_volume and (file is None) != (inventory is None):
        raise _damaged(one.where, "a part has a file or an inventory, but not both")
    return Part(
        kind=kind,
        name=one.text("name"),
        driver=one.text("driver"),
        options=one.map("options"),
        labels=one.map("labels"),
        used_by=tuple(
            Use(use.text("container"), use.text("image"), use.text("target"), use.flag("running"))
            for use in one.objects("used_by")
        ),
        content=one.text("content"),
        way=one.text("way"),
        file=None if file is None else _stored(file),
        inventory=None if inventory is None else _inventory(inventory),
        consistency=one.choice("consistency", Consistency),
        reached=one.text("reached"),
        cross_check=one.choice("cross_check", CrossCheck),
        not_kept=one.texts("not_kept"),
        aside=None if aside is None else _place(aside),
        size=one.maybe_integer("size"),
        dumps=tuple(map(_dump, one.maybe_objects("dumps"))),
        no_dump=one.text("no_dump") if one.has("no_dump") else "",
        fine_sha256=one.text("fine_sha256") if one.has("fine_sha256") else "",
    )


def _dump(one: _Object) -> Dump:
    return Dump(
        file=_stored(one.object("file")),
        bytes=one.integer("bytes"),
        sha256=one.text("sha256"),
        database=one.text("database"),
        version=one.text("version"),
        tool=one.text("tool"),
        container=one.text("container"),
        image=one.text("image"),
        holds=one.texts("holds"),
        proof=one.text("proof"),
        lacks=one.texts("lacks") if one.has("lacks") else (),
    )


def _place(one: _Object) -> Place:
    place = Place(one.text("root"), one.text("folder"), one.integer("inode"))
    if not _FOLDER.fullmatch(place.folder):
        raise _damaged(one.where, f"{place.folder!r} is no folder of a backup")
    return place


def _stored(file: _Object) -> Stored:
    stored = Stored(file.text("name"), file.integer("bytes"), file.text("sha256"))
    if not _FILE.fullmatch(stored.name):
        raise _damaged(file.where, f"{stored.name!r} is no file of a backup")
    return stored


def _inventory(one: _Object) -> Inventory:
    counts = {
        field.name: one.integer(field.name)
        for field in fields(Inventory)
        if field.name != "tree_sha256"
    }
    return Inventory(tree_sha256=one.text("tree_sha256"), **counts)


def _damaged(where: str, what: str) -> SafedockerError:
    return SafedockerError(
        f"{where} can't be read as a backup's manifest: {what}",
        "put that file back from a copy of the backup's folder; the other backups are whole",
    )


_Choice = TypeVar("_Choice", bound=enum.Enum)


class _Object:
    """A JSON object that hands out its members by the type they must have."""

    def __init__(self, body: object, where: str, path: str) -> None:
        self.where = where
        self._path = path
        if not isinstance(body, dict):
            raise _damaged(where, f"{path or 'the whole'} is not an object")
        self._body: dict[str, object] = body

    def _get(self, key: str) -> object:
        try:
            return self._body[key]
        except KeyError:
            raise _damaged(self.where, f"{self._path}{key} is missing") from None

    def _wrong(self, key: str, wanted: str) -> SafedockerError:
        return _damaged(self.where, f"{self._path}{key} is not {wanted}")

    def has(self, key: str) -> bool:
        """Older manifests lack what later ones tell."""
        return key in self._body

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def maybe_text(self, key: str) -> str | None:
        return None if self._get(key) is None else self.text(key)

    def integer(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "a count")
        return value

    def maybe_integer(self, key: str) -> int | None:
        return self.integer(key) if self._body.get(key) is not None else None

    def flag(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def maybe_objects(self, key: str) -> tuple[_Object, ...]:
        return self.objects(key) if self.has(key) else ()

    def maybe_flag(self, key: str) -> bool:
        return self.has(key) and self.flag(key)

    def time(self, key: str) -> datetime.datetime:
        try:
            value = datetime.datetime.fromisoformat(self.text(key))
        except ValueError:
            raise self._wrong(key, "a time") from None
        if value.tzinfo is None:
            raise self._wrong(key, "a time with its zone")
        return value.astimezone(datetime.UTC)

    def choice(self, key: str, among: type[_Choice]) -> _Choice:
        try:
            return among(self._get(key))
        except ValueError:
            raise self._wrong(key, "one of the known words") from None

    def _list(self, key: str) -> Sequence[object]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        texts = tuple(value for value in values if isinstance(value, str))
        if len(texts) != len(values):
            raise self._wrong(key, "a list of texts")
        return texts

    def map(self, key: str) -> Mapping[str, str]:
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        texts = {name: text for name, text in value.items() if isinstance(text, str)}
        if len(texts) != len(value):
            raise self._wrong(key, "an object of texts")
        return texts

    def object(self, key: str) -> _Object:
        return _Object(self._get(key), self.where, f"{self._path}{key}.")

    def maybe_object(self, key: str) -> _Object | None:
        return None if self._get(key) is None else self.object(key)

    def objects(self, key: str) -> tuple[_Object, ...]:
        return tuple(
            _Object(value, self.where, f"{self._path}{key}[{index}].")
            for index, value in enumerate(self._list(key))
        )
