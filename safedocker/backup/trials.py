"""The databases that a drill can start, as a table: how one is told from its files, what it takes
to start it on a data folder that is there, when it is ready, how what it holds is counted."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Trial(Protocol):
    """A container of our own that runs a database; edge/trial.py has it."""

    def run(self, argv: Sequence[str], /) -> tuple[int, str]: ...
    def exit_code(self) -> int | None: ...
    def log(self, lines: int, /) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Start:
    """What is added to the image's own command, to its environment, and to the data folder."""

    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()


Counts = Mapping[str, int]  # "databases": 2, "tables": 14, "rows": 20000


@dataclass(frozen=True)
class Database:
    """One row. `target` is where its images have their data, unless a container was told otherwise.
    A data folder is where one of `marks` lies below it. `start` is given that folder in
    the container, and the marks that were found. One of `ready` has to succeed and to print
    `answer`. `count` is given the container's environment, and returns None where it can't count.
    """

    names: tuple[str, ...]  # as a look inside calls it, without the version
    images: tuple[str, ...]  # words in the names of its images
    target: str
    marks: tuple[str, ...]
    start: Callable[[str, frozenset[str]], Start]
    ready: tuple[tuple[str, ...], ...]
    answer: str  # a pattern
    count: Callable[[Trial, Mapping[str, str]], Counts | None]

    def has_image(self, *images: str) -> bool:
        """Is one of these an image of it, by its name?"""
        return any(word in image.lower() for word in self.images for image in images)


def of(content: str, images: Iterable[str]) -> Database | None:
    """The row for what a look inside said: "PostgreSQL 15"; None where it can't be started.

    One that writes its files only when it ends was seen as less than that: there the images of the
    containers that ran with the volume tell.
    """
    name = content.partition(" ")[0]
    if name not in {"", "files"}:
        return next((row for row in DATABASES if name in row.names), None)
    told = [image.lower() for image in images]
    return next((row for row in DATABASES if row.has_image(*told)), None)


def folder_of(path: str, row: Database) -> tuple[str, str] | None:
    """The data folder that a path in a volume is a mark of, and the mark; None where it is none."""
    for mark in row.marks:
        if path == mark or path.endswith(f"/{mark}"):
            return path[: -len(mark)].rstrip("/"), mark
    return None


def _start_postgres(data: str, _marks: frozenset[str]) -> Start:
    # Nobody knows its passwords here, and nobody can reach it.
    return Start(
        ("-c", f"hba_file={posixpath.join(data, _HBA)}"),
        (("PGDATA", data),),
        ((_HBA, b"local all all trust\n"),),
    )


def _start_mysql(data: str, _marks: frozenset[str]) -> Start:
    return Start((f"--datadir={data}", "--skip-grant-tables", "--skip-networking"))


def _start_redis(data: str, marks: frozenset[str]) -> Start:
    appends = not marks.isdisjoint(_APPENDED)
    return Start(("--dir", data, *(("--appendonly", "yes") if appends else ())))


def _start_mongo(data: str, _marks: frozenset[str]) -> Start:
    return Start(("--dbpath", data))


def first(trial: Trial, ways: Sequence[Sequence[str]], answer: str = "") -> str | None:
    """What the first of these commands that succeeds, and prints the answer, prints."""
    for argv in ways:
        code, said = trial.run(argv)
        if code == 0 and re.search(answer, said):
            return said
    return None


_HBA = "safedocker-hba.conf"
# The words in the file of the roles: in a cluster that was made for POSTGRES_USER=app there is no
# postgres, and where the container is gone nobody can say that it is app. Source: PostgreSQL
# src/include/catalog/pg_authid.h, whose number is 1260.
_WORDS = "tr -cs '!-~' '\\n' <\"$PGDATA/global/1260\""
_MOST_WORDS = 50
_SUPER = "select 1 / rolsuper::int from pg_roles where rolname = current_user"
_LIST = "select datname from pg_database where datallowconn and datname !~ '^template'"
_TABLES = (
    "select count(*), coalesce(sum(greatest(reltuples, 0)), 0)::bigint from pg_class c "
    "join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'm') and "
    "nspname !~ '^pg_' and nspname <> 'information_schema'"
)


