"""Private Docker engines of several versions, with the clients and Compose of their time.

Nothing here touches the machine's own engine: each runs from unpacked packages, in process, mount
and network namespaces of its own, and ends with whoever started it.

    python3 tests/engines.py install                      unpack and build what is missing
    python3 tests/engines.py run --version 26 -- CMD...   run CMD against an engine of its own
"""

import argparse
import atexit
import contextlib
import fcntl
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

if not __package__:  # run as a file: the siblings are found from the root of the repository
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.debian import (
    RELEASES,
    ROOTLESS,
    SHELLS,
    Unavailable,
    install_machine_packages,
    install_suite,
    locked,
    suite_tree,
)
from tests.images import IMAGES, build_image, image_path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SUBORDINATE = ("/etc/subuid", "/etc/subgid")  # which ids of the host's an account may give away

OWN_NETWORKS = {"bridge", "host", "none"}  # the engine's own, made anew with every start


def install(versions: Sequence[str] = tuple(RELEASES)) -> dict[str, str]:
    """Unpack and build what is missing; return the reason for each thing that cannot be had."""
    if os.geteuid() != 0:
        return dict.fromkeys(versions, "private engines need root")
    failed: dict[str, str] = {}
    with locked():
        try:
            install_machine_packages()
        except Unavailable as reason:
            return dict.fromkeys(versions, str(reason))
        wanted = {v: RELEASES[v] for v in versions} | {r.label: r for r in (SHELLS, ROOTLESS)}
        for version, release in wanted.items():
            try:
                install_suite(release)
            except Unavailable as reason:
                failed[version] = str(reason)
        for name in IMAGES:
            try:
                build_image(name)
            except Unavailable as reason:
                failed[name] = str(reason)
    return failed


def remove_folder(folder: Path) -> None:
    """Remove an engine's folder, and the empty control groups that its containers leave behind."""
    for pattern in (folder.name, f"*/{folder.name}"):
        for group in Path("/sys/fs/cgroup").glob(pattern):
            for inner, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(inner).rmdir()
    shutil.rmtree(folder)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self.path))


