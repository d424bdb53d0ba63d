"""A person's shell before a private engine: a home, the shims first on PATH, perhaps a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import pexpect
import pytest

from safedocker import install
from tests.engine.outcome import Bench, open_bench
from tests.engines import PrivateEngine, UnixConnection

ROOT = Path(__file__).resolve().parents[2]
HELPER = "com.safedocker.helper"


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


class Screen:
    """A script at a terminal of its own, and what a person would do there."""

    def __init__(self, script: str, environ: dict[str, str], cwd: Path) -> None:
        self.child = pexpect.spawn(
            "/bin/sh",
            ["-c", script],
            env={**environ, "TERM": "xterm-256color"},
            cwd=str(cwd),
            dimensions=(50, 120),
            encoding="utf-8",
            codec_errors="replace",
            timeout=90,
        )
        self.child.delaybeforesend = None
        self.text = ""

    def wait(self, *what: str) -> Self:
        for one in what:
            self.child.expect(one)
            self.text += f"{self.child.before}{self.child.after}"
        return self

    def asked(self) -> Self:
        """The question stands there, and what is typed is an answer."""
        return self.wait("What now", "Cancel")

    def type(self, keys: str) -> Self:
        self.child.send(keys)
        return self

    def ended(self) -> int:
        """Wait for the end; return the exit code, or the signal's number below zero."""
        self.child.expect(pexpect.EOF)
        self.text += self.child.before or ""
        self.child.close()
        if self.child.signalstatus is not None:
            return -int(self.child.signalstatus)
        assert self.child.exitstatus is not None
        return self.child.exitstatus


