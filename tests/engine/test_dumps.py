"""A running database is dumped beside its cold copy; a dump that is not whole is no backup; and a
dump goes into a fresh server as it was. Real PostgreSQL, MariaDB and Redis. MongoDB is not among
Debian's packages: its row runs against programs that record what they were given, so what the real
mongodump does with that is not tested."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from safedocker.backup.dumps import DATABASES
from tests.engine.conftest import Running, Shell
from tests.engines import PrivateEngine

SECRET = "s3cret$pass 'word"  # noqa: S105 - a shell that is not careful breaks on it

OTHER = "of the new one"  # the password of the server that is fed


class Case(NamedTuple):
    """How a row's database is started, asked, filled, and what it answers when it holds that."""

    image: str
    start: str  # flags of docker run; {file} is a file with the password
    command: str
    ask: str  # a shell command inside; the statement comes as its last word
    fill: tuple[str, ...]
    told: tuple[str, ...]
    program: str  # that the dump runs


POSTGRES = Case(
    "postgres:15",
    "-e POSTGRES_PASSWORD_FILE=/run/secret -v {file}:/run/secret:ro",
    "",
    'PGPASSWORD=$(cat /run/secret) exec psql -U postgres -XqAtd "$1" -c "$2"',
    (
        "postgres|create role shop login password 'theirs'",
        'postgres|create database "the shop\'s" owner shop',
        "the shop's|create table orders (id int primary key, note text)",
        "the shop's|insert into orders select n, E'a\\n\\\\.\\nCREATE ROLE shop;\\n' || n "
        "from generate_series(1, 2000) n",
        "the shop's|create view big as select * from orders where id > 5",
        "postgres|create table here (x int); insert into here values (7)",
        "postgres|create database shut allow_connections false",
    ),
    (
        "the shop's|select count(*), md5(string_agg(id || note, ',' order by id)) from orders",
        "the shop's|select count(*) from big",
        "postgres|select x from here",
        "postgres|select rolname, rolcanlogin, rolpassword from pg_authid where rolname = 'shop'",
        "postgres|select pg_get_userbyid(datdba) from pg_database where datname = 'the shop''s'",
    ),
    "pg_dumpall",
)
MARIADB = Case(
    "mariadb:10.11",
    "-e MARIADB_ROOT_PASSWORD_FILE=/run/secret -v {file}:/run/secret:ro",
    "",
    'MYSQL_PWD=$(cat /run/secret) exec mariadb -uroot -NB "$1" -e "$2"',
    (
        "mysql|create database `the shop`",
        "the shop|create table orders (id int primary key, note text, raw blob)",
        "the shop|insert into orders select seq, concat('a\\n;--', seq), unhex('00ff27') "
        "from seq_1_to_2000",
        "the shop|create procedure many() select count(*) from orders",
        "the shop|create trigger t before insert on orders for each row set new.note = 'x'",
        "the shop|create event e on schedule every 1 day do delete from orders where id < 0",
        "mysql|create user shop@'%' identified by 'theirs'; grant all on `the shop`.* to shop@'%'",
    ),
    (
        "the shop|select count(*), md5(group_concat(id, note, hex(raw) order by id)) from orders",
        "the shop|call many()",
        "the shop|select trigger_name, action_statement from information_schema.triggers",
        "the shop|select event_name, event_definition from information_schema.events",
        "mysql|show grants for shop@'%'",
    ),
    "mariadb-dump",
)
REDIS = Case(
    "redis:7",
    "-v {file}:/run/secret:ro",
    "sh -c 'exec redis-server --port 7777 --requirepass \"$(cat /run/secret)\"'",
    'REDISCLI_AUTH=$(cat /run/secret); export REDISCLI_AUTH; eval "redis-cli -p 7777 -n $1 $2"',
    (
        "0|eval \"for n=1,2000 do redis.call('set', 'k'..n, 'v'..n) end\" 0",
        "3|hset h a 1 b 2",
        "3|set gone later EX 10000",
    ),
    ("0|dbsize", "0|get k1999", "3|hgetall h", "3|dbsize"),
    "redis-cli",
)
CASES = {"PostgreSQL": POSTGRES, "MariaDB": MARIADB, "Redis": REDIS}


