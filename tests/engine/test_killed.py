"""Killed by -9 before any step it takes, or the engine gone, the disk full, the store read-only:
either the command ran and all can be had again, or it did not run and all is where it was; and the
next run leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import ROOT, Shell, until
from tests.engines import PrivateEngine

WAYS = ("archive", "move")
HOLDS = "every row\n"
NOTHING: Mapping[str, str] = {}


@dataclass
class Guarded:
    """A running container with an anonymous volume, and the shim that dies when it is told to."""

    shell: Shell
    way: str
    told: Path
    environ: dict[str, Any] = field(default_factory=dict)
    harm: str = ""  # what is done to the world; nothing: the process itself is killed

    def begin(self) -> str:
        """Make the container anew; return its volume's name."""
        self.shell.out(
            "docker run -d --name app -v /data busybox sh -c"
            " 'trap \"exit 0\" TERM; while :; do sleep 0.05; done'"
        )
        (mount,) = json.loads(self.shell.out("docker inspect app"))[0]["Mounts"]
        (Path(mount["Source"]) / "rows").write_text(HOLDS)
        return str(mount["Name"])

    def dies(
        self, last: int | str, *words: str, own: bool = False, harmed: Mapping[str, str] = NOTHING
    ) -> tuple[int, list[str], str]:
        """Run a command of the shim's, or of our `own`, with the harm done at that step; return how
        it ended, its steps until then, and what it said."""
        self.told.unlink(missing_ok=True)
        links = self.shell.home / ".engine-bin"
        shim = [str(self.shell.home / "shims" / "docker"), str(links / "docker"), "="]
        program = ["own", str(ROOT)] if own else ["shim", str(ROOT), "docker", *shim]
        driver = Path(__file__).with_name("dying.py")
        done = subprocess.run(
            [sys.executable, driver, self.told, str(last), self.harm, *program, *words],
            env={**self.shell.environ, **self.environ, **harmed},
            cwd=self.shell.home,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
        steps = self.told.read_text().splitlines() if self.told.exists() else []
        assert self.harm or done.returncode in {0, -signal.SIGKILL}, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, steps[: last if isinstance(last, int) else None], done.stderr

    def put_right(self) -> str:
        """The next run of the shim, whatever for; return what it says."""
        until(lambda: not self.shell.behind())
        return self.shell.run("docker volume rm nothing-of-that-name", **self.environ).stderr

    def rows(self, volume: str) -> str:
        return (self.shell.place(volume) / "rows").read_text()


@pytest.fixture
def guarded(
    request: pytest.FixtureRequest, engine26: PrivateEngine, home: Path
) -> Iterator[Guarded]:
    with engine26.swept():
        shell = Shell(engine26, home)
        way = request.param
        environ = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": way}
        one = Guarded(shell, way, home / "steps", environ)
        yield one
        until(lambda: not shell.behind())
        shutil.rmtree(engine26.data_root / "safedocker", ignore_errors=True)


def numbers(every: int) -> Iterator[int]:
    """The steps to die at, until one is past the end."""
    return itertools.count(1, every)


def check_removal(guarded: Guarded, every: int) -> list[str]:
    """Kill `docker rm -fv` at its steps; return all of them."""
    shell = guarded.shell
    for last in numbers(every):
        volume = guarded.begin()
        code, steps, _said = guarded.dies(last, "rm", "-fv", "app")
        at = f"step {last}: {steps[-1:]}"
        told = guarded.put_right()
        if volume in shell.volumes():
            assert shell.running() == {"app"}, (at, told)
        else:
            assert not shell.ask("/containers/json"), at
            shell.run("safedocker undo", check=True)
        assert guarded.rows(volume) == HOLDS, at
        assert (shell.partial(), shell.helpers()) == ([], []), at
        assert not list((shell.engine.data_root / "safedocker").glob("*/*/_data")), at
        shell.run(f"docker rm -fv app; docker volume rm {volume}", real=True)
        if code == 0:
            return steps
    raise AssertionError("it never came to its end")


def check_undo(guarded: Guarded, every: int, *, idle: bool = False) -> list[str]:
    """Kill `safedocker undo` at its steps, and run it again; return all of them. `idle`: a
    container that does not run has the volume, so that it can't be made anew."""
    shell = guarded.shell
    for last in numbers(every):
        volume = guarded.begin()
        shell.run("docker rm -fv app", check=True, **guarded.environ)
        until(lambda: not shell.behind())
        if idle:
            shell.out(f"docker volume create --label com.docker.volume.anonymous= {volume}")
            shell.out(f"docker create --name idle -v {volume}:/data busybox")
        code, steps, _said = guarded.dies(last, "undo", own=True)
        at = f"step {last}: {steps[-1:]}"
        if code:
            shell.run("safedocker undo", check=True)
        assert guarded.rows(volume) == HOLDS, at
        assert (shell.partial(), shell.helpers()) == ([], []), at
        if idle:
            shell.out("docker rm idle")
        shell.run(f"docker volume rm {volume}", real=True, check=True)
        if code == 0:
            return steps
    raise AssertionError("it never came to its end")


def check_project(guarded: Guarded, last: int | str) -> tuple[int, list[str]]:
    """Kill an undo of a volume and of two containers, one in the other's network, at a step, and
    run it again; return how it ended first, and its steps."""
    shell = guarded.shell
    program = "sh -c 'trap \"exit 0\" TERM; echo m >/mark; while :; do sleep 0.05; done'"
    volume = guarded.begin()
    shell.out("docker network create more; docker network connect more app")
    shell.out("docker exec app sh -c 'echo m >/mark'")
    shell.out(f"docker run -d --name also --network container:app busybox {program}")
    until(lambda: len(shell.ask("/containers/also/changes") or ()) > 0)
    environ: Mapping[str, Any] = {**guarded.environ, "SAFEDOCKER_ASK_ABOVE": "0"}
    shell.run("docker rm -fv also app", check=True, **environ)
    until(lambda: not shell.behind())
    assert not shell.ask("/containers/json")
    backup = shell.backups()[-1]
    code, steps, _said = guarded.dies(last, "undo", own=True)
    at = f"step {last}: {steps[-1:]}"
    if code:
        shell.run("safedocker undo", check=True)
    assert guarded.rows(volume) == HOLDS, at
    assert shell.running() == {"also", "app"}, at
    networks = shell.ask("/containers/app/json")["NetworkSettings"]["Networks"]
    assert {*networks} == {"bridge", "more"}, at
    for name in ("also", "app"):
        assert shell.out(f"docker exec {name} cat /mark") == "m", at
    told = json.loads(shell.run("safedocker backups --json", check=True).stdout)
    assert [one["state"] for one in told if one["id"] == backup] == ["undone"], at
    assert (shell.partial(), shell.helpers()) == ([], []), at
    shell.out(f"docker rm -f also app; docker volume rm {volume}; docker network rm more")
    return code, steps


@contextlib.contextmanager
def engine_gone(guarded: Guarded) -> Iterator[dict[str, str]]:
    """The engine can't be reached any more."""
    listen = guarded.shell.home / "proxy.sock"
    listen.unlink(missing_ok=True)
    program = Path(__file__).with_name("proxy.py")
    argv = [sys.executable, str(program), str(listen), str(guarded.shell.engine.socket)]
    with subprocess.Popen(argv) as proxy:
        until(listen.exists)
        guarded.harm = f"kill -9 {proxy.pid}"
        yield {"DOCKER_HOST": f"unix://{listen}"}
        proxy.kill()


@contextlib.contextmanager
def disk_full(guarded: Guarded) -> Iterator[dict[str, str]]:
    """Not a byte is left on the disk that the store is on."""
    filler = guarded.shell.store.parent / "filler"
    guarded.harm = f"dd if=/dev/zero of={filler} bs=64k 2>/dev/null"
    yield {}
    filler.unlink(missing_ok=True)


@contextlib.contextmanager
def read_only(guarded: Guarded) -> Iterator[dict[str, str]]:
    """The disk that the store is on can't be written any more."""
    disk = guarded.shell.store.parent
    guarded.harm = f"mount -o remount,ro {disk}"
    yield {}
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


HARMS = {"engine-gone": engine_gone, "disk-full": disk_full, "read-only": read_only}


@pytest.fixture
def small_disk(guarded: Guarded) -> Iterator[Guarded]:
    """The store is on a disk of its own, of 80 MiB."""
    disk = guarded.shell.store.parent
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], check=True)
    yield guarded
    subprocess.run(["umount", disk], check=True)