class Shell:
    """One person's home before one engine. `compose` is how its Compose is called there."""

    def __init__(self, engine: PrivateEngine, home: Path) -> None:
        self.engine = engine
        self.home = home
        self.compose = "docker-compose" if engine.version == "20" else "docker compose"
        self.bare = {**engine.environ(home), "HOME": str(home)}
        programs = home / "bin"
        programs.mkdir()
        own = programs / "safedocker"
        own.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m safedocker "$@"\n')
        own.chmod(0o755)
        links = home / ".engine-bin"
        install.install(home / "shims", str(links / "docker"), str(links / "docker-compose"))
        path = f"{home / 'shims'}:{self.bare['PATH']}:{programs}"
        self.environ = {**self.bare, "PATH": path}

    def run(
        self,
        script: str,
        *,
        real: bool = False,
        check: bool = False,
        cwd: Path | None = None,
        timeout: float = 120,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of sh's without a terminal; `real` takes the shims off PATH."""
        done = subprocess.run(
            ["sh", "-c", script],
            env={**(self.bare if real else self.environ), **environ},
            cwd=cwd or self.home,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
            start_new_session=True,
        )
        if check:
            assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stderr}"
        return done

    def begin(self, script: str, *, cwd: Path | None = None, **environ: str) -> Running:
        """Begin a command that is to be watched; its process is the shim's, then the real one's."""
        return Running(self, script, cwd or self.home, environ)

    def terminal(
        self, script: str, *, real: bool = False, cwd: Path | None = None, **environ: str
    ) -> Screen:
        """Begin a script at a terminal."""
        return Screen(
            script, {**(self.bare if real else self.environ), **environ}, cwd or self.home
        )

    def out(self, script: str, *, cwd: Path | None = None) -> str:
        """What a command of the real docker's prints; it must succeed."""
        return self.run(script, real=True, check=True, cwd=cwd).stdout.strip()

    def ask(self, path: str, **filters: list[str]) -> Any:
        """What the engine's API answers to a GET: quicker than a client that is started for it."""
        connection = UnixConnection(self.engine.socket)
        try:
            connection.request(
                "GET", f"{path}?{urlencode({'all': 1, 'filters': json.dumps(filters)})}"
            )
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == HTTPStatus.OK, body
            return json.loads(body)
        finally:
            connection.close()

    def state(self) -> dict[str, object]:
        """All that the engine holds, as it tells it: definitions, dates, running or not."""
        containers = [
            self.ask(f"/containers/{one['Id']}/json") for one in self.ask("/containers/json")
        ]
        for container in containers:
            container["Mounts"].sort(key=lambda mount: mount["Destination"])  # 20.10 shuffles them
        return {
            "volumes": sorted(self.ask("/volumes")["Volumes"] or [], key=lambda one: one["Name"]),
            "containers": containers,
            "images": sorted(self.ask("/images/json"), key=lambda one: one["Id"]),
            "networks": sorted(one["Id"] for one in self.ask("/networks")),
        }

    def definition(self, volume: str) -> dict[str, object]:
        """A volume as it was asked for: driver, labels, options, place, scope."""
        told = self.ask(f"/volumes/{volume}")
        del told["CreatedAt"]
        return {key: value or {} for key, value in told.items()}  # null and {} are the same

    def place(self, volume: str) -> Path:
        """Where a volume's contents lie on this machine."""
        return Path(self.ask(f"/volumes/{volume}")["Mountpoint"])

    def volumes(self) -> set[str]:
        return {one["Name"] for one in self.ask("/volumes")["Volumes"] or []}

    def running(self) -> set[str]:
        """The names of the containers that run."""
        found = self.ask("/containers/json", status=["running"])
        return {name.removeprefix("/") for one in found for name in one["Names"]}

    def helpers(self) -> list[str]:
        """What safedocker has in the engine for itself: containers, images."""
        places = ("/containers/json", "/images/json")
        return [one["Id"] for place in places for one in self.ask(place, label=[HELPER])]

    @property
    def store(self) -> Path:
        return self.home / ".local/share/safedocker/backups"

    def backups(self) -> list[str]:
        """The ids of the backups that are whole, oldest first."""
        return sorted(path.parent.name for path in self.store.glob("*/manifest.json"))

    def partial(self) -> list[str]:
        """What lies in the store and is no whole backup."""
        whole = {*self.backups(), "lock"}
        return sorted(path.name for path in self.store.glob("*") if path.name not in whole)

    def behind(self) -> list[int]:
        """The processes that stay behind until this shell's commands have ended."""
        ours = f"HOME={self.environ['HOME']}\0".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                words = (place / "cmdline").read_bytes().split(b"\0")
                if b"after-the-command" in words and ours in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found

    def audit(self) -> list[dict[str, object]]:
        """The audit's lines, the last one last."""
        file = self.home / ".local/state/safedocker/audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Running:
    """A command on its way: to be caught at a moment, and to be sent a signal."""

    def __init__(self, shell: Shell, script: str, cwd: Path, environ: dict[str, str]) -> None:
        self.shell = shell
        self._seen = set(shell.backups())
        self.child = subprocess.Popen(
            ["sh", "-c", f"exec {script}"],
            env={**shell.environ, **environ},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def until(self, file: str, seconds: float = 60) -> bool:
        """Wait until a file of this name appears in the backup that is being made. False when the
        command ended before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for folder in self.shell.store.glob("2*"):
                if folder.name not in self._seen and (folder / file).exists():
                    return True
            if self.child.poll() is not None:
                return False
            time.sleep(0.001)
        raise AssertionError(f"no {file} in {seconds} seconds")

    def send(self, number: signal.Signals) -> Running:
        if self.child.poll() is None:
            os.kill(self.child.pid, number)
        return self

    def ended(self, seconds: float = 90) -> tuple[int, str]:
        """The exit code, or the signal's number below zero; and what stood on stderr."""
        _out, told = self.child.communicate(timeout=seconds)
        return self.child.returncode, told


@contextlib.contextmanager
def proxied(
    engine: PrivateEngine,
    *arguments: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    tcp: bool = False,
) -> Iterator[str]:
    """proxy.py before an engine; gives its address."""
    listen = engine.folder / "proxy.sock"
    program = Path(__file__).with_name("proxy.py")
    where = "tcp" if tcp else str(listen)
    argv = [sys.executable, str(program), where, str(engine.socket), *arguments]
    with subprocess.Popen(argv, env=env, cwd=cwd, stdout=subprocess.PIPE) as proxy:
        try:
            assert proxy.stdout
            ready, address = proxy.stdout.readline().decode().split()
            assert ready == "ready"
            yield address
        finally:
            proxy.kill()


@pytest.fixture
def shell(fresh: PrivateEngine, home: Path) -> Shell:
    """A shell before `engine`; what a test leaves in the engine is removed."""
    return Shell(fresh, home)


@pytest.fixture
def shell26(engine26: PrivateEngine, home: Path) -> Iterator[Shell]:
    """For what hangs on no engine's version."""
    with engine26.swept():
        yield Shell(engine26, home)


@pytest.fixture(scope="module")
def open_shell(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[PrivateEngine], Shell]]:
    """Open a shell that several tests share; its engine is swept by whoever asks."""
    opened = []

    def open_one(engine: PrivateEngine) -> Shell:
        home = tmp_path_factory.mktemp("person") / "home"
        for part in (".cache", ".config", ".local/share", ".local/state"):
            (home / part).mkdir(parents=True)
        opened.append(home)
        return Shell(engine, home)

    yield open_one
    for home in opened:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def benches(
    start_engine: Callable[[str], PrivateEngine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Bench]]:
    """The bench of a pairing: "26", or "20@26" for the client of 20 before the engine of 26.

    One at a time: a bench sweeps all that its engine holds.
    """
    place = tmp_path_factory.mktemp("corpus")
    standing: dict[str, Bench] = {}

    def stand(pairing: str) -> Bench:
        if pairing not in standing:
            while standing:
                standing.popitem()[1].close()
            client, _, version = pairing.partition("@")
            start_engine(client)  # skips where there is none
            engine = start_engine(version or client)
            folder = place / f"{pairing}-{len(list(place.iterdir()))}"
            standing[pairing] = open_bench(engine, PrivateEngine(client), folder)
        return standing[pairing]

    yield stand
    for bench in standing.values():
        bench.close()
