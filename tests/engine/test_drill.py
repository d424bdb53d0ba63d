"""A backup is read again, compared with what is there, and tried out; nothing of that stays."""

from __future__ import annotations

import json
import shlex
import signal
import time
from typing import NamedTuple

import pytest

from tests.engine.conftest import Shell
from tests.images import IMAGES

pytestmark = pytest.mark.engine

ONE = pytest.mark.parametrize("engine", ["26"], indirect=True)
START = "docker run -d --name db postgres:15"  # its data in an anonymous volume


@pytest.fixture
def database(shell: Shell) -> Shell:
    """A PostgreSQL that runs, with twenty thousand rows in it, and that lets nobody in."""
    shell.environ["SAFEDOCKER_PROTECT"] = "archive"
    shell.engine.image("postgres:15")
    shell.out(START)
    deadline = time.monotonic() + 60
    while shell.run("docker exec db pg_isready -h 127.0.0.1 -q", real=True).returncode:
        assert time.monotonic() < deadline, "PostgreSQL did not come up"
        time.sleep(0.1)
    for role, statement in (
        ("postgres", "create table orders (id int primary key, note text)"),
        ("postgres", "insert into orders select n, 'order ' || n from generate_series(1, 20000) n"),
        ("postgres", "create role app superuser login"),
        ("app", "alter role postgres rename to someone"),
    ):
        psql = ("docker", "exec", "db", "psql", "-U", role, "-d", "postgres", "-c", statement)
        shell.out(shlex.join(psql))
    shell.out("docker exec db sh -c 'echo local all all reject >$PGDATA/pg_hba.conf'")
    return shell


def left_over(shell: Shell) -> list[object]:
    """What a drill might leave: helpers, scratch volumes, what is no backup."""
    return [*shell.helpers(), *(v for v in shell.volumes() if "scratch" in v), *shell.partial()]


@ONE
@pytest.mark.parametrize(
    ("known", "way"),
    [(True, "archive"), (False, "archive"), (True, "move")],
    ids=["whoever-ran-it", "named-image", "moved-aside"],
)
def test_drill_starts_the_database_counts_and_leaves_nothing(database, known, way):
    shell = database
    shell.environ["SAFEDOCKER_PROTECT"] = way
    (volume,) = shell.volumes()
    if known:
        shell.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
    else:
        shell.out("docker stop db; docker rm db")
        shell.run(f"docker volume rm {volume}", check=True, SAFEDOCKER_MODE="backup")
        told = shell.run("safedocker drill", check=True).stdout
        assert "was not started: no container is known that ran it" in told
    assert shell.volumes() == set()
    before = shell.state()
    image = "" if known else "--image postgres:15"
    done = shell.run(f"safedocker drill --json {image}", check=True)
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


# What a drill says where it can't be well. An image that only looks like a database's.


@pytest.fixture
def idle(shell: Shell) -> Shell:
    """A backup of a volume that looks like PostgreSQL's; its image starts and does nothing."""
    shell.environ["SAFEDOCKER_PROTECT"] = "archive"
    shell.out(
        "docker create --name made busybox; docker commit -c 'VOLUME /other' "
        '-c \'CMD ["sh", "-c", "sleep 1000"]\' made postgres:idle; docker rm made;'
        "docker create --name db -v /var/lib/postgresql/data postgres:idle"
    )
    told = '{{range .Mounts}}{{if ne .Destination "/other"}}{{.Name}}{{end}}{{end}}'
    place = shell.place(shell.out(f"docker inspect -f '{told}' db"))
    (place / "pgdata/global").mkdir(parents=True)
    (place / "pgdata/PG_VERSION").write_text("15\n")
    (place / "pgdata/global/pg_control").write_bytes(bytes(8192))
    shell.run("docker rm -v db", check=True, SAFEDOCKER_MODE="backup")
    return shell


def test_drill_of_a_database_that_does_not_come_up_says_so_and_leaves_nothing(idle):
    shell = idle
    before = shell.state()
    done = shell.run("safedocker drill --wait 1")
    assert done.returncode == 1
    assert "PostgreSQL 15 did not come up within 1 s" in done.stdout
    assert shell.state() == before
    assert left_over(shell) == []
    assert "not well" in shell.run("safedocker backups", check=True).stdout

    shell.run("docker rmi postgres:idle", check=True)
    done = shell.run("safedocker drill")
    assert done.returncode == 1
    assert "the image postgres:idle is not on the engine" in done.stdout
    assert left_over(shell) == []