def check_harm(guarded: Guarded, harm: str, every: int) -> int:
    """Do one kind of harm at the steps of `docker rm -fv`; return how many there are."""
    shell = guarded.shell
    for last in numbers(every):
        volume = guarded.begin()
        with HARMS[harm](guarded) as harmed:
            code, steps, said = guarded.dies(last, "rm", "-fv", "app", harmed=harmed)
        at = f"step {last}: {steps[-1:]} {code} {said}"
        ended = len(steps) < last
        ran = volume not in shell.volumes()
        told = guarded.put_right()
        if ran:
            assert not shell.ask("/containers/json"), at
            shell.run("safedocker undo", check=True)
        else:
            assert code, at
            assert said, "a run that ends without its command says why"
            assert shell.running() == {"app"}, (at, told)
        assert guarded.rows(volume) == HOLDS, at
        assert (shell.partial(), shell.helpers()) == ([], []), at
        assert not list((shell.engine.data_root / "safedocker").glob("*/*/_data")), at
        shell.run(f"docker rm -fv app; docker volume rm {volume}", real=True)
        if ended:
            assert ran, at
            return last
    raise AssertionError("it never came to its end")


@pytest.mark.played
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_harm_at_every_single_step_of_a_removal(small_disk: Guarded, harm: str):
    assert check_harm(small_disk, harm, 1) > 25


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("guarded", ["move"], indirect=True)
def test_harm_at_some_steps_of_a_removal(small_disk: Guarded, harm: str):
    assert check_harm(small_disk, harm, 11)


@pytest.mark.played
@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_a_removal_killed_before_every_single_step(guarded: Guarded):
    steps = check_removal(guarded, 1)
    assert len(steps) > 25
    assert steps[-1].startswith("os.exec")


@pytest.mark.played
@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_an_undo_killed_before_every_single_step(guarded: Guarded):
    assert len(check_undo(guarded, 1)) > 10


@pytest.mark.played
@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_an_undo_into_a_containers_volume_killed_before_every_single_step(guarded: Guarded):
    assert len(check_undo(guarded, 1, idle=True)) > 10


@pytest.mark.played
@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_an_undo_of_containers_killed_before_every_single_step(guarded: Guarded):
    for last in numbers(1):
        code, steps = check_project(guarded, last)
        if code == 0:
            break
    assert sum("/containers/create?name=a" in step for step in steps) == 2


@pytest.mark.parametrize("guarded", ["archive"], indirect=True)
def test_an_undo_killed_between_making_containers_and_starting_them(guarded: Guarded):
    code, steps = check_project(guarded, "/start ")
    assert code
    assert sum("/containers/create?name=a" in step for step in steps) == 2


@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_a_removal_killed_before_some_of_its_steps(guarded: Guarded):
    assert check_removal(guarded, 9)


@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_an_undo_killed_before_some_of_its_steps(guarded: Guarded):
    assert check_undo(guarded, 7)
