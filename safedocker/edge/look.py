"""What is inside a volume: the table of what is recognised, and the walk over its tar stream, or
its folder.

Nothing is asked of an engine here; engine.py brings the bytes and answers the probes.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from safedocker.loss.facts import Owner

BLOCK = 512
HEAD = 4096  # bytes of a version file that are read
SQLITE = b"SQLite format 3\0"
# How an archive calls the types of files that it can hold.
_KINDS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


@dataclass(frozen=True)
class Row:
    """One kind of content.

    It is there when below one of `bases` every path of `all_of`, and one of `any_of` if there are
    any, exists. `version` is a file below that base and the pattern whose group 1 is the version.
    """

    name: str
    bases: tuple[str, ...]
    all_of: tuple[str, ...]
    any_of: tuple[str, ...] = ()
    version: tuple[tuple[str, str], ...] = ()


def _majors(below: str) -> tuple[str, ...]:
    return tuple(f"{major}/{below}" for major in range(10, 25))


_SQL_BASES = ("", "data", "mysql", "mysql/data")
_SQL_VERSION = (
    ("mariadb_upgrade_info", r"(\d+\.\d+)"),
    ("mysql_upgrade_info", r"(\d+\.\d+)"),
    ("mysql_upgrade_history", r'"version"\s*:\s*"(\d+\.\d+)'),
)

# The first row that fits wins: Grafana before SQLite files, MariaDB before MySQL.
ROWS = (
    Row(
        "PostgreSQL",
        ("", "data", "pgdata", *_majors("docker"), *_majors("main")),
        ("PG_VERSION", "global"),
        version=(("PG_VERSION", r"(\d+(?:\.\d+)?)"),),
    ),
    Row("MariaDB", _SQL_BASES, ("ibdata1", "aria_log_control"), version=_SQL_VERSION),
    Row("MySQL", _SQL_BASES, ("ibdata1",), ("mysql", "mysql.ibd"), _SQL_VERSION),
    Row(
        "Redis",
        ("", "data", "redis/data"),
        (),
        ("dump.rdb", "appendonlydir", "appendonly.aof"),
        (("dump.rdb", r"(?:redis|valkey)-ver.(\d+\.\d+)"),),
    ),
    Row("MongoDB", ("", "db", "data/db"), ("WiredTiger", "WiredTiger.wt")),
    Row("Elasticsearch", ("", "data"), ("nodes/0",)),
    Row("Elasticsearch", ("", "data"), ("_state", "indices")),
    Row("etcd", ("", "data", "default.etcd"), ("member/wal",)),
    Row("InfluxDB", ("", "data"), (), ("influxd.bolt", "meta/meta.db")),
    Row("ClickHouse", ("", "data"), ("store", "metadata")),
    Row("Neo4j", ("", "data"), ("databases", "transactions")),
    Row("RabbitMQ", ("",), ("mnesia",)),
    Row("MinIO", ("", "data"), (".minio.sys",)),
    Row("Prometheus", ("", "data"), ("chunks_head", "wal")),
    Row("Grafana", ("",), ("grafana.db",)),
)


def _below(base: str, path: str) -> str:
    return f"{base}/{path}" if base else path


MARKERS = frozenset(
    _below(base, path) for row in ROWS for base in row.bases for path in (*row.all_of, *row.any_of)
)
VERSIONS = frozenset(
    _below(base, path) for row in ROWS for base in row.bases for path, _ in row.version
)
# A base of two parts is probed only when its first part was seen: PostgreSQL has sixty of them.
_FIRSTS = frozenset(base.partition("/")[0] for row in ROWS for base in row.bases if base)


@dataclass
class Tally:
    """What a walk over a volume's tar stream saw. Paths are relative to the volume's root."""

    whole: bool = False  # the stream was read to its end mark
    entries: int = 0  # without the root and an empty lost+found
    size: int = 0  # bytes of regular files
    newest: float | None = None  # seconds since the epoch, newest of all regular files
    root: float | None = None  # the root directory's own time
    owner: Owner | None = None  # of the root directory
    names: set[str] = field(default_factory=set)  # the MARKERS that exist
    firsts: set[str] = field(default_factory=set)  # first path parts that could hold a base
    heads: dict[str, bytes] = field(default_factory=dict)  # the start of the VERSIONS that exist
    sqlite: bool = False

    @property
    def empty(self) -> bool:
        """There is nothing in the volume, and all of it was seen."""
        return self.whole and self.entries == 0

    @property
    def last_write(self) -> datetime.datetime | None:
        """The newest time of a file, or the root's when there is no file; UTC."""
        seconds = self.newest if self.newest is not None else self.root
        if seconds is None:
            return None
        try:
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        except (OverflowError, OSError, ValueError):
            return None


