"""A machine of its own for accounts and system-wide files: this one's files, copy-on-write, with
the shells and the sudo of SHELLS and a Docker client on it, before a private engine.

Everything that is written in it is gone with it; what runs in it sees none of the person's files.
"""

import contextlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pexpect

from tests.debian import SHELLS, Unavailable, tree_of
from tests.engines import PrivateEngine

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"  # of MACHINE_PACKAGES
PROGRAM = "/opt/safedocker"  # where README's recipe puts it

# Makes the mounts, then stays until its stdin ends. What belongs to the person, or to whoever set
# up this machine, is covered.
_MOUNT = """
set -eu
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for name in tmp:1777 run:755 home:755 root:700 usr/local/bin:755 usr/local/sbin:755; do
  mkdir -p "$1/root/${name%:*}"
  mount -t tmpfs -o "mode=${name#*:}" tmpfs "$1/root/${name%:*}"
done
for name in proc dev sys; do mount --rbind "/$name" "$1/root/$name"; done
for pair in "$2:run/docker.sock" "$3:usr/bin/docker" "$4:$5"; do
  mkdir -p "$1/root/$(dirname "${pair#*:}")"
  : > "$1/root/${pair#*:}"
  mount --bind "${pair%%:*}" "$1/root/${pair#*:}"
done
echo ready
read -r _ || :
"""
_COMPOSE = "usr/libexec/docker/cli-plugins/docker-compose"


class PrivateMachine:
    """`with PrivateMachine(engine) as machine:`; its accounts find the engine where docker looks
    by itself."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine = engine
        self.folder = Path()
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not tree_of(SHELLS).is_dir():
            raise Unavailable("the shells are not unpacked: python3 tests/engines.py install")
        self.folder = Path(tempfile.mkdtemp(prefix="sdmachine-", dir="/tmp"))
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir()
        # The cache lies in "/", and layers may not overlap: a copy, 40 MB.
        subprocess.run(["cp", "-a", f"{tree_of(SHELLS)}/.", self.folder / "upper"], check=True)
        bound = (self.engine.socket, self.engine.docker, self.engine.compose, _COMPOSE)
        argv: list[str | Path] = [
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", _MOUNT, "sh", self.folder, *bound),
        ]
        self._holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise Unavailable("this machine can't be laid over: no overlay file system here")
        self.engine.socket.chmod(0o666)  # a private engine's: whoever is in it may use it
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; the mounts go with the last process that sees them."""
        if self._holder:
            self._holder.communicate()
            self._holder = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, inside: str) -> Path:
        """A file of the machine's, as we can open it."""
        assert self._holder
        place = self.folder / "root" / inside.lstrip("/")
        return Path(f"/proc/{self._holder.pid}/root{place}")

    def argv(self, *words: str) -> list[str]:
        """What runs these words in the machine, as root, without anything of our environment."""
        assert self._holder
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wd={self.folder}"]
        clean = ["env", "-i", "TERM=xterm-256color", "LANG=C.UTF-8", f"PATH={_ROOTS_PATH}"]
        return [*enter, "chroot", str(self.folder / "root"), *clean, *words]

    def run(
        self, *words: str, check: bool = True, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run words as root, without a terminal."""
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done

    def log_in(
        self, user: str, line: str, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one line in a user's login shell, as ssh and cron's `su -` do."""
        return self.run("su", "-", user, "-c", line, check=check)

    def terminal(self, user: str) -> "pexpect.spawn[str]":
        """Log in at a terminal: the login shell itself, interactive."""
        words = self.argv("su", "-", user)
        child = pexpect.spawn(
            words[0], words[1:], encoding="utf-8", timeout=30, dimensions=(50, 160)
        )
        child.delaybeforesend = None
        return child

    def add_account(self, name: str, shell: str) -> str:
        """A fresh account with its home and group; return the home. All may use sudo."""
        self.run("useradd", "--create-home", "--shell", shell, name)
        rule = self.path(f"/etc/sudoers.d/{name}")
        rule.write_text(f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
        return f"/home/{name}"

    def state(self, *places: str) -> dict[str, str]:
        """Everything below these places: kind and mode, owner, group, link, and what is in it."""
        listed = self.run("find", *places, "-printf", r"%p\t%M %U %G %l\n").stdout
        found = dict(line.split("\t", 1) for line in listed.splitlines())
        sums = self.run("find", *places, "-type", "f", "-exec", "sha256sum", "{}", "+").stdout
        for line in sums.splitlines():
            digest, name = line.split("  ", 1)
            found[name] += digest
        return found

    def install_program(self, wheel: Path) -> None:
        """Put safedocker where README's recipe for a machine does, as pip lays it out: a virtual
        environment of root's. What it imports is taken from the one that runs the tests."""
        version = self.run(PYTHON, "-c", "import sys; print(*sys.version_info[:2])").stdout.split()
        if version != [str(part) for part in sys.version_info[:2]]:
            raise Unavailable(f"{PYTHON} is another version than the tests' {sys.version}")
        self.run(PYTHON, "-m", "venv", "--without-pip", PROGRAM)
        site = self.path(f"{PROGRAM}/lib/python{'.'.join(version)}/site-packages")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        own = Path(sysconfig.get_path("purelib"))
        for name in _closure("safedocker"):
            for file in importlib.metadata.files(name) or ():
                if {"..", "__pycache__"}.isdisjoint(file.parts):
                    source = own / file
                    target = site / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, target)
        program = self.path(f"{PROGRAM}/bin/safedocker")
        program.write_text(f"#!{PROGRAM}/bin/python\nfrom safedocker.cli import main\nmain()\n")
        program.chmod(0o755)
        self.run(f"{PROGRAM}/bin/python", "-m", "compileall", "-q", f"{PROGRAM}/lib")
        self.run("chmod", "-R", "a+rX,go-w", PROGRAM)


_ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _closure(name: str) -> set[str]:
    """What a distribution needs to run, itself left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or ():
            if "extra ==" in line:
                continue
            needed = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            if needed not in found and _has(needed):
                found.add(needed)
                waiting.append(needed)
    return found


def _has(name: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.distribution(name))
    return False


def build_wheel(into: Path) -> Path:
    """The wheel of this tree."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", into, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel


@contextlib.contextmanager
def standing(engine: PrivateEngine) -> Iterator[PrivateMachine]:
    """A machine with safedocker in PROGRAM and nothing of it on any PATH."""
    with PrivateMachine(engine) as machine:
        with tempfile.TemporaryDirectory() as folder:
            machine.install_program(build_wheel(Path(folder)))
        yield machine
