"""`safedocker rescue`: where did my data go? Each command that it prints works."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.engine.conftest import ROOT, Shell
from tests.engine.test_story import ROWS
from tests.engines import PrivateEngine
from tests.images import IMAGES

SCHEMA = Draft202012Validator(json.loads((ROOT / "safedocker/rescue.schema.json").read_text()))
OFFERS = re.compile(r"^ *([a-z][^:\n]+): +((?:\S*safedocker|docker|mkdir) .+)$", re.MULTILINE)


@pytest.fixture(params=["26", pytest.param("20", marks=pytest.mark.played)])
def database(
    request: pytest.FixtureRequest, start_engine: Callable[[str], PrivateEngine], home: Path
) -> Iterator[Shell]:
    """A shell before an engine that has PostgreSQL's image."""
    engine = start_engine(request.param)
    with engine.swept():
        engine.image("postgres:15")
        yield Shell(engine, home)


def offers(text: str) -> dict[str, str]:
    """The commands that are printed, by what they are for."""
    return dict(OFFERS.findall(text))


def sql(shell: Shell, container: str, statement: str) -> str:
    ready = f"docker exec {container} pg_isready -h 127.0.0.1 -q"
    deadline = time.monotonic() + 60
    while shell.run(ready, real=True).returncode:
        assert time.monotonic() < deadline, "PostgreSQL did not come up"
        time.sleep(0.1)
    words = ("docker", "exec", container, "psql", "-U", "postgres", "-qtAc", statement)
    return shell.out(shlex.join(words))


def test_v8_where_did_my_data_go_the_rows_are_found_and_given_back_under_a_name(
    database: Shell,
) -> None:
    """A database without a volume, removed, started again: one command finds what it held."""
    assert IMAGES["postgres:15"].config["Volumes"]
    shell = database
    start = "docker run -d --name pg postgres:15"
    shell.run(start, check=True)
    sql(shell, "pg", "create table orders (id int primary key, note text)")
    sql(shell, "pg", "insert into orders select n, 'order ' || n from generate_series(1, 500) n")
    before = sql(shell, "pg", ROWS)
    (volume,) = shell.volumes()
    shell.out("docker stop pg")
    shell.run("docker rm -f pg", check=True)
    shell.run(start, check=True)
    assert "orders" not in sql(shell, "pg", "select relname from pg_class where relname = 'orders'")

    told = shell.run("safedocker rescue", check=True).stdout
    assert "1 volume without a container, 1 with data" in told
    for word in (
        volume[:12],
        "PostgreSQL 15",
        "container pg's",
        "postgres:15",
        "/var/lib/postgres",
    ):
        assert word in told
    assert "safedocker's audit" in told
    given = shell.run(offers(told)["give it a name"], check=True).stdout
    assert "pg-data" in shell.volumes()
    assert volume in shell.volumes(), "the old one stays"
    shell.run(offers(given)["use it"], check=True)
    assert sql(shell, "pg-rescued", ROWS) == before
    removed = shell.run(offers(given)["remove it, after a backup"], check=True).stdout
    assert volume not in shell.volumes()
    back = re.search(r"to have it back: (.+)", removed)
    assert back
    shell.run(back[1], check=True)
    assert volume in shell.volumes()
    assert shell.helpers() == shell.partial() == []


def test_v8_without_our_audit_the_engines_events_tell_whose_it_was_and_later_the_content(
    database: Shell,
) -> None:
    shell = database
    shell.out("docker run -d --name box -v /srv/files busybox true; docker wait box")
    shell.out("docker create --name idle -v /var/lib/x busybox")
    ran, idle = (
        shell.out(f"docker inspect -f '{{{{(index .Mounts 0).Name}}}}' {name}")
        for name in ("box", "idle")
    )
    (shell.place(ran) / "file").write_text("x")
    (shell.place(idle) / "PG_VERSION").write_text("15\n")
    (shell.place(idle) / "global").mkdir()
    shell.out("docker rm box idle")
    told = shell.run("safedocker rescue", check=True).stdout
    first, second = sorted(told.split("\n\n")[1:], key=lambda part: "PostgreSQL" in part)
    assert "it was container box's, image busybox, at /srv/files (by the engine's last" in first
    assert (
        "its content fits image postgres:15, which keeps it at /var/lib/postgresql/data" in second
    )
    for part in (first, second):
        commands = offers(part)
        names = ("give it a name", "use it as it is", "back it up", "remove it, after a backup")
        assert tuple(commands) == names
    for part in (first, second):
        commands = offers(part)
        shell.run(commands["give it a name"], check=True)
        shell.run(commands["back it up"], check=True)
    assert len(shell.backups()) == 2
    assert {"box-data", "postgresql-data"} <= shell.volumes()
    assert (shell.place("box-data") / "file").read_text() == "x"
    shell.run(offers(second)["remove it, after a backup"], check=True)
    shell.run(offers(first)["use it as it is"], check=True)
    assert shell.volumes() == {ran, "box-data", "postgresql-data"}