def _count_postgres(trial: Trial, environment: Mapping[str, str]) -> Counts | None:
    def ask(role: str, database: str, sql: str) -> str | None:
        argv = ("psql", "-X", "-w", "-qtA", "-U", role, "-d", database, "-c", sql)
        code, said = trial.run(argv)
        return said if code == 0 else None

    words = trial.run(("sh", "-c", _WORDS))[1].splitlines()[:_MOST_WORDS]
    roles = dict.fromkeys((environment.get("POSTGRES_USER", ""), "postgres", *words))
    for role in filter(None, roles):
        if ask(role, "template1", _SUPER) is None:
            continue
        tables = rows = 0
        names = (ask(role, "template1", _LIST) or "").splitlines()
        for name in names:
            ask(role, name, "analyze")  # this copy is ours, and what it last knew may be old
            told = (ask(role, name, _TABLES) or "").strip().partition("|")
            with contextlib.suppress(ValueError):
                tables, rows = tables + int(told[0]), rows + int(told[2])
        return {"databases": len(names), "tables": tables, "rows": rows}
    return None


_SCHEMAS = (
    "select count(distinct table_schema), count(*), coalesce(sum(table_rows), 0) "
    "from information_schema.tables where table_type = 'BASE TABLE' and table_schema not in "
    "('mysql', 'sys', 'information_schema', 'performance_schema')"
)


def _count_mysql(trial: Trial, _environment: Mapping[str, str]) -> Counts | None:
    first(trial, [(program, "--analyze", "--all-databases") for program in _MYSQL_CHECKS])
    asked = [(program, "-N", "-B", "-e", _SCHEMAS) for program in ("mariadb", "mysql")]
    said = first(trial, asked, r"^\d+\t\d+\t\d+\s*$")
    if said is None:
        return None
    databases, tables, rows = map(int, said.split())
    return {"databases": databases, "tables": tables, "rows": rows}


def _count_redis(trial: Trial, _environment: Mapping[str, str]) -> Counts | None:
    said = first(trial, [(cli, "info", "keyspace") for cli in _REDIS_CLI], "# Keyspace")
    if said is None:
        return None
    keys = [int(number) for number in re.findall(r"^db\d+:keys=(\d+)", said, re.MULTILINE)]
    return {"databases": len(keys), "keys": sum(keys)}


_MONGO_COUNT = (
    "let d=0,c=0,n=0;db.adminCommand({listDatabases:1}).databases.forEach(x=>{"
    "if(['admin','config','local'].includes(x.name))return;d++;"
    "const y=db.getSiblingDB(x.name);y.getCollectionNames().forEach(z=>{c++;"
    "n+=y.getCollection(z).estimatedDocumentCount()})});print(d+' '+c+' '+n)"
)


def _count_mongo(trial: Trial, _environment: Mapping[str, str]) -> Counts | None:
    asked = [(shell, "--quiet", "--eval", _MONGO_COUNT) for shell in _MONGO_SHELLS]
    said = first(trial, asked, r"^\d+ \d+ \d+\s*$")
    if said is None:
        return None
    databases, collections, documents = map(int, said.split())
    return {"databases": databases, "collections": collections, "documents": documents}


_MYSQL_CHECKS = ("mariadb-check", "mysqlcheck")
_APPENDED = ("appendonlydir", "appendonly.aof")
_REDIS_CLI = ("redis-cli", "valkey-cli")
_MONGO_SHELLS = ("mongosh", "mongo")

DATABASES = (
    Database(
        ("PostgreSQL",),
        ("postgres", "postgis", "timescale", "pgvector"),
        "/var/lib/postgresql/data",
        (posixpath.join("global", "pg_control"),),
        _start_postgres,
        (("pg_isready", "-q"),),
        "",
        _count_postgres,
    ),
    Database(
        ("MariaDB", "MySQL"),
        ("mariadb", "mysql", "percona"),
        "/var/lib/mysql",
        ("ibdata1",),
        _start_mysql,
        (("mariadb-admin", "ping"), ("mysqladmin", "ping")),
        "alive",
        _count_mysql,
    ),
    Database(
        ("Redis",),
        ("redis", "valkey"),
        "/data",
        ("dump.rdb", *_APPENDED),
        _start_redis,
        tuple((cli, "ping") for cli in _REDIS_CLI),
        "PONG|NOAUTH",
        _count_redis,
    ),
    Database(
        ("MongoDB",),
        ("mongo",),
        "/data/db",
        ("WiredTiger",),
        _start_mongo,
        tuple(
            (shell, "--quiet", "--eval", "db.adminCommand({ping: 1}).ok") for shell in _MONGO_SHELLS
        ),
        "1",
        _count_mongo,
    ),
)