@ONE
def test_drill_tells_the_last_lines_of_a_database_that_ended(idle):
    shell = idle
    shell.out(
        "docker create --name made postgres:idle; docker commit -c "
        '\'CMD ["sh", "-c", "echo no such locale >&2; exit 3"]\' made postgres:idle'
    )
    done = shell.run("safedocker drill")
    assert done.returncode == 1
    assert "PostgreSQL 15 ended with exit code 3 instead of coming up" in done.stdout
    assert "| no such locale" in done.stdout
    assert left_over(shell) == []


@ONE
def test_a_drill_that_was_killed_is_swept_by_the_next_look(idle):
    shell = idle
    before = shell.state()
    drill = shell.begin("safedocker drill")
    deadline = time.monotonic() + 60
    while not shell.running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    drill.send(signal.SIGKILL).ended()
    assert left_over(shell) != []
    shell.run("safedocker diff", check=False)
    assert left_over(shell) == []
    assert shell.state() == before


@ONE
def test_drill_of_plain_files_compares_them(shell):
    shell.environ["SAFEDOCKER_PROTECT"] = "archive"
    shell.out("docker volume create data")
    (shell.place("data") / "file").write_text("x")
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    done = shell.run("safedocker drill", check=True)
    assert "data: files compared, nothing to start" in done.stdout
    assert left_over(shell) == []
    (file,) = shell.store.glob("*/*.zst")
    file.write_bytes(file.read_bytes()[:-1])
    done = shell.run("safedocker drill")
    assert done.returncode == 1
    assert "volume-1.tar.zst" in done.stdout


# The other databases that a drill can start


class Case(NamedTuple):
    """How one is run, written, and what a drill has to count."""

    image: str
    flags: str
    ready: str
    write: str
    counts: dict[str, int]


SQL = """
create database shop; create table shop.orders (id int auto_increment primary key, note text);
insert into shop.orders (note) values ('one'); insert into shop.orders (note) values ('two');
insert into shop.orders (note) select note from shop.orders;
"""
APPENDS = """
redis-cli config set save ''; redis-cli config set appendonly yes
redis-cli mset a 1 b 2 c 3; sleep 1.5
"""
CASES = {
    "mariadb": Case(
        "mariadb:10.11",
        "-e MARIADB_ROOT_PASSWORD=secret",
        "mariadb-admin ping",
        f"mariadb -psecret -e {shlex.quote(SQL)}",
        {"databases": 1, "tables": 1, "rows": 4},
    ),
    "redis": Case(
        "redis:7",
        "",
        "redis-cli ping",
        f"sh -c {shlex.quote(APPENDS)}",
        {"databases": 1, "keys": 3},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_drill_starts_the_other_databases(start_engine, home, case):
    if case.image not in IMAGES:
        pytest.skip(f"{case.image} is not built here")
    engine = start_engine("26")
    with engine.swept():
        shell = Shell(engine, home)
        shell.environ["SAFEDOCKER_PROTECT"] = "dump"
        engine.image(case.image)
        shell.out(f"docker run -d --name db {case.flags} {case.image}")
        deadline = time.monotonic() + 60
        while shell.run(f"docker exec db {case.ready}", real=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        shell.out(f"docker exec db {case.write}")
        shell.run("docker rm -fv db", check=True, SAFEDOCKER_MODE="backup")
        done = shell.run("safedocker drill --json")
        (part,) = json.loads(done.stdout)["parts"]
        assert (part["outcome"], part["counts"]) == ("came up", case.counts), done.stdout
        assert left_over(shell) == []

        shell.run("safedocker verify", check=True)
        (dump,) = shell.store.glob("*/*dump*")
        dump.write_bytes(dump.read_bytes()[:-1])
        done = shell.run("safedocker verify")
        assert done.returncode == 1
        assert f"damaged: {dump.name}" in done.stdout
