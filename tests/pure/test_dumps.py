"""What is read in a dump, wherever its bytes are cut, and which database a container runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from safedocker.backup import dumping, dumps
from safedocker.backup.dumps import Watch, by_name, recognise
from safedocker.backup.feeding import Parts
from safedocker.backup.manifest import Backup, Dump, Stored, dump, load
from safedocker.backup.sqltext import There
from safedocker.loss.facts import Container, Mount
from safedocker.loss.plan import Kind, Loss
from tests.pure.test_store import a_backup

POSTGRES = by_name("PostgreSQL")
MARIADB = by_name("MariaDB")
REDIS = by_name("Redis")
ROLES = frozenset({"postgres", 'a "b'})
THERE = frozenset({"the shop's", "postgres"})

CLUSTER = b"""--
-- PostgreSQL database cluster dump
--

\\restrict aBc

CREATE ROLE "a ""b";
ALTER ROLE "a ""b" WITH LOGIN;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER PASSWORD 'SCRAM-SHA-256$x';
CREATE ROLE other;

\\connect template1

CREATE DATABASE "the shop's" WITH TEMPLATE = template0 ENCODING = 'UTF8';
CREATE DATABASE new WITH TEMPLATE = template0;

\\connect -reuse-previous=on "dbname='the shop\\'s'"

CREATE FUNCTION f() RETURNS void AS $$
CREATE ROLE postgres;
$$;
COPY public.orders (id, note) FROM stdin;
1\tx
CREATE DATABASE postgres
\\.
COPY public.empty (id) FROM stdin;
\\.
CREATE DATABASE postgres WITH x;

--
-- PostgreSQL database cluster dump complete
--