def walk(chunks: Iterable[bytes], tally: Tally, in_time: Callable[[], bool]) -> None:
    """Read a volume's tar stream into `tally` until its end or until time is up.

    Stops silently where the stream stops making sense: `tally.whole` then stays False. What the
    iterator raises passes through, with the tally as far as it came.
    """
    reader = _Reader(chunks, in_time)
    extended: dict[str, str] = {}
    try:
        while True:
            header = reader.take(BLOCK)
            if header == bytes(BLOCK):
                tally.whole = reader.take(BLOCK) == bytes(BLOCK)
                return
            kind = header[156:157]
            size = _number(header[124:136])
            if kind in {b"x", b"L"}:
                block = reader.take(size)
                reader.skip(-size % BLOCK)
                extended |= _extended(kind, block)
                continue
            if kind == b"g":
                reader.skip(size + -size % BLOCK)
                continue
            path = extended.get("path") or _name(header)
            if "size" in extended:
                size = int(extended["size"])
            moment = float(extended["mtime"]) if "mtime" in extended else _number(header[136:148])
            if not _inner(path):
                uid, gid = (
                    int(extended[key]) if key in extended else _number(header[at : at + 8])
                    for key, at in (("uid", 108), ("gid", 116))
                )
                tally.owner = Owner(uid, gid, _number(header[100:108]) & 0o7777)
            extended = {}
            size = size if kind in {b"0", b"\0", b"7"} else 0
            head = reader.take(min(size, HEAD if _inner(path) in VERSIONS else len(SQLITE)))
            _count(tally, _inner(path), kind, size, moment, head)
            reader.skip(size - len(head) + -size % BLOCK)
    except (_Ended, ValueError):
        return


def walk_folder(top: int, tally: Tally, in_time: Callable[[], bool]) -> None:
    """As `walk`, of the volume's own folder, by a descriptor. What goes away meanwhile was not
    there; no link is followed."""
    state = os.fstat(top)
    _count(tally, "", b"5", 0, state.st_mtime, b"")
    tally.owner = Owner(state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode))
    with contextlib.suppress(RecursionError):  # fwalk, deeper than 1000 before Python 3.12
        tally.whole = _walk_below(top, tally, in_time)


def _walk_below(top: int, tally: Tally, in_time: Callable[[], bool]) -> bool:
    """Count what is in a folder. Was all of it seen?"""
    faults: list[OSError] = []
    seen: set[tuple[int, int]] = set()  # files of several names
    for above, folders, files, folder in os.fwalk(".", onerror=faults.append, dir_fd=top):
        for name in (*folders, *files):
            if not in_time():
                return False
            try:
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                kind = _KINDS.get(stat.S_IFMT(state.st_mode), b"")
                if kind == b"0" and state.st_nlink > 1 and (state.st_dev, state.st_ino) in seen:
                    kind = b"1"
                seen |= {(state.st_dev, state.st_ino)} if state.st_nlink > 1 else set()
                path = os.path.normpath(os.path.join(above, name))
                head = _head(path, name, folder) if kind == b"0" else b""
            except OSError as fault:
                faults.append(fault)
                continue
            if kind:
                _count(tally, path, kind, state.st_size, state.st_mtime, head)
    return all(isinstance(fault, FileNotFoundError) for fault in faults)


def _head(path: str, name: str, folder: int) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        return os.read(file, HEAD if path in VERSIONS else len(SQLITE))
    finally:
        os.close(file)


def start_of(top: int, path: str) -> bytes | None:
    """The start of the file at a path in the volume's own folder; b"" of what is no file, None
    where there is nothing, or a link on the way."""
    *above, name = path.split("/")
    folder = os.dup(top)
    try:
        for step in above:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(step, flags, dir_fd=folder)
            os.close(folder)
            folder = below
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return _head(path, name, folder) if stat.S_ISREG(state.st_mode) else b""
    except OSError:
        return None
    finally:
        os.close(folder)


