"""A database that is written to at the very moment when it is taken down."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.conftest import Shell, until
from tests.engine.test_story import Shop
from tests.engines import PrivateEngine

WRITERS = 4
COMPOSE = """
services:
  db:
    image: {image}
    environment: {{TZ: UTC, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD: "1"}}
    volumes: [pgdata:{data}]
volumes: {{pgdata: }}
"""


@dataclass(frozen=True)
class Server:
    """A database: where its data are, and what is run inside it. `write` prints a row's number once
    its commit is confirmed; `there` prints those that there are; `sound` prints 1."""

    image: str
    data: str
    ready: str
    begin: tuple[str, ...]
    write: str
    there: str
    load: str = ""
    sound: str = "echo 1"


BALANCE = "(select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
POSTGRES = Server(
    "postgres:15",
    "/var/lib/postgresql/data",
    "pg_isready -h 127.0.0.1 -q",
    (
        "psql -U postgres -qtAc 'create table kept (id serial primary key)'",
        "pgbench -U postgres -q -i -s 1 postgres",
    ),
    "psql -U postgres -qtAc 'insert into kept default values returning id'",
    "psql -U postgres -qtAc 'select id from kept'",
    "pgbench -U postgres -n -c 4 -T 60 postgres",
    f"psql -U postgres -qtAc 'select ({BALANCE})::int'",
)
MARIADB = Server(
    "mariadb:10.11",
    "/var/lib/mysql",
    "mariadb-admin -uroot -h 127.0.0.1 --protocol=tcp ping",
    ("mariadb -uroot -e 'create database shop; create table shop.kept (id serial primary key)'",),
    "mariadb -uroot -NB -e 'insert into shop.kept values (); select last_insert_id()'",
    "mariadb -uroot -NB -e 'select id from shop.kept'",
)
REDIS = Server(
    "redis:7",
    "/data",
    "redis-cli ping",
    (),
    "redis-cli rpush kept x",  # the list's length, which is the row's number
    "seq 1 $(redis-cli llen kept)",
)
SERVERS = {"postgres": POSTGRES, "mariadb": MARIADB, "redis": REDIS}
SHORT = {("20", "postgres", "archive"), ("26", "postgres", "move"), ("26", "redis", "move")}


def cases() -> Iterator[object]:
    for version in ("20", "26"):
        for name in SERVERS:
            for way in ("archive", "move"):
                played = (version, name, way) not in SHORT
                marks = (pytest.mark.played,) if played else ()
                yield pytest.param(
                    version, SERVERS[name], way, marks=marks, id=f"{version}-{name}-{way}"
                )


@pytest.mark.parametrize(("version", "server", "way"), list(cases()))
def test_v9_every_committed_transaction_is_there_after_down_under_load(
    version: str,
    server: Server,
    way: str,
    start_engine: Callable[[str], PrivateEngine],
    home: Path,
):
    engine = start_engine(version)
    with engine.swept():
        engine.image(server.image)
        _down_and_back(Shell(engine, home), server, way)


def _down_and_back(shell: Shell, server: Server, way: str) -> None:
    shop = Shop(shell, COMPOSE.format(image=server.image, data=server.data))
    shell.run("docker volume rm kept", real=True)
    database = shell.out("docker ps --format '{{.Names}}'")

    def inside(script: str) -> list[str]:
        return ["docker", "exec", database, "sh", "-c", script]

    def ask(script: str) -> str:
        return shell.out(shlex.join(inside(script)))

    def answers() -> bool:
        return not shell.run(shlex.join(inside(server.ready)), real=True).returncode

    until(answers)
    for script in server.begin:
        ask(script)
    # one after the other, until the server goes
    loop = f"while :; do {server.write} || exit; done"
    writers = [begin(shell, inside(loop)) for _ in range(WRITERS)]
    load = begin(shell, inside(server.load or "true"))
    until(lambda: len(ask(server.there).split()) > 100)

    shop.run(shop.down, check=True, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT=way)

    said = [word for one in writers for word in one.communicate()[0].split()]
    committed = {int(word) for word in said if word.isdecimal()}
    load.communicate()
    assert shell.volumes() == set()
    told = shop.run("safedocker show $(ls ~/.local/share/safedocker/backups | head -1)", check=True)
    assert "cold" in told.stdout
    shop.run("safedocker undo", check=True)
    shop.up()
    until(answers)
    assert len(committed) > 100
    assert committed <= {int(id_) for id_ in ask(server.there).split()}
    assert ask(server.sound) == "1"


def begin(shell: Shell, argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv,
        env=shell.bare,
        cwd=shell.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
