"""Hints at a real terminal: told once, to a person, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Shell, until
from tests.engines import PrivateEngine


@pytest.fixture
def shell(engine26: PrivateEngine, home: Path) -> Iterator[Shell]:
    with engine26.swept():
        yield Shell(engine26, home)


def said(shell: Shell, line: str, **environ: Any) -> str:
    screen = shell.terminal(line, **environ)
    assert screen.ended() == 0, screen.text
    return " ".join(screen.text.split())


def test_v8_where_did_my_data_go(shell: Shell):
    shell.engine.image("postgres:15")
    run = "docker run -d --name pg postgres:15"
    assert "hint: the data of this PostgreSQL go into an anonymous volume" in said(shell, run)

    def sql(statement: str) -> bool:
        psql = "docker exec pg psql -h 127.0.0.1 -U postgres -qtAc"
        return shell.run(f"{psql} '{statement}'", real=True).stdout.strip() == "7"

    until(lambda: sql("create table kept as select 7 as id; select id from kept"))
    shell.run("docker rm -f pg", check=True)

    again = said(shell, run)

    assert "an earlier container pg left its data in the anonymous volume" in again
    volume = again.partition("-v ")[2].split()[0]
    shell.run("docker rm -fv pg", real=True, check=True)
    shell.out(f"docker run -d --name pg -v {volume} postgres:15")
    until(lambda: sql("select id from kept"))


def test_v6_v13_each_is_told_once_and_can_be_switched_off(shell: Shell):
    source = shell.home / "src"
    source.mkdir()
    source.chmod(0o755)
    os.chown(source, 1000, 1000)
    line = f"docker run --rm -u 65534 -m 64m --tmpfs /t:size=1g -v {source}:/app busybox echo ran"

    silent = said(shell, line, SAFEDOCKER_HINTS="off")
    assert silent == "ran"
    assert "hint" not in said(shell, line, CI="true")
    assert "owner" not in shell.run(line, check=True).stderr
    some = said(shell, line, SAFEDOCKER_HINTS="tmpfs-over-memory")
    assert f"{source} belongs to user 1000, mode 0755: it can't write there" in some
    assert "killed" not in some
    rest = said(shell, line)
    assert "it is killed when that is full" in rest
    assert "belongs to user" not in rest
    assert said(shell, line) == "ran"
