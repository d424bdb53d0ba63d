"""What an engine still knows of things that are gone: its last events; and the tables of small
SQLite files in a volume. No rule is decided here."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tarfile
import time
from collections.abc import Mapping
from typing import Any

from safedocker.edge import answers, look
from safedocker.edge.host import Stream
from safedocker.edge.porter import CHUNK, SCRATCH_NAME, Porter
from safedocker.edge.wire import Wire
from safedocker.errors import NoBackup, NoEngine, SafedockerError
from safedocker.loss.facts import COMPOSE_PROJECT, HELPER, EngineIdentity
from safedocker.loss.history import Event, Told
from safedocker.loss.orphans import Origin, Trace

EVENTS_SECONDS = 3.0
SMALL = 4 << 20  # bytes of a SQLite file that is read for its tables
FILES = 5  # of those in a volume
_SCHEMA = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"


class Traces:
    """The traces on one engine."""

    def __init__(self, wire: Wire, porter: Porter) -> None:
        self._wire = wire
        self._porter = porter

    def of_volumes(self, now: float) -> dict[str, Origin]:
        """Which container mounted a volume last, by the volume's name, as far as the engine's last
        events tell: it keeps 256 of them, of all kinds, and forgets them when it starts again.

        `now` by the engine's clock; 0.0: it does not say, and nothing is asked. Nothing is raised.
        Source: moby daemon/events/events.go, eventsLimit.
        """
        if not now:
            return {}
        params = {
            "since": "1",
            "until": f"{now:.9f}",
            "filters": json.dumps({"type": ["container", "volume"]}),
        }
        try:
            answer = self._wire.call(
                "GET", "/events", "tell its last events", params, timeout=EVENTS_SECONDS
            )
            lines = answer.text.splitlines()
        except NoEngine:
            return {}
        return _read(lines)

    def last(self, engine: EngineIdentity, now: float) -> Told:
        """What the engine's last events tell of volumes and containers that went; nothing where it
        does not say what time it is. Raise NoEngine."""
        if not now:
            return Told(engine.id)
        # 20.10 tells of a prune that it was, and not of the volumes; 26.1 tells of each (seen).
        nameless = engine.version.partition(".")[0] in {"19", "20", "23", "24", "25"}
        params = {"since": "1", "until": f"{now:.9f}"}
        answer = self._wire.call("GET", "/events", "tell its last events", params)
        events, since = [], None
        for line in answer.text.splitlines():
            with contextlib.suppress(ValueError):
                told = answers.mapping(json.loads(line))
                at = told.get("timeNano")
                if isinstance(at, int):
                    since = at / 1e9 if since is None else since
                    events += _removal(told, at / 1e9, nameless=nameless)
        return Told(engine.id, tuple(events), since)

    def tables(self, volume: str, seconds: float) -> dict[str, tuple[str, ...]]:
        """The tables of the small SQLite files in a volume, by the files' paths in it; at most
        FILES files. What can't be read is left out; nothing is raised."""
        found: dict[str, tuple[str, ...]] = {}
        deadline = time.monotonic() + seconds
        with (
            contextlib.suppress(SafedockerError, tarfile.TarError, TimeoutError),
            self._porter.opened(volume, read_only=True, timeout=seconds) as helper,
            self._wire.reading(
                f"/containers/{helper}/archive",
                "send what is in a volume",
                {"path": "/volume"},
                size=CHUNK,
                timeout=seconds,
                kind=NoBackup,
            ) as chunks,
            tarfile.open(fileobj=Stream(chunks, deadline), mode="r|") as archive,
        ):
            for member in archive:
                if not member.isfile() or not len(look.SQLITE) < member.size <= SMALL:
                    continue
                file = archive.extractfile(member)
                head = file.read(len(look.SQLITE)) if file else b""
                if file and head == look.SQLITE:
                    found[member.name.partition("/")[2]] = tables_of(head + file.read())
                    if len(found) == FILES:
                        break
        return found


def tables_of(content: bytes) -> tuple[str, ...]:
    """The tables of a SQLite file, by name. () where it can't be read."""
    # A file that was written with a log beside it can't be opened without; told to be of the other
    # kind it can. Source: sqlite.org/fileformat2.html, offsets 18 and 19.
    content = content[:18] + b"\x01\x01" + content[20:]
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content)
            connection.execute("pragma trusted_schema = off")
            return tuple(sorted(str(row[0]) for row in connection.execute(_SCHEMA)))
    except sqlite3.Error:
        return ()


def _removal(told: Mapping[str, Any], at: float, *, nameless: bool) -> list[Event]:
    kind, actor = answers.text(told, "Type"), answers.mapping(told.get("Actor"))
    attributes = answers.texts(actor, "Attributes")
    action = answers.text(told, "Action")
    if nameless and (kind, action) == ("volume", "prune"):
        return [Event(at, "prune", "")]
    gone = action == "destroy"
    if not gone or kind not in {"volume", "container"} or HELPER in attributes:
        return []
    id_ = answers.text(actor, "ID")
    if kind == "volume" and SCRATCH_NAME.fullmatch(id_):
        return []  # of a volume's labels its events tell nothing
    return [Event(at, kind, id_ if kind == "volume" else attributes.get("name", id_))]


def _read(lines: list[str]) -> dict[str, Origin]:
    """Join the mounts of volumes with what is told of the containers that did them."""
    containers: dict[str, Mapping[str, str]] = {}
    mounts: dict[str, tuple[str, str, float]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            event = answers.mapping(json.loads(line))
            actor = answers.mapping(event.get("Actor"))
            id_, told = answers.text(actor, "ID"), answers.texts(actor, "Attributes")
            if answers.text(event, "Type") == "container":
                containers[id_] = told
            elif answers.text(event, "Action") == "mount" and "container" in told:
                at = event.get("time")
                when = float(at) if isinstance(at, int) else 0.0
                mounts[id_] = (told["container"], told.get("destination", ""), when)
    return {
        volume: _origin(containers[container], target, at)
        for volume, (container, target, at) in mounts.items()
        if container in containers and HELPER not in containers[container]
    }


def _origin(told: Mapping[str, Any], target: str, at: float) -> Origin:
    return Origin(
        trace=Trace.EVENTS,
        container=told.get("name", ""),
        image=told.get("image", ""),
        target=target,
        project=told.get(COMPOSE_PROJECT),
        at=at or None,
    )