def first_file(chunks: Iterable[bytes]) -> bytes:
    """Return the start of the file that is alone in a tar stream."""
    reader = _Reader(chunks, lambda: True)
    try:
        while True:
            header = reader.take(BLOCK)
            size = _number(header[124:136])
            if header[156:157] not in {b"x", b"g", b"L"}:
                return reader.take(min(size, HEAD))
            reader.skip(size + -size % BLOCK)
    except (_Ended, ValueError):
        return b""


def _count(tally: Tally, path: str, kind: bytes, size: int, moment: float, head: bytes) -> None:
    if not path:
        tally.root = moment
        return
    if path in MARKERS:
        tally.names.add(path)
    if path in VERSIONS:
        tally.heads[path] = head
    first = path.partition("/")[0]
    if first in _FIRSTS:
        tally.firsts.add(first)
    if path != "lost+found" or kind != b"5":
        tally.entries += 1
    if kind in {b"0", b"\0", b"7"}:
        tally.size += size
        tally.newest = moment if tally.newest is None else max(tally.newest, moment)
        tally.sqlite = tally.sqlite or head.startswith(SQLITE)


def recognise(has: Callable[[str], bool], read: Callable[[str], bytes]) -> str:
    """Name what is in a volume: "PostgreSQL 15", "Redis", or "" when no row fits."""
    for row in ROWS:
        for base in row.bases:
            if not all(has(_below(base, path)) for path in row.all_of):
                continue
            if row.any_of and not any(has(_below(base, path)) for path in row.any_of):
                continue
            for path, pattern in row.version:
                # A later file may hold the version when the first is not there.
                found = re.search(pattern, read(_below(base, path)).decode("latin-1"), re.DOTALL)
                if found:
                    return f"{row.name} {found[1]}"
            return row.name
    return ""


def content(tally: Tally, recognised: str) -> str:
    """Say in words what is in a volume of which this much was seen."""
    if recognised:
        return recognised
    if tally.sqlite:
        return "SQLite files"
    return "files" if tally.entries else ""


def worth_probing(tally: Tally, path: str) -> bool:
    """Say whether a path that the walk did not come to may still exist below a likely base."""
    first, _, rest = path.partition("/")
    return not (rest and first.isdecimal()) or first in tally.firsts


class _Ended(Exception):  # noqa: N818 - the stream ended, or the time: no fault
    """There are no more bytes to be had."""


class _Reader:
    """Takes exact counts of bytes from an iterator of chunks of any length."""

    def __init__(self, chunks: Iterable[bytes], in_time: Callable[[], bool]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._in_time = in_time
        self._buffer = b""
        self._at = 0

    def _more(self) -> None:
        if not self._in_time():
            raise _Ended
        try:
            self._buffer, self._at = next(self._chunks), 0
        except StopIteration:
            raise _Ended from None

    def take(self, count: int) -> bytes:
        if self._at + count <= len(self._buffer):
            self._at += count
            return self._buffer[self._at - count : self._at]
        parts = []
        while count:
            if self._at == len(self._buffer):
                self._more()
            part = self._buffer[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count > len(self._buffer) - self._at:
            count -= len(self._buffer) - self._at
            self._more()
        self._at += count


def _number(raw: bytes) -> int:
    """Read a tar number: octal, or base 256 for large ones."""
    if raw[0] & 0x80:
        sign = b"\xff" if raw[0] == 0xFF else bytes([raw[0] & 0x7F])
        return int.from_bytes(sign + raw[1:], signed=True)
    return int(raw.rstrip(b"\0 ") or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _extended(kind: bytes, block: bytes) -> dict[str, str]:
    """Read the records of a pax header, or a GNU long name, that belong to the next entry."""
    if kind == b"L":
        return {"path": block.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found = {}
    while block:
        length = int(block.partition(b" ")[0])
        if length <= 0:
            raise ValueError(length)
        key, _, value = block[:length].partition(b" ")[2].removesuffix(b"\n").partition(b"=")
        if key in {b"path", b"size", b"mtime", b"uid", b"gid"}:
            found[key.decode()] = value.decode("utf-8", "surrogateescape")
        block = block[length:]
    return found


def _inner(path: str) -> str:
    """Drop the leading "volume": the path below the volume's root, "" for the root itself."""
    return path.partition("/")[2].rstrip("/")
