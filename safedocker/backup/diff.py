"""What changed between a backup's volume and the volume as it is now, entry by entry.

Both sides are read once and laid down in a table on the disk, so that a volume of millions of files
takes no more memory than one of ten.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import zstandard

from safedocker.backup import aside, ways
from safedocker.backup.aside import Place
from safedocker.backup.contents import Sealed, metered
from safedocker.backup.inventory import BadArchive, TreeReader
from safedocker.backup.manifest import Backup, Part, Stored
from safedocker.backup.stillness import users
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Progress, Stage
from safedocker.backup.tree import Entry
from safedocker.backup.ways import Engine
from safedocker.backup.zst import unpack
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Volume

_ROWS = 2000  # laid down at a time
_CACHE = 32 << 10  # kB of the table that may stay in memory
_KINDS = {
    b"0": "file",
    b"1": "hard link",
    b"2": "symlink",
    b"3": "device",
    b"4": "device",
    b"5": "directory",
    b"6": "fifo",
}


class Turn(enum.Enum):
    """What became of an entry since the backup."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True)
class Change:
    """One entry that is not what it was. `aspects` tell what differs: "mode", as it was, as it is;
    of one that was added or removed they are empty. A link's target may hold any bytes: those that
    are no UTF-8 are surrogates, as os.fsdecode makes them."""

    path: bytes  # below the volume's root; b"" is the root itself
    kind: str  # "file", "directory", ...
    turn: Turn
    aspects: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Difference:
    """One volume against its backup. `changes` reads them, sorted by path, as often as it is
    called."""

    part: Part
    gone: bool  # there is no such volume now
    definition: tuple[str, ...]  # what differs in it, each a few words
    running: tuple[str, ...]  # containers that run with it: it may change while it is read
    counts: Mapping[Turn, int]
    same: int  # entries that are what they were
    changes: Callable[[], Iterator[Change]] = field(default=lambda: iter(()))

    @property
    def differs(self) -> bool:
        """Is anything not as it was?"""
        return self.gone or bool(self.definition) or any(self.counts.values())


@contextlib.contextmanager
def compare(
    backup: Backup, part: Part, engine: Engine, store: FolderStore, progress: Progress
) -> Iterator[Difference]:
    """Compare one volume of a backup with the volume of that name on an engine.

    Raise SafedockerError when one of the two can't be read whole.
    """
    volume = engine.volume(part.name)
    if volume is None:
        held = part.inventory.entries if part.inventory else 0
        yield Difference(part, True, (), (), {Turn.REMOVED: held}, 0)
        return
    if part.way == ways.DUMP_ONLY:
        raise SafedockerError(
            f"of {part.name} there is a dump alone: that can't be compared with a volume",
            f"see what it holds: safedocker show {backup.id}",
        )
    _volumes, containers = engine.snapshot()
    running = tuple(one.name for one in users(part.name, containers) if one.running)
    definition = tuple(_definition(part, volume))
    file = part.file
    if file is None and part.aside is None:
        yield Difference(part, False, definition, running, {}, 0)
        return
    with store.reading(backup.id), contextlib.closing(_Table()) as table:
        if file is not None:
            _read_backup(backup, part, file, store, table, progress)
        elif part.aside is not None:
            _read_aside(part, part.aside, engine, table, progress)
        _read_volume(part, engine, table, progress)
        counts = dict.fromkeys(Turn, 0)
        same = 0
        for before, now in table.pairs():
            change = _change(before, now)
            if change is None:
                same += 1
            else:
                counts[change.turn] += 1
        yield Difference(
            part, False, definition, running, counts, same, lambda: _changes(table.pairs())
        )


def _definition(part: Part, volume: Volume) -> Iterator[str]:
    if part.driver != volume.driver:
        yield f"driver {part.driver} -> {volume.driver}"
    for what, before, now in (
        ("option", part.options, volume.options),
        ("label", part.labels, volume.labels),
    ):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                was, is_ = (side.get(key, "(none)") for side in (before, now))
                yield f"{what} {key}: {was} -> {is_}"


def _read_backup(
    backup: Backup,
    part: Part,
    file: Stored,
    store: FolderStore,
    table: _Table,
    progress: Progress,
) -> None:
    ways.by_name(part.way)
    total = part.inventory.bytes if part.inventory else 0
    sealed = Sealed(store.open(backup.id, file.name))
    try:
        table.take(
            0,
            metered(unpack(sealed), lambda done: progress(Stage.CHECK, part.name, done, total)),
        )
        sealed.compare(file)
    except OSError as fault:
        raise _damaged(backup, f"{file.name} can't be read: {fault.strerror}") from fault
    except zstandard.ZstdError as fault:
        raise _damaged(backup, f"{file.name} can't be unpacked: {fault}") from fault
    except BadArchive as fault:
        raise _damaged(backup, fault.message) from fault