class PrivateEngine:
    """`with PrivateEngine("26") as engine:` starts an engine of our own and leaves nothing behind.

    It has its own process namespace. When that namespace's first process ends, the kernel ends
    containers, shims and containerd too; and it ends when this process does, however that ends.
    """

    def __init__(self, version: str, *, remapped: bool = False) -> None:
        """`remapped`: its containers' root is another user, as with dockerd --userns-remap."""
        self.version = version
        self.remapped = remapped
        self.release = RELEASES[version]
        self.folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    # Paths. `folder` stays short: a unix socket's path has at most 108 bytes.

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def data_root(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def docker(self) -> Path:
        """The client of this version."""
        return suite_tree(self.version) / "usr/bin/docker"

    @property
    def compose(self) -> Path:
        """The standalone Compose of this version's suite: v1 for 20, v2 for the others."""
        if self.version == "20":
            return suite_tree("20") / "usr/bin/docker-compose"
        return suite_tree(self.version) / "usr/libexec/docker/cli-plugins/docker-compose"

    # Life.

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the engine, or start it again on the data that it had; return when it answers."""
        if self._process:
            return
        if not self.folder.name:
            self._claim_folder()
        self.socket.unlink(missing_ok=True)
        # setpriv's signal comes when the starting thread ends: start from the main one.
        inside = " && ".join(
            [
                "busybox mount -t tmpfs -o mode=755 tmpfs /run",
                "busybox ip link set lo up",
                *self._mounts(),
                'exec docker-init -- "$@"',
            ]
        )
        command = [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("busybox", "sh", "-c", inside, "sh"),
            *self._dockerd(),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={"PATH": self.path, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
                self.close()
                raise Unavailable(f"engine {self.version} did not start: {said}")
            time.sleep(0.05)

    @property
    def path(self) -> str:
        """Where the engine finds its programs."""
        parts = [
            suite_tree(v) / f"usr/{part}" for v in (self.version, "20") for part in ("sbin", "bin")
        ]
        return ":".join([*map(str, parts), SYSTEM_PATH])

    def _dockerd(self) -> list[str]:
        """What runs in the engine's namespaces."""
        return [
            *("dockerd", "--config-file", str(self.folder / "daemon.json")),
            *("--data-root", str(self.data_root), "--exec-root", "/run/docker"),
            *("-p", "/run/docker.pid"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),  # systemd would not know our processes
            *("--cgroup-parent", f"/{self.folder.name}"),
            *("-H", f"unix://{self.socket}"),
            *(("--userns-remap", "daemon") if self.remapped else ()),
        ]

    def _mounts(self) -> list[str]:
        """What is mounted before, in its own mount namespace alone: which ids its containers
        have."""
        if not self.remapped:
            return []
        self.folder.chmod(0o711)  # that root has to reach its own folder
        ids = self.folder / "subordinate"
        ids.write_text("daemon:200000:65536\n", encoding="ascii")
        return [f"busybox mount --bind {ids} {place}" for place in SUBORDINATE]

    def stop(self, *, gently: bool = False) -> None:
        """End engine and containers, at once or as a shutdown does; the data stay for `start`."""
        if not self._process:
            return
        pid = self._process.pid
        with contextlib.suppress(OSError):
            first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            os.kill(first, signal.SIGTERM if gently else signal.SIGKILL)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """End the engine and remove all that it held."""
        self.stop()
        if self.folder.name:
            atexit.unregister(self.close)
            remove_folder(self.folder)
            self.folder = Path()
        if self._lock:
            self._lock.close()
            self._lock = None

    def answers(self) -> bool:
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _claim_folder(self) -> None:
        """Make the engine's folder, and remove those whose owners were killed."""
        if os.geteuid() != 0:
            raise Unavailable("private engines need root")
        for tree in dict.fromkeys((suite_tree("20"), suite_tree(self.version))):
            if not tree.is_dir():
                raise Unavailable(f"{tree.name} is not unpacked: python3 tests/engines.py install")
        for left in Path("/tmp").glob("sdtest-*"):
            with contextlib.suppress(OSError), (left / "owner").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_folder(left)
        self.folder = Path(tempfile.mkdtemp(prefix="sdtest-", dir="/tmp"))
        (self.folder / "daemon.json").write_text("{}\n")
        self._lock = (self.folder / "claim").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.folder / "claim").rename(self.folder / "owner")  # never seen without its lock
        atexit.register(self.close)

    def inside(self) -> list[str]:
        """What stands before a command that is to run in the engine's network."""
        assert self._process
        return ["nsenter", "--net", "--target", str(self._process.pid)]

    def configure(self, told: Mapping[str, object]) -> None:
        """Let it read what is in force while it runs: mirrors, labels."""
        assert self._process
        (self.folder / "daemon.json").write_text(json.dumps(told))
        pid = self._process.pid
        first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        os.kill(first, signal.SIGHUP)  # docker-init hands it on
        deadline = time.monotonic() + 10
        mirrors = [f"{one}/" for one in told.get("registry-mirrors", ())]  # type: ignore[attr-defined]  # JSON of docker's
        while (self._get("/info")["RegistryConfig"]["Mirrors"] or []) != mirrors:
            assert time.monotonic() < deadline, "the engine did not read its settings"
            time.sleep(0.05)

    # Use.

    def environ(self, home: Path) -> dict[str, str]:
        """Make a home folder ready and return a whole environment: no CI, no terminal."""
        config = home / ".docker"
        plugins = config / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        programs = home / ".engine-bin"
        programs.mkdir(exist_ok=True)
        links = {programs / "docker": self.docker, programs / "docker-compose": self.compose}
        if self.version != "20":
            links[plugins / "docker-compose"] = self.compose
        for link, target in links.items():
            if not link.is_symlink() or link.readlink() != target:
                link.unlink(missing_ok=True)
                link.symlink_to(target)
        return {
            "PATH": f"{programs}:{SYSTEM_PATH}",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_STATE_HOME": str(home / ".local/state"),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(config),
            "LANG": "C.UTF-8",
        }

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        home: Path | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float = 180,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this engine; `environ` adds to what `environ(home)` gives."""
        home = home or self.folder / "home"
        done = subprocess.run(
            argv,
            env={**self.environ(home), **(environ or {})},
            cwd=cwd or home,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            said = f"{done.stderr}{done.stdout}"
            line = shlex.join(map(str, argv))
            raise AssertionError(f"{line} ended with {done.returncode}:\n{said}")
        return done

    def image(self, name: str) -> str:
        """Have one of IMAGES in the engine and return its name."""
        if not self.run("docker", "images", "-q", name).stdout:
            if not image_path(name).exists():
                raise Unavailable(f"{name} is not built: python3 tests/engines.py install")
            self.run("docker", "load", "-i", image_path(name))
        return name

    def holdings(self) -> dict[str, set[str]]:
        """The ids of all that the engine holds, by the word that docker has for it.

        Asked of the engine itself: four starts of a client would cost more than most tests.
        """
        volumes = self._get("/volumes")["Volumes"] or []
        return {
            "container": {one["Id"] for one in self._get("/containers/json?all=1")},
            "network": {
                one["Id"] for one in self._get("/networks") if one["Name"] not in OWN_NETWORKS
            },
            "volume": {one["Name"] for one in volumes},
            "image": {one["Id"] for one in self._get("/images/json?all=1")},
        }

    def _get(self, path: str) -> Any:
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    @contextlib.contextmanager
    def swept(self) -> Iterator[Self]:
        """Remove afterwards, by id, whatever came into the engine in between."""
        before = self.holdings()
        try:
            yield self
        finally:
            self.start()
            force = {"container": ("-f", "-v"), "network": (), "volume": ("-f",), "image": ("-f",)}
            for word, flags in force.items():
                if new := self.holdings()[word] - before[word]:
                    self.run("docker", word, "rm", *flags, *sorted(new), check=word != "image")
            for root in (self.data_root, *self.data_root.glob("[0-9]*.[0-9]*")):
                # what stands aside for a home that is gone
                shutil.rmtree(root / "safedocker", ignore_errors=True)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Private Docker engines for safedocker's tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="unpack the engines and build the images that are missing")
    run = commands.add_parser("run", help="run a command against an engine of its own")
    run.add_argument("--version", choices=RELEASES, default="26")
    run.add_argument("--image", choices=IMAGES, action="append", help="default: the busybox ones")
    run.add_argument("words", nargs="+", metavar="CMD")
    options = parser.parse_args(argv)
    if options.command == "install":
        failed = install()
        for what, reason in failed.items():
            sys.stderr.write(f"{what} is unavailable: {reason}\n")
        moving = {version for version, release in RELEASES.items() if release.moves}
        return 1 if set(failed) - moving else 0
    if reason := install(["20", options.version]).get(options.version, ""):
        sys.stderr.write(f"{options.version} is unavailable: {reason}\n")
        return 1
    with PrivateEngine(options.version) as engine:
        for name in options.image or ("busybox:latest", "busybox-volume:latest"):
            engine.image(name)
        home = engine.folder / "home"
        own = engine.environ(home)
        path = f"{own['PATH'].split(':')[0]}:{os.environ.get('PATH', SYSTEM_PATH)}"
        rest = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
        words = subprocess.run(options.words, env={**rest, **own, "PATH": path}, check=False)
        return words.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