def test_rescue_tells_a_volumes_project_its_last_backups_container_and_its_sqlite_tables(
    shell26: Shell,
) -> None:
    label = "--label com.docker.compose.project=shop --label com.docker.compose.volume=db"
    shell26.out(f"docker volume create {label} shop_db; docker volume create void")
    shell26.out("docker create --name app -v shop_db:/srv busybox")
    with sqlite3.connect(shell26.place("shop_db") / "app.db") as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table invoices (id integer)")
        database.execute("create table customers (id integer)")
    database.close()
    shell26.run("safedocker backup shop_db", check=True)
    shell26.out("docker rm app")
    told = " ".join(shell26.run("safedocker rescue", check=True).stdout.split())
    for word in ("shop_db", "SQLite files", "container app's, image busybox, at /srv"):
        assert word in told
    assert "tables of app.db: customers, invoices" in told
    assert "project shop" in told
    assert "a backup of safedocker's" in told
    assert "void" not in told
    assert "void empty" in " ".join(
        shell26.run("safedocker rescue --all", check=True).stdout.split()
    )


def told(shell: Shell, words: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        shell.run(f"safedocker rescue --json {words}", check=True).stdout
    )
    SCHEMA.validate(found)
    return found


def test_v2_rescue_offers_to_keep_and_to_copy_out_what_a_stopped_container_wrote(
    shell26: Shell,
) -> None:
    writes = "head -c 3000000 /dev/zero > /result; mkdir -p /srv/a/b /tmp/x; echo kept > /srv/a/b/f"
    shell26.out(f"docker run --name job busybox sh -c '{writes}; echo no > /tmp/x/y'")
    text = shell26.run("safedocker rescue", check=True).stdout
    assert "no volume that is without a container holds data" in text
    assert re.search(r"^job  files, 3\.0 MB \(busybox, exited\)$", text, re.MULTILINE)
    assert "written in /result, /srv" in text
    (job,) = told(shell26, "job")["containers"]
    assert (job["name"], job["places"]) == ("job", ["/result", "/srv"])
    assert told(shell26)["volumes"] == []
    assert job["offers"] == offers(text)
    shell26.run(job["offers"]["copy its files out"], check=True)
    copied = shell26.home / "job-files"
    assert (copied / "srv/a/b/f").read_text() == "kept\n"
    assert (copied / "result").stat().st_size == 3000000
    shell26.run(job["offers"]["keep it as an image"], check=True)
    assert "3000000" in shell26.out("docker run --rm job-saved wc -c /result")
    shell26.run(job["offers"]["start it again"], check=True)
    shell26.out("docker rmi -f job-saved; docker wait job")
    saved = shell26.run(job["offers"]["back it up"], check=True).stdout
    shell26.out("docker rm job")
    back = re.search(r"to have it back: (.+)", saved)
    assert back
    shell26.run(back[1], check=True)
    assert shell26.out("docker cp job:/srv/a/b/f - | tar -xO") == "kept"
    assert shell26.helpers() == shell26.partial() == []


def test_v8_rescue_attaches_a_container_to_what_was_left(shell26: Shell) -> None:
    shell26.out("docker run --name box -v /srv/files busybox sh -c 'echo kept > /srv/files/f'")
    volume = shell26.out("docker inspect -f '{{(index .Mounts 0).Name}}' box")
    shell26.run("docker rm box", check=True)
    (left,) = told(shell26)["volumes"]
    assert (left["name"], left["anonymous"]) == (volume, True)
    assert left["origin"]["by"] == "safedocker's audit"
    assert (left["origin"]["container"], left["origin"]["target"]) == ("box", "/srv/files")
    done = shell26.run(f"safedocker rescue --attach {volume[:12]}", check=True)
    assert f"docker run -d --name box -v {volume}:/srv/files busybox" in done.stderr
    assert done.stdout.strip() in shell26.out("docker ps -aq --no-trunc")
    assert shell26.out("docker cp box:/srv/files/f - | tar -xO") == "kept"
    again = shell26.run(f"safedocker rescue --attach {volume[:12]}")
    assert (again.returncode, "has a container" in again.stderr) == (1, True)
    shell26.out("docker volume create plain")
    (shell26.place("plain") / "f").write_text("x")
    unknown = shell26.run("safedocker rescue --attach plain")
    assert (unknown.returncode, "nothing tells of which image" in unknown.stderr) == (1, True)


@pytest.mark.parametrize("words", ["--name new", "--remove", ""])
def test_a_volume_that_a_container_has_is_no_orphan(shell26: Shell, words: str) -> None:
    shell26.out("docker volume create used; docker run -d --name web -v used:/u busybox sleep 99")
    done = shell26.run(f"safedocker rescue {words} used")
    assert done.returncode == 1 or done.returncode == 73
    assert "web" in done.stderr or "has a container" in done.stderr
    assert shell26.volumes() == {"used"}
    assert shell26.backups() == []
