"""What can be read back whole is kept as a record, a file of its own: configs of a swarm, contexts
of a client's configuration. How each is read and made again, as a table."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import Consistency, CrossCheck, Part, Stored
from safedocker.backup.store import Draft
from safedocker.backup.ways import Engine
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.plan import Kind, Loss

FOLDER = "folder"  # the option of a context's part: the configuration that held it


class Contexts(Protocol):
    """The contexts in one folder of configuration; edge/contexts.py has it."""

    def read(self, name: str, /) -> bytes | None: ...
    def create(self, record: bytes, /) -> None: ...


OpenContexts = Callable[[Path], Contexts]


@dataclass(frozen=True)
class Places:
    """Where the things stand: the engine, and each folder's contexts."""

    engine: Engine | None
    contexts: OpenContexts | None = None


@dataclass(frozen=True)
class RecordWay:
    """One way to keep a record. `place` is a context's folder; a record is a JSON object with a
    `name`, and the same thing gives the same bytes."""

    name: str
    kind: Kind
    read: Callable[[Places, str, str], bytes | None]  # by its id or name, and its place
    create: Callable[[Places, bytes, str], None]
    renamed: Callable[[dict[str, Any], str], dict[str, Any]]
    not_kept: tuple[str, ...]


def way_of(kind: Kind) -> RecordWay | None:
    """The row for a kind of thing; None for a volume, which ways.py protects."""
    return next((way for way in RECORDS if way.kind is kind), None)


def take(way: RecordWay, loss: Loss, places: Places, draft: Draft, stem: str) -> Part:
    """Put a thing's record into the draft, read it back, and return its part. Raise NoBackup when
    the thing is gone."""
    place = loss.id if loss.kind is Kind.CONTEXT else ""
    record = way.read(places, loss.name if place else loss.id, place)
    if record is None:
        raise NoBackup(
            f"the {loss.kind.value} {loss.name} is gone meanwhile: nothing was removed by "
            "safedocker",
            "type the command again to see what it takes now",
        )
    name = f"{stem}.json"
    stored = Stored(name, draft.put(name, [record]), hashlib.sha256(record).hexdigest())
    read_back(draft.open(name), stored)
    labels: Mapping[str, str] = json.loads(record).get("labels", {})
    return Part(
        kind=loss.kind,
        name=loss.name,
        driver="",
        options={FOLDER: place} if place else {},
        labels=labels,
        used_by=(),
        content="",
        way=way.name,
        file=stored,
        inventory=None,
        consistency=Consistency.RECORD,
        reached="read in one piece",
        cross_check=CrossCheck.NONE,
        not_kept=way.not_kept,
    )


def read_back(pieces: Iterable[bytes], part: Stored) -> bytes:
    """Return a part's record from the store. Raise BadArchive when it is not what was written."""
    record = b"".join(pieces)
    if len(record) != part.bytes or hashlib.sha256(record).hexdigest() != part.sha256:
        raise BadArchive(f"{part.name} is not the file that was written")
    return record


def named(way: RecordWay, record: bytes, name: str) -> bytes:
    """The record of the same thing under this name."""
    body = json.loads(record)
    if body["name"] == name:
        return record
    return dumped(way.renamed({**body, "name": name}, name))


def dumped(body: Mapping[str, Any]) -> bytes:
    """A record as the neighbours write it too."""
    return json.dumps(body, indent=1, sort_keys=True).encode("ascii") + b"\n"


def is_there(way: RecordWay, part: Part, name: str, record: bytes, places: Places) -> bool:
    """Does the thing stand there as the record tells it? Raise SafedockerError when another of
    that name does."""
    found = way.read(places, name, part.options.get(FOLDER, ""))
    if found is not None and found != record:
        word = part.kind.value
        raise SafedockerError(
            f"there is another {word} {name}: nothing was changed",
            f"put it back beside that one with --as NEW, or remove that one first: "
            f"docker {word} rm {name}",
        )
    return found is not None


def put_back(way: RecordWay, part: Part, name: str, record: bytes, places: Places) -> None:
    """Make the thing again, and compare it. Raise SafedockerError when that fails."""
    place = part.options.get(FOLDER, "")
    way.create(places, record, place)
    if way.read(places, name, place) != record:
        raise SafedockerError(
            f"the {part.kind.value} {name} was made, but does not compare equal",
            f"see what it is now: docker {part.kind.value} inspect {name}",
        )


def _engine(places: Places) -> Engine:
    if places.engine is None:
        raise SafedockerError("it takes an engine to make it again", "name one with --host")
    return places.engine


def _contexts(places: Places, folder: str) -> Contexts:
    if places.contexts is None:
        raise SafedockerError(f"nobody opened the configuration in {folder}", "type it again")
    return places.contexts(Path(folder))


def _same(body: dict[str, Any], _name: str) -> dict[str, Any]:
    return body


def _rename_context(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The name stands in meta.json too, and that is what the client goes by."""
    files = dict(body["meta"])
    meta = json.loads(base64.b64decode(files["meta.json"]["data"]))
    text = json.dumps({**meta, "Name": name}, separators=(",", ":")).encode("utf-8")
    files["meta.json"] = {**files["meta.json"], "data": base64.b64encode(text).decode("ascii")}
    return {**body, "meta": files}


RECORDS = (
    RecordWay(
        "config",
        Kind.CONFIG,
        lambda places, name, _place: _engine(places).read_config(name),
        lambda places, record, _place: _engine(places).create_config(record),
        _same,
        ("its id, and with it the services' reference to it",),
    ),
    RecordWay(
        "context",
        Kind.CONTEXT,
        lambda places, name, place: _contexts(places, place).read(name),
        lambda places, record, place: _contexts(places, place).create(record),
        _rename_context,
        ("that it was the current one",),
    ),
)
