"""A backup is read again, compared with what is there, and tried out; nothing of that stays."""

from __future__ import annotations

import json
import shlex
import time

import pytest

from tests.engine.conftest import Shell

pytestmark = pytest.mark.engine

START = "docker run -d --name db postgres:15"  # its data in an anonymous volume


@pytest.fixture
def database(shell: Shell) -> Shell:
    """A PostgreSQL that runs, with twenty thousand rows in it."""
    shell.engine.image("postgres:15")
    shell.out(START)
    deadline = time.monotonic() + 60
    while shell.run("docker exec db pg_isready -h 127.0.0.1 -q", real=True).returncode:
        assert time.monotonic() < deadline, "PostgreSQL did not come up"
        time.sleep(0.1)
    for statement in (
        "create table orders (id int primary key, note text)",
        "insert into orders select n, 'order ' || n from generate_series(1, 20000) n",
    ):
        shell.out(shlex.join(("docker", "exec", "db", "psql", "-U", "postgres", "-c", statement)))
    return shell


def left_over(shell: Shell) -> list[object]:
    """What a drill might leave: helpers, scratch volumes, what is no backup."""
    return [*shell.helpers(), *(v for v in shell.volumes() if "scratch" in v), *shell.partial()]


def test_drill_starts_the_database_counts_and_leaves_nothing(database):
    shell = database
    shell.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    assert shell.volumes() == set()
    before = shell.state()
    done = shell.run("safedocker drill --json", check=True)
    told = json.loads(done.stdout)
    (part,) = told["parts"]
    assert part["outcome"] == "came up"
    assert part["counts"] == {"databases": 1, "tables": 1, "rows": 20000}
    assert shell.state() == before
    assert left_over(shell) == []
    listed = shell.run("safedocker backups", check=True).stdout
    assert "drilled" in listed
    shown = shell.run(f"safedocker show {told['id']}", check=True).stdout
    assert "PostgreSQL 15 came up in" in shown
    assert "about 20000 rows" in shown