def _read_aside(
    part: Part, place: Place, engine: Engine, table: _Table, progress: Progress
) -> None:
    if aside.is_back(engine, part.name, place):
        raise SafedockerError(
            f"what was moved aside from the volume {part.name} is in it again: there is nothing to "
            "compare it with"
        )
    with engine.read_aside(place.path) as stream:
        table.take(
            0,
            metered(stream, lambda done: progress(Stage.CHECK, part.name, done, part.size)),
        )


def _damaged(backup: Backup, why: str) -> SafedockerError:
    return SafedockerError(
        f"the backup {backup.id} is damaged: {why}",
        "put it back from a copy of the backup's folder",
    )


def _read_volume(part: Part, engine: Engine, table: _Table, progress: Progress) -> None:
    total = part.inventory.bytes if part.inventory else 0
    try:
        with engine.read_volume(part.name) as stream:
            table.take(
                1,
                metered(stream, lambda done: progress(Stage.COMPARE, part.name, done, total)),
            )
    except BadArchive as fault:
        raise SafedockerError(
            f"the volume {part.name} could not be read whole: {fault.message}",
            "if a container writes to it, stop that first",
        ) from fault


_Row = tuple[bytes, int, bytes, int, int, int, int, int, bytes, str, bytes, bytes]


class _Table:
    """Entries of both sides by path, in a file of SQLite's own that is gone when it is closed."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("")
        self._base.execute(f"pragma cache_size = -{_CACHE}")
        self._base.execute("pragma journal_mode = off")
        self._base.execute(
            "create table entry (path, side, kind, mode, uid, gid, size, mtime, link, device, "
            "xattrs, content, primary key (path, side)) without rowid"
        )
        self._waiting: list[_Row] = []

    def close(self) -> None:
        """Forget all of it."""
        self._base.close()

    def take(self, side: int, stream: Iterable[bytes]) -> None:
        """Lay down what a tar stream holds: 0 as it was, 1 as it is. Raise BadArchive when it is
        cut short or damaged."""

        def tell(entry: Entry, content: bytes) -> None:
            self._waiting.append(_row(side, entry, content))
            if len(self._waiting) >= _ROWS:
                self._flush()

        reader = TreeReader(tell, remember=False)
        for piece in stream:
            reader.feed(piece)
        reader.end()
        self._flush()

    def _flush(self) -> None:
        marks = ", ".join("?" * 12)
        self._base.executemany(f"insert or replace into entry values ({marks})", self._waiting)  # noqa: S608 - marks alone
        self._waiting.clear()

    def pairs(self) -> Iterator[tuple[_Row | None, _Row | None]]:
        """Each path's entry as it was and as it is, sorted by path."""
        rows = self._base.execute("select * from entry order by path, side")
        for _path, group in itertools.groupby(rows, key=lambda row: row[0]):
            found = {row[1]: row for row in group}
            yield found.get(0), found.get(1)


def _row(side: int, entry: Entry, content: bytes) -> _Row:
    device = "" if entry.device == (0, 0) else "{}:{}".format(*entry.device)
    xattrs = hashlib.sha256(repr(entry.xattrs).encode()).digest() if entry.xattrs else b""
    return (
        entry.path,
        side,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime if entry.path else 0,  # mounting a volume may touch its root
        entry.link,
        device,
        xattrs,
        content,
    )


def _changes(pairs: Iterable[tuple[_Row | None, _Row | None]]) -> Iterator[Change]:
    return (change for before, now in pairs if (change := _change(before, now)) is not None)


def _change(before: _Row | None, now: _Row | None) -> Change | None:
    if now is None:
        return before and Change(before[0], _KINDS[before[2]], Turn.REMOVED, {})
    if before is None:
        return Change(now[0], _KINDS[now[2]], Turn.ADDED, {})
    if before[2:] == now[2:]:
        return None
    aspects = {
        name: (was, is_)
        for (name, was), (_name, is_) in zip(_aspects(before), _aspects(now), strict=True)
        if was != is_
    }
    if before[11] != now[11] and "size" not in aspects:
        aspects["content"] = ("", "")
    if before[10] != now[10]:
        aspects["extended attributes"] = ("", "")
    return Change(now[0], _KINDS[now[2]], Turn.CHANGED, aspects)


def _aspects(row: _Row) -> tuple[tuple[str, str], ...]:
    return (
        ("type", _KINDS[row[2]]),
        ("size", f"{row[6]}"),
        ("owner", f"{row[4]}:{row[5]}"),
        ("mode", f"{row[3]:04o}"),
        ("mtime", f"{row[7]}"),
        ("link", row[8].decode("utf-8", "surrogateescape")),
        ("device", row[9]),
    )
