"""A database that is written to at the very moment when it is taken down."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import Shell, until
from tests.engine.test_story import POSTGRES, Shop
from tests.engines import PrivateEngine

WRITERS = 4
# Each prints a row's id once its commit is confirmed, until the server goes.
INSERT = "psql -U postgres -qtAc 'insert into kept default values returning id'"
WRITE = f"while :; do {INSERT} || exit; done"


@pytest.fixture(
    params=[
        ("20", "archive"),
        pytest.param(("20", "move"), marks=pytest.mark.played),
        pytest.param(("26", "archive"), marks=pytest.mark.played),
        ("26", "move"),
    ],
    ids=lambda told: "-".join(told),
)
def guarded(
    request: pytest.FixtureRequest, start_engine: Callable[[str], PrivateEngine], home: Path
) -> Iterator[tuple[Shell, str]]:
    version, way = request.param
    engine = start_engine(version)
    with engine.swept():
        yield Shell(engine, home), way


def test_v9_every_committed_transaction_is_there_after_down_under_load(
    guarded: tuple[Shell, str],
):
    shell, way = guarded
    shell.engine.image("postgres:15")
    shop = Shop(shell, POSTGRES)
    shell.run("docker volume rm kept", real=True)
    database = shell.out("docker ps --format '{{.Names}}'")

    def inside(script: str) -> list[str]:
        return ["docker", "exec", database, "sh", "-c", script]

    def sql(statement: str) -> str:
        line = ("docker", "exec", database, "psql", "-U", "postgres", "-qtAc", statement)
        return shell.out(shlex.join(line))

    ready = shlex.join(inside("pg_isready -h 127.0.0.1 -q"))
    until(lambda: not shell.run(ready, real=True).returncode)
    sql("create table kept (id serial primary key)")
    shell.out(shlex.join(inside("pgbench -U postgres -q -i -s 1 postgres")))
    writers = [begin(shell, inside(WRITE)) for _ in range(WRITERS)]
    load = begin(shell, inside("pgbench -U postgres -n -c 4 -T 60 postgres"))
    until(lambda: int(sql("select count(*) from kept")) > 100)

    shop.run(shop.down, check=True, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT=way)

    committed = {int(id_) for one in writers for id_ in one.communicate()[0].split()}
    load.communicate()
    assert shell.volumes() == set()
    told = shop.run("safedocker show $(ls ~/.local/share/safedocker/backups | head -1)", check=True)
    assert "cold" in told.stdout
    shop.run("safedocker undo", check=True)
    shop.up()
    until(lambda: not shell.run(ready, real=True).returncode)
    there = {int(id_) for id_ in sql("select id from kept").split()}
    assert len(committed) > 100
    assert committed <= there
    assert sql("select sum(abalance) from pgbench_accounts") == sql(
        "select sum(delta) from pgbench_history"
    )


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