@pytest.fixture(scope="module")
def databases(engine26: PrivateEngine) -> Iterator[PrivateEngine]:
    """An engine with the databases' images, as long as these tests run."""
    with engine26.swept() as engine:
        for case in CASES.values():
            engine.image(case.image)
        yield engine


@pytest.fixture
def shell(databases: PrivateEngine, home: Path) -> Iterator[Shell]:
    with databases.swept() as engine:
        yield Shell(engine, home)


class Server:
    """A database in a container with an anonymous volume."""

    def __init__(self, shell: Shell, case: Case, name: str, secret: str = SECRET) -> None:
        self.shell, self.case, self.name = shell, case, name
        self.opens_with(secret)
        start = case.start.format(file=self._secret)
        shell.out(f"docker run -d --name {name} {start} {case.image} {case.command}")

    @property
    def _secret(self) -> Path:
        return self.shell.home / f"secret-{self.name}"

    def opens_with(self, secret: str) -> None:
        self._secret.write_text(secret + "\n")

    def ready(self) -> Self:
        deadline = time.monotonic() + 90
        where = self.case.told[-1].partition("|")[0]
        statement = "ping" if self.case is REDIS else "select 'PONG'"
        while True:
            done = self.shell.run(self._argv(where, statement), real=True)
            if done.stdout.strip() == "PONG":
                return self
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(0.2)

    def _argv(self, where: str, statement: str) -> str:
        return shlex.join(
            ("docker", "exec", self.name, "sh", "-c", self.case.ask, "sh", where, statement)
        )

    def ask(self, line: str) -> str:
        where, _, statement = line.partition("|")
        return self.shell.out(self._argv(where, statement))

    def filled(self) -> Self:
        for line in self.case.fill:
            self.ask(line)
        return self

    def told(self) -> list[str]:
        return [self.ask(line) for line in self.case.told]


