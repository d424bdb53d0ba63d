"""A machine that several people share: one private engine, a login and a home for each, a log that
root has set up. All of it in a mount namespace of its own, so that nothing of the real machine's is
touched."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safedocker import install
from tests.engine.conftest import Screen
from tests.engines import PrivateEngine
from tests.rootless import opened

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = {"anna": 5001, "bob": 5002}
LOG = Path("/var/log/safedocker")
STORES = Path("/var/lib/safedocker")
SOCKET = "/run/engine.sock"


class Machine:
    """`with Machine(engine) as machine:`; `machine.run("anna", "docker ...")`."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine = engine
        self.folder = Path()
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Machine:
        self.folder = Path(tempfile.mkdtemp(prefix="sdpeople-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._environ = self.engine.environ(self.folder)
        shims = self.folder / "shims"
        install.install(
            shims,
            str(self.folder / ".engine-bin/docker"),
            str(self.folder / ".engine-bin/docker-compose"),
        )
        own = self.folder / "safedocker"
        own.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m safedocker "$@"\n')
        own.chmod(0o755)
        (self.folder / "passwd").write_text(
            Path("/etc/passwd").read_text()
            + "".join(
                f"{name}:x:{uid}:{uid}::{self.home(name)}:/bin/sh\n" for name, uid in PEOPLE.items()
            )
        )
        for name, uid in PEOPLE.items():
            self.home(name).mkdir(parents=True)
            os.chown(self.home(name), uid, uid)
            self.home(name).chmod(0o700)
        self.engine.socket.chmod(0o666)  # in the engine's folder, which is root's alone
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", self._mounts()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder:
            self._holder.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounts(self) -> str:
        """What the people see of the machine: the programs too that lie where root alone may go."""
        lines = opened(self.folder)
        lines += [
            "mount -t tmpfs none /run",
            f"touch {SOCKET}",
            f"mount --bind {self.engine.socket} {SOCKET}",
            f"mount --bind {self.folder}/passwd /etc/passwd",
            "mount -t tmpfs -o mode=755 none /var/log",
            "mount -t tmpfs -o mode=755 none /var/lib",
            f"install -d -m 1777 {LOG} {STORES}",
            "echo ready",
            "exec cat",
        ]
        return "\n".join(lines)

    def home(self, name: str) -> Path:
        """A person's home; root's is the machine's folder."""
        return self.folder if name == "root" else self.folder / "home" / name

    def as_(self, name: str, script: str, cwd: Path | None = None, **environ: str) -> str:
        """The command line that runs a script of sh's as this person."""
        assert self._holder
        uid = PEOPLE.get(name, 0)
        home = self.home(name)
        bare = {
            **self._environ,
            "HOME": str(home),
            "DOCKER_HOST": f"unix://{SOCKET}",
            "PATH": f"{self.folder}/shims:{self._environ['PATH']}:{self.folder}",
            "TERM": "xterm-256color",
            **{
                variable: str(home / place)
                for variable, place in (
                    ("XDG_CACHE_HOME", ".cache"),
                    ("XDG_CONFIG_HOME", ".config"),
                    ("XDG_DATA_HOME", ".local/share"),
                    ("XDG_STATE_HOME", ".local/state"),
                )
            },
            **environ,
        }
        return shlex.join(
            [
                *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"),
                *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
                *("env", "-i", *(f"{key}={value}" for key, value in bare.items())),
                *("sh", "-c", f"cd {shlex.quote(str(cwd or home))} && {script}"),
            ]
        )

    def run(
        self,
        name: str,
        script: str,
        *,
        check: bool = False,
        cwd: Path | None = None,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of sh's as this person, without a terminal."""
        done = subprocess.run(
            ["sh", "-c", self.as_(name, script, cwd, **environ)],
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            check=False,
            start_new_session=True,
        )
        if check:
            assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stderr}"
        return done

    def terminal(self, name: str, script: str, cwd: Path | None = None, **environ: str) -> Screen:
        """Begin a script at a terminal as this person."""
        return Screen(f"exec {self.as_(name, script, cwd, **environ)}", dict(os.environ), Path("/"))

    def past(self, script: str) -> str:
        """What the real docker prints, called by its full path: nothing of ours sees it."""
        real = self.folder / ".engine-bin/docker"
        return self.run("root", script.replace("docker", str(real), 1), check=True).stdout.strip()

    def volumes(self) -> set[str]:
        return set(self.past("docker volume ls -q").split())

    def begin(self, script: str) -> subprocess.Popen[str]:
        """Begin a program of the system's, as root in this machine."""
        return subprocess.Popen(
            ["sh", "-c", f"exec {self.as_('root', 'exec ' + script)}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def project(self, name: str, project: str, text: str) -> Path:
        """A Compose project in a person's home."""
        folder = self.home(name) / project
        folder.mkdir()
        (folder / "compose.yml").write_text(text)
        for path in (folder, folder / "compose.yml"):
            os.chown(path, PEOPLE[name], PEOPLE[name])
        return folder


@contextlib.contextmanager
def shared(engine: PrivateEngine) -> Iterator[Machine]:
    """A machine before an engine; what is left in the engine is removed."""
    engine.image("busybox:latest")
    with engine.swept(), Machine(engine) as machine:
        yield machine
