"""Killed by -9 before any step it takes: either the command ran and all can be had again, or it did
not run and all is where it was; and the next run says so and leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import ROOT, Shell, until
from tests.engines import PrivateEngine

WAYS = ("archive", "move")
HOLDS = "every row\n"


@dataclass
class Guarded:
    """A running container with an anonymous volume, and the shim that dies when it is told to."""

    shell: Shell
    way: str
    told: Path
    environ: dict[str, Any] = field(default_factory=dict)

    def begin(self) -> str:
        """Make the container anew; return its volume's name."""
        self.shell.out(
            "docker run -d --name app -v /data busybox sh -c"
            " 'trap \"exit 0\" TERM; while :; do sleep 0.05; done'"
        )
        (mount,) = json.loads(self.shell.out("docker inspect app"))[0]["Mounts"]
        (Path(mount["Source"]) / "rows").write_text(HOLDS)
        return str(mount["Name"])

    def dies(self, last: int, *words: str, own: bool = False) -> tuple[int, list[str]]:
        """Run a command of the shim's, or of our `own`, until the step; return how it ended."""
        self.told.unlink(missing_ok=True)
        links = self.shell.home / ".engine-bin"
        shim = [str(self.shell.home / "shims" / "docker"), str(links / "docker"), "="]
        program = ["own", str(ROOT)] if own else ["shim", str(ROOT), "docker", *shim]
        driver = Path(__file__).with_name("dying.py")
        done = subprocess.run(
            [sys.executable, driver, self.told, str(last), *program, *words],
            env={**self.shell.environ, **self.environ},
            cwd=self.shell.home,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
        steps = self.told.read_text().splitlines() if self.told.exists() else []
        if done.returncode not in {0, -signal.SIGKILL}:
            raise AssertionError(f"{words}: {done.returncode} {done.stderr}")
        return done.returncode, steps

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
        code, steps = guarded.dies(last, "rm", "-fv", "app")
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


def check_undo(guarded: Guarded, every: int) -> list[str]:
    """Kill `safedocker undo` at its steps, and run it again; return all of them."""
    shell = guarded.shell
    for last in numbers(every):
        volume = guarded.begin()
        shell.run("docker rm -fv app", check=True, **guarded.environ)
        until(lambda: not shell.behind())
        code, steps = guarded.dies(last, "undo", own=True)
        at = f"step {last}: {steps[-1:]}"
        if code:
            shell.run("safedocker undo", check=True)
        assert guarded.rows(volume) == HOLDS, at
        assert (shell.partial(), shell.helpers()) == ([], []), at
        shell.run(f"docker volume rm {volume}", real=True, check=True)
        if code == 0:
            return steps
    raise AssertionError("it never came to its end")


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


@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_a_removal_killed_before_some_of_its_steps(guarded: Guarded):
    assert check_removal(guarded, 9)


@pytest.mark.parametrize("guarded", WAYS, indirect=True)
def test_an_undo_killed_before_some_of_its_steps(guarded: Guarded):
    assert check_undo(guarded, 7)