"""


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_what_is_there_already_is_blanked_and_the_length_stays(size: int) -> None:
    late: list[bytes] = []
    given = b"".join(POSTGRES.adapt(cut(CLUSTER, size), There(ROLES, THERE, "postgres"), late))
    assert len(given) == len(CLUSTER)
    lines, before = given.split(b"\n"), CLUSTER.split(b"\n")
    changed = {old for old, new in zip(before, lines, strict=True) if old != new}
    assert changed == {
        b'CREATE ROLE "a ""b";',
        b"CREATE ROLE postgres;",
        b"ALTER ROLE postgres WITH SUPERUSER PASSWORD 'SCRAM-SHA-256$x';",
        b"CREATE DATABASE \"the shop's\" WITH TEMPLATE = template0 ENCODING = 'UTF8';",
        b"CREATE DATABASE postgres WITH x;",
    }
    assert lines.count(b"CREATE ROLE postgres;") == 1, "in a function's text it stays"
    assert set(b"".join(new for old, new in zip(before, lines, strict=True) if old != new)) == {45}
    assert late == [b"ALTER ROLE postgres WITH SUPERUSER PASSWORD 'SCRAM-SHA-256$x';"]


@pytest.mark.parametrize("size", [1, 7, 60, 10_000])
def test_whom_the_server_lets_in_is_changed_last(size: int) -> None:
    flush = b"/*! FLUSH PRIVILEGES */;"
    text = b"-- x\n%b\n--\n-- Flush Grant Tables \n--\n\n%b\n-- Dump completed\n" % (flush, flush)
    late: list[bytes] = []
    given = b"".join(MARIADB.adapt(cut(text, size), There(ROLES, THERE, ""), late))
    assert late == [flush]
    at = text.rindex(flush)
    assert given == text[:at] + b"--".ljust(len(flush)) + text[at + len(flush) :]


@pytest.mark.parametrize("size", [1, 2, 5, 64, 10_000])
def test_a_watch_sees_each_database_and_the_end(size: int) -> None:
    seen = Watch(POSTGRES.section)
    for piece in cut(CLUSTER, size):
        seen.feed(piece)
    assert seen.names == {"template1", "the shop's"}
    assert POSTGRES.whole(seen, frozenset({"the shop's"})) == ""
    assert POSTGRES.whole(seen, frozenset({"the shop's", "new"})) == "there is nothing of new in it"
    short = Watch(POSTGRES.section)
    short.feed(CLUSTER[:-30])
    assert POSTGRES.whole(short, frozenset()) == "its last line is missing"


def digests(pieces: Iterable[bytes], row: dumps.Database = POSTGRES) -> dict[str, str]:
    parts = Parts(row)
    for _piece in parts.watched(pieces):
        pass
    return parts.digests()


def test_two_dumps_differ_where_a_row_does_and_not_in_their_comments() -> None:
    first = digests([CLUSTER])
    assert set(first) == {"template1", "the shop's"}
    for size in (1, 3, 64):
        assert digests(cut(CLUSTER, size)) == first
    assert digests([CLUSTER.replace(b"\\restrict aBc", b"\\restrict xYz")]) == first
    other = digests([CLUSTER.replace(b"1\tx", b"1\ty")])
    assert other["template1"] == first["template1"]
    assert other["the shop's"] != first["the shop's"]
    maria = b"-- Host: a\n-- Current Database: `x``y`\n\nINSERT INTO `t` VALUES\n(1);\n"
    assert set(digests([maria], MARIADB)) == {"x`y"}
    assert digests([maria], MARIADB) != digests([maria.replace(b"(1)", b"(2)")], MARIADB)


MARK = b"0123456789abcdef0123456789abcdef01234567"
RDB = b"REDIS0011" + b"x" * 100 + b"\xff" + b"checksum"


@pytest.mark.parametrize("size", [1, 8, 49, 1000])
@pytest.mark.parametrize("end", [b"", MARK], ids=["plain", "marked"])
def test_the_servers_own_end_mark_is_no_part_of_a_redis_dump(size: int, end: bytes) -> None:
    given = b"".join(REDIS.trim(cut(RDB + end, size)))
    assert given == RDB
    seen = Watch(None)
    seen.feed(given)
    assert REDIS.whole(seen, frozenset()) == ""
    seen.feed(b"x")
    assert REDIS.whole(seen, frozenset()) == "its end is missing"


RUNS = {
    ("PostgreSQL 15", "anything"): "PostgreSQL",
    ("MySQL 8.0", ""): "MariaDB",
    ("Redis", ""): "Redis",
    ("", "docker.io/library/postgres:16@sha256:00"): "PostgreSQL",
    ("files", "quay.io/x/valkey:8"): "Redis",
    ("files", "busybox"): None,
    ("Elasticsearch", "postgres"): None,
    ("SQLite files", "mysql"): None,
}


@pytest.mark.parametrize(("content", "image"), RUNS)
def test_a_database_is_known_by_what_it_keeps_and_else_by_its_image(
    content: str, image: str
) -> None:
    found = recognise(content, image)
    assert (found and found.name) == RUNS[content, image]


TOLD = {
    "redis-server --requirepass abc --port 7": {"REDISCLI_AUTH": "abc", "SAFEDOCKER_PORT": "7"},
    "redis-server /etc/redis.conf": {"SAFEDOCKER_CONFIG": "/etc/redis.conf"},
    'sh -c|exec redis-server --requirepass "$(cat /run/secrets/p)"': {
        "SAFEDOCKER_SAID": "$(cat /run/secrets/p)"
    },
    "sh -c|redis-server --requirepass 'open": {},
    "redis-server": {},
}


@pytest.mark.parametrize("line", TOLD)
def test_a_servers_command_line_tells_its_password_and_port(line: str) -> None:
    words, _, script = line.partition("|")
    command = [*words.split(), script] if script else words.split()
    assert REDIS.settings({"Config": {"Cmd": command, "Entrypoint": None}}) == TOLD[line]


def test_a_big_volume_waits_for_no_dump_and_the_manifest_says_so() -> None:
    mount = Mount("volume", "db", "", "/data", None)
    one = Container("1", "db-1", "postgres:15", True, {}, (mount,), "running")
    loss = Loss(Kind.NAMED_VOLUME, "db", None, "", size=2000, content="PostgreSQL 15")

    def take(loss: Loss, containers: list[Container], up_to: int | None) -> dumping.Taken:
        """Neither the engine nor the store is asked."""
        nobody: Any = object()
        return dumping.take([loss], containers, nobody, nobody, up_to, lambda _loss: print)["db"]

    for big in (loss, replace(loss, size=None)):
        taken = take(big, [one], 1000)
        assert not taken.dumps
        assert taken.why_none.startswith("PostgreSQL in db-1: the volume is")
    idle = replace(one, running=False, state="exited")
    for containers in ([idle], [replace(one, mounts=())], []):
        taken = take(loss, containers, None)
        assert taken == dumping.Taken()
    assert take(loss, [one], 0) == dumping.Taken(), "none was wanted"


def test_a_manifest_with_a_dump_is_of_version_3_and_older_ones_are_read() -> None:
    plain = a_backup("20261123-045912-aaaa")
    made = Dump(
        file=Stored("volume-1.dump.zst", 7, "ab" * 32),
        bytes=70,
        sha256="cd" * 32,
        database="PostgreSQL",
        version="15.4",
        tool="pg_dumpall",
        container="db-1",
        image="postgres:15",
        holds=("shop",),
        proof="read",
    )

    def version(backup: Backup) -> int:
        text = dump(backup)
        assert load(text, "x") == backup
        return int(json.loads(text)["manifest"])

    part = plain.parts[0]
    assert version(plain) == 1
    assert version(replace(plain, parts=(replace(part, dumps=(made,)),))) == 3
    assert version(replace(plain, parts=(replace(part, no_dump="it was starting"),))) == 3
    body = json.loads(dump(plain))
    for one in body["parts"]:
        del one["dumps"], one["no_dump"]
    assert load(json.dumps(body).encode(), "x") == plain
