"""Hints at a real terminal: told once, to a person, and nothing else changes."""

from __future__ import annotations

import os
import re
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
    policy = shell.home / ".config/safedocker/policy.toml"
    policy.parent.mkdir()
    policy.write_text("hints = false\n")
    assert said(shell, line) == "ran"
    policy.write_text('hints_off = ["owner", "tmpfs-over-memory"]\n')
    assert said(shell, line) == "ran"
    policy.unlink()
    assert "hint" not in said(shell, line, CI="true")
    assert "owner" not in shell.run(line, check=True).stderr
    some = said(shell, line, SAFEDOCKER_HINTS="tmpfs-over-memory")
    assert f"{source} belongs to user 1000, mode 0755: it can't write there" in some
    assert "killed" not in some
    rest = said(shell, line)
    assert "it is killed when that is full" in rest
    assert "belongs to user" not in rest
    assert said(shell, line) == "ran"


# What each hint is about, in one file: a database beside its volume, one without any, a host path
# over one, a user that can't write, a tmpfs above the memory; and a volume of another project's.
SHOP = """
services:
  beside: {image: postgres, network_mode: none, volumes: ["pg:/var/lib/postgresql"]}
  bare: {image: redis, network_mode: none}
  over: {image: postgres, network_mode: none, volumes: ["./over:/var/lib/postgresql/data"]}
  app:
    image: busybox
    network_mode: none
    user: "65534"
    mem_limit: 64m
    volumes: ["./src:/app", "theirs:/t"]
    tmpfs: "/tmp:size=1g"
  quiet: {image: busybox, network_mode: none, command: "true"}
volumes:
  pg:
  theirs: {name: theirs}
version: "2.4"
"""
HINT = re.compile(r"safedocker: hint: ((?:(?!safedocker: hint).)+)")


@pytest.fixture
def shop(fresh: PrivateEngine, home: Path) -> Iterator[Shell]:
    """A shell in whose home a project lies, before images that are called as databases' are."""
    shell = Shell(fresh, home)
    folder = home / "shop"
    for name in ("over", "src"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
    (folder / "docker-compose.yml").write_text(SHOP)
    volume = "VOLUME /var/lib/postgresql/data"
    shell.out(f"docker commit --change '{volume}' $(docker create busybox) postgres")
    shell.out("docker tag busybox redis")
    yield shell
    shell.out("docker rmi -f postgres redis")


def hinted(shell: Shell, words: str, folder: Path, **environ: Any) -> list[str]:
    screen = shell.terminal(f"{shell.compose} {words}", cwd=folder, **environ)
    assert screen.ended() == 0, screen.text
    return HINT.findall(" ".join(screen.text.split()))


def test_s11_v6_v7_v13_hints_before_compose_come_from_its_own_reading_and_once_in_a_project(
    shop: Shell,
) -> None:
    folder = shop.home / "shop"
    label = "--label com.docker.compose.project=other"
    shop.out(f"docker volume create {label} theirs")
    assert "hint:" not in shop.run(f"{shop.compose} create bare", cwd=folder, check=True).stderr
    told = hinted(shop, "create beside bare over app", folder, SAFEDOCKER_HINTS="owner")
    expected = (
        "the volume theirs is project other's",
        "the volume shop_pg is mounted at /var/lib/postgresql, but this PostgreSQL keeps",
        "the data of this Redis go into the container itself",
        "is mounted over the data of this PostgreSQL",
        "the tmpfs at /tmp may grow to 1024 MiB, but the container has 64 MiB",
    )
    for words in expected:
        assert sum(words in one for one in told) == 1, (words, told)
    assert len(told) == len(expected)
    (owner,) = hinted(shop, "up --no-start", folder)
    assert "this image runs as user 65534" in owner
    assert hinted(shop, "up --no-start", folder) == []


def test_compose_tells_of_another_folder_and_another_projects_volume(shop: Shell) -> None:
    folder, other = shop.home / "shop", shop.home / "old" / "shop"
    other.mkdir(parents=True)
    (other / "docker-compose.yml").write_text(SHOP)
    (other / "over").mkdir()
    (other / "src").mkdir()
    shop.out("docker volume create --label com.docker.compose.project=other theirs")
    shop.out(f"{shop.compose} up --no-start quiet", cwd=other)
    told = hinted(shop, "run --rm -T quiet true", folder)
    assert [one.partition(":")[0] for one in told] == [
        f"the project shop has containers of {other} already",
        "the volume theirs is project other's",
    ]
    assert hinted(shop, "start quiet", folder) == []


def test_what_start_would_tell_is_looked_for_once(shop: Shell) -> None:
    folder = shop.home / "shop"
    shop.out(f"{shop.compose} up --no-start bare quiet", cwd=folder)
    (told,) = hinted(shop, "start bare", folder)
    assert "the data of this Redis" in told
    assert hinted(shop, "start bare", folder) == []