class CommandLines:
    """Every command line of the machine that is seen while the block runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            for one in Path("/proc").iterdir():
                if one.name.isdecimal():
                    try:
                        self.seen.add((one / "cmdline").read_bytes())
                    except OSError:
                        continue

    def tell(self, secret: str) -> list[bytes]:
        """Those that tell a secret; what the container of Redis tells of itself is not ours."""
        own = b"redis-server\0--port\x007777\0"
        return [line for line in self.seen if secret.encode() in line and own not in line]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def manifest(shell: Shell, which: int = -1) -> Any:
    return json.loads((shell.store / shell.backups()[which] / "manifest.json").read_text())


def test_every_row_is_tested_here() -> None:
    assert {row.name for row in DATABASES} == {*CASES, "MongoDB"}


@pytest.mark.parametrize("name", CASES)
def test_v9_a_running_database_is_dumped_and_its_dump_fills_a_fresh_server(shell, name):
    case = CASES[name]
    server = Server(shell, case, "db").ready().filled()
    before = server.told()
    with CommandLines() as lines:
        done = shell.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    assert f"dumped besides: {name}" in done.stderr
    assert any(case.program.encode() in line for line in lines.seen), "the dump was seen"
    assert not lines.tell(SECRET)
    assert shell.volumes() == shell.running() == set()
    (part,) = manifest(shell)["parts"]
    assert part["file"], "a cold copy besides"
    assert part["consistency"] == "cold-clean"
    (dump,) = part["dumps"]
    assert manifest(shell)["manifest"] == 3
    assert (dump["container"], dump["image"]) == ("db", case.image)
    told = shell.run(f"safedocker show {shell.backups()[-1]}", check=True).stdout
    assert re.search(rf"\ndump +{name} \d", told)
    assert "dumped: by the database's own program" in told
    assert b"s3cret" not in (shell.store / shell.backups()[-1] / "manifest.json").read_bytes()

    fresh = Server(shell, case, "fresh", OTHER)  # not ready yet: it is waited for
    if case is POSTGRES:
        assert dump["lacks"] == ["shut"]
        assert "not in the dump, but in the copy: shut, which lets nobody connect" in done.stderr
        assert re.search(r"\nnot in it +shut, which lets nobody connect; the copy has it", told)
        check_what_is_in_the_way(shell, fresh)
    if case is MARIADB:
        check_no_table_is_not_nothing(shell, fresh)
    if case is not REDIS:
        for other in ("aaa", "zzz"):  # what else is there is no difference
            fresh.ready().ask(f"{case.told[-1].partition('|')[0]}|create database {other}")
    with CommandLines() as lines:
        fed = shell.run("safedocker undo --dump-into fresh", check=True)
    assert not lines.tell(SECRET)
    assert "compared: another dump of it is the same" in fed.stdout or "2002 keys" in fed.stdout
    if case is not REDIS:
        assert "the password in the environment of fresh opens the server no more" in fed.stdout
        fresh.opens_with(SECRET)
    assert fresh.told() == before

    held = shell.run("safedocker undo --dump-into fresh")
    assert held.returncode == 1
    assert "already: nothing was changed" in held.stderr
    first = shell.backups()[0]
    over = shell.run(f"safedocker undo {first} --dump-into fresh --overwrite", check=True)
    assert len(shell.backups()) == 2
    assert shell.backups()[1] in over.stdout
    assert "no more" not in over.stdout
    assert fresh.told() == before
    refused = shell.run(f"safedocker undo {shell.backups()[1]} --overwrite")
    assert refused.returncode == 1
    assert "a dump of" in refused.stderr
    assert fresh.told() == before
    assert shell.partial() == shell.helpers() == []


def check_what_is_in_the_way(shell: Shell, fresh: Server) -> None:
    """The database is there, and holds no table; but a table's name is taken in it, or what the
    dump does not hold stands there, too."""

    def feed() -> str:
        fed = shell.run("safedocker undo --dump-into fresh")
        assert fed.returncode == 1
        return fed.stderr

    fresh.ready().ask('postgres|create database "the shop\'s"')
    fresh.ask("the shop's|create domain orders as int")
    told = feed()
    assert 'type "orders" already exists' in told
    assert "it may hold a part of it now" in told
    assert "then type it again: safedocker undo" in told
    fresh.ask("postgres|drop table here")
    fresh.ask("the shop's|drop domain orders")
    fresh.ask("the shop's|create function more() returns int language sql as 'select 1'")
    assert "took the dump, but another dump of it differs in the shop's" in feed()
    fresh.opens_with(SECRET)
    fresh.ask(f"postgres|alter role postgres password '{OTHER}'; drop table here")
    fresh.opens_with(OTHER)
    fresh.ask('postgres|drop database "the shop\'s"')


def check_no_table_is_not_nothing(shell: Shell, fresh: Server) -> None:
    """A database of routines or events alone: the dump would replace those of its own names."""
    fresh.ready().ask("mysql|create database `the shop`")
    for kind, made in (
        ("procedure many", "create procedure many() select 'mine'"),
        ("event e", "create event e on schedule every 1 day do select 1"),
    ):
        fresh.ask(f"the shop|{made}")
        fed = shell.run("safedocker undo --dump-into fresh")
        assert fed.returncode == 1
        assert "holds the shop already: nothing was changed" in fed.stderr
        fresh.ask(f"the shop|drop {kind}")
    fresh.ask("mysql|drop database `the shop`")


BROKEN = {
    "writes nothing": "exit 0",
    "of another version": "echo 'pg_dumpall: error: server version: 15; pg_dumpall version: 9.6' "
    ">&2; echo 'aborting because of server version mismatch' >&2; exit 1",
    "cut short": "/usr/lib/postgresql/15/bin/real | head -c 1000",
    "without its last database": "/usr/lib/postgresql/15/bin/real | grep -v '^.connect postgres'",
}


def test_s16_a_dump_that_is_not_whole_is_no_backup_and_the_command_does_not_run(shell):
    Server(shell, POSTGRES, "db").ready()
    volumes = shell.volumes()
    place = "/usr/lib/postgresql/15/bin"
    shell.out(f"docker exec db mv {place}/pg_dumpall {place}/real")
    for what, script in BROKEN.items():
        program = f'#!/bin/sh\n[ "$1" = --version ] && exec echo pg_dumpall 9.6\n{script}\n'
        write = f"printf %s {shlex.quote(program)} >{place}/pg_dumpall; chmod +x {place}/pg_dumpall"
        shell.out(f"docker exec db sh -c {shlex.quote(write)}")
        done = shell.run("docker rm -fv db", SAFEDOCKER_MODE="backup")
        assert done.returncode == 73, what
        assert "the dump of PostgreSQL in db failed" in done.stderr, what
        assert "nothing was removed" in done.stderr
        assert shell.running() == {"db"}, "it was not even stopped"
        assert "version: 9.6" in done.stderr or "of another" not in what
    assert shell.volumes() == volumes
    assert shell.backups() == shell.partial() == shell.helpers() == []
    assert "SAFEDOCKER_PROTECT=archive" in done.stderr, "how to go on without one"
    mode = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": "archive"}
    shell.run("docker rm -fv db", check=True, **mode)
    (part,) = manifest(shell)["parts"]
    assert part["file"]
    assert (part["dumps"], part["no_dump"]) == ([], "")


def test_interrupted_or_killed_while_it_is_dumped_there_is_no_backup(shell: Shell) -> None:
    server = Server(shell, POSTGRES, "db").ready().filled()
    lock = "the shop's|begin; lock table orders in access exclusive mode; select pg_sleep(100)"
    threading.Thread(target=lambda: shell.run(server._argv(*lock.split("|"))), daemon=True).start()
    waiting = "postgres|select count(*) from pg_stat_activity where wait_event_type = 'Lock'"

    def begun(waiters: int) -> Running:
        running = shell.begin("docker rm -fv db", SAFEDOCKER_MODE="backup")
        deadline = time.monotonic() + 60
        while int(server.ask(waiting)) < waiters:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return running

    code, _told = begun(1).send(signal.SIGINT).ended()
    assert code == 130
    assert shell.running() == {"db"}
    assert shell.backups() == shell.partial() == shell.helpers() == []
    running = begun(2)  # the first one still waits in the container, and nobody will read it
    shell.out("docker kill db")
    code, told = running.ended()
    assert code == 73
    assert "the dump of PostgreSQL in db failed" in told
    assert len(shell.volumes()) == 1, "the command did not run"
    assert shell.backups() == shell.partial() == shell.helpers() == []


def test_a_database_that_lets_nobody_in_is_copied_cold_and_the_reason_is_told(shell):
    server = Server(shell, POSTGRES, "db").ready()
    server.ask("postgres|alter role postgres password 'another'")
    done = shell.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    assert "no dump besides the copy, which is whole: PostgreSQL in db:" in done.stderr
    assert "password authentication failed" in done.stderr
    (part,) = manifest(shell)["parts"]
    assert part["file"]
    assert part["dumps"] == []
    shell.run("safedocker undo", check=True)
    told = shell.run("safedocker undo --dump-into db")
    assert told.returncode == 1
    assert "password authentication failed" in told.stderr


# Programs that record, on both engines


RECORDING = {
    "mongosh": """
printf '%s\\n' "$SAFEDOCKER_USER" "$SAFEDOCKER_PASSWORD" >>/log/mongosh
printf 'server=7.0.2\\ndata=/data/db\\nlistens=*\\n'
[ ! -e /log/fed ] || printf 'database=2 shop\\n'
[ -n "$FRESH" ] || printf 'database=2 shop\\n'
""",
    "mongodump": """
[ "$1" != --version ] || exec echo 'mongodump version: 100.9'
printf '%s\\n' "$@" >/log/argv
for one; do case $one in --config=*) cat "${one#--config=}" >/log/config;; esac; done
printf '\\155\\342\\231\\201 rows \\0 of the shop \\377\\377\\377\\377'
""",
    "mongorestore": """
printf '%s\\n' "$@" >/log/argv
for one; do case $one in --config=*) cat "${one#--config=}" >/log/config;; esac; done
[ ! -e /log/broken ] || { head -c 3 >/log/fed; exit 1; }
cat >/log/fed
""",
}


@pytest.fixture
def either(fresh: PrivateEngine, home: Path) -> Shell:
    """A shell before 20.10, and before 26.1."""
    return Shell(fresh, home)


def start_recording(shell: Shell, name: str, flags: str) -> Path:
    """A container of programs that record what they are given, in a folder of this machine."""
    log = shell.home / f"log-{name}"
    programs = shell.home / "programs"
    for folder in (log, programs):
        folder.mkdir(exist_ok=True)
    for program, text in RECORDING.items():
        (programs / program).write_text("#!/bin/sh\n" + text.lstrip())
        (programs / program).chmod(0o755)
    (shell.home / "secret").write_text(SECRET + "\n")
    shell.out(
        f"docker run -d --init --name {name} -v {shell.home}/secret:/run/secret:ro {flags} "
        f"-e PATH=/programs:/bin -v {programs}:/programs:ro -v {log}:/log "
        "-e MONGO_INITDB_ROOT_USERNAME=root -e MONGO_INITDB_ROOT_PASSWORD_FILE=/run/secret "
        "busybox sleep 1000"
    )
    return log


def test_mongodb_gets_its_password_by_a_file_and_its_archive_comes_back(either):
    log = start_recording(either, "db", "-v /data/db")
    (volume,) = either.volumes()
    for name in ("WiredTiger", "WiredTiger.wt"):
        (either.place(volume) / name).write_text("x")
    done = either.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    assert "dumped besides: MongoDB 7.0.2 in db" in done.stderr
    assert (log / "mongosh").read_text() == f"root\n{SECRET}\n"
    quoted = SECRET.replace("'", "''")
    assert (log / "config").read_text() == f"password: '{quoted}'\n"
    assert SECRET not in (log / "argv").read_text()
    assert "--archive" in (log / "argv").read_text().splitlines()
    log = start_recording(either, "fresh", "-v /data/db -e FRESH=1")
    told = either.run("safedocker undo --dump-into fresh", check=True).stdout
    assert "the databases are there: shop; what is in them was not compared" in told
    assert (log / "fed").read_bytes() == b"m\xe2\x99\x81 rows \0 of the shop \xff\xff\xff\xff"
    assert (log / "config").read_text() == f"password: '{quoted}'\n"
    assert either.partial() == either.helpers() == []


def test_a_feed_that_broke_off_is_typed_again_as_it_was(shell26: Shell) -> None:
    start_recording(shell26, "db", "-v /data/db")
    (volume,) = shell26.volumes()
    for name in ("WiredTiger", "WiredTiger.wt"):
        (shell26.place(volume) / name).write_text("x")
    shell26.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    log = start_recording(shell26, "fresh", "-v /data/db -e FRESH=1")
    (log / "broken").touch()
    line = f"safedocker undo {shell26.backups()[0]} --dump-into fresh"
    broken = shell26.run(line)
    assert broken.returncode == 1
    assert "it may hold a part of it now" in broken.stderr
    (log / "broken").unlink()
    told = shell26.run(line, check=True).stdout
    assert len(shell26.backups()) == 2, "what was there by then is dumped"
    assert shell26.backups()[1] in told
    assert (log / "fed").read_bytes().endswith(b"of the shop \xff\xff\xff\xff")
    assert "already: nothing was changed" in shell26.run(line).stderr
    start_recording(shell26, "late", "-v /data/db -e FRESH=1")
    store = shell26.store
    subprocess.run(["mount", "--bind", store, store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
        told = shell26.run(line.replace("fresh", "late"), check=True).stdout
    finally:
        subprocess.run(["umount", store], check=True)
    assert "can't be written" in told, "a feed that is killed could not be typed again as it was"


def test_without_a_client_program_the_copy_is_taken_cold_and_that_is_told(either):
    either.out("docker run -d --init --name db -v /data busybox sleep 1000")
    (volume,) = either.volumes()
    (either.place(volume) / "global").mkdir()
    (either.place(volume) / "PG_VERSION").write_text("15\n")
    done = either.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    assert "PostgreSQL in db: it has no psql and pg_dumpall" in done.stderr
    assert manifest(either)["parts"][0]["file"]
    assert either.volumes() == set()
    either.out("docker run -d --init --name db busybox sleep 1000")
    told = either.run("safedocker undo --dump-into db")
    assert told.returncode == 1
    assert "it has no psql and pg_dumpall" in told.stderr
