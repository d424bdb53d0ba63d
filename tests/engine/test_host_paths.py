"""Host paths: what safedocker says Docker would make is what Docker makes, and only after a yes.

V3: a missing bind source becomes an empty folder of root's. V5: it was to be a file. S24: a path
on another host.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from safedocker import shim, survey
from safedocker.edge.engine import Engine
from safedocker.errors import WouldFail
from safedocker.loss.plan import Kind
from tests.engine.conftest import Shell
from tests.engines import PrivateEngine

VERSIONS = {"20": (20, 10, 24), "26": (26, 1, 5), "28": (28, 5, 2)}


def folder_for(path: Path) -> Path:
    app = path / "app"
    (app / "here").mkdir(parents=True)
    (app / "a,b").mkdir()
    return app


def tree(folder: Path) -> set[str]:
    return {
        os.path.join(at, name)
        for at, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def with_parents(paths: set[str], before: set[str], folder: Path) -> set[str]:
    """The paths, and those folders on the way to them that are not there yet."""
    found = set(paths)
    for path in paths:
        found |= {str(one) for one in Path(path).parents if folder in one.parents}
    return found - before


class Case(NamedTuple):
    """A state, and a command in it. `makes` is what is foretold and made, below {b}."""

    name: str
    command: str
    makes: str = ""
    setup: str = ""
    versions: str = "26"


RUN = "docker run --rm --network none"
DONOR = "docker create --name donor -v {b}/m:/x busybox"
BY_MOUNT = (
    "mkdir {b}/m; docker create --name NAME --mount type=bind,src={b}/m,dst=/x busybox; rmdir {b}/m"
)
OLD = "20 26"  # the network comes before the mounts
CASES = (
    Case("missing", f"{RUN} -v {{b}}/m:/x busybox", "m", versions="20 28"),
    Case("deep", f"{RUN} -v {{b}}/m/n/o:/x:ro busybox", "m/n/o"),
    Case("cluster", "docker run --network none -itdv{b}/m:/x busybox true", "m"),
    Case("no-terminal", f"{RUN} -it -v {{b}}/m:/x busybox true", "", versions="20 28"),
    Case("attached-and-not", f"{RUN} -da stdout -v {{b}}/m:/x busybox"),
    Case("two", f"{RUN} -v {{b}}/m:/x -v {{b}}/here:/y -v {{b}}/n:/z busybox", "m n"),
    Case("there", f"{RUN} -v {{b}}/here:/x busybox"),
    Case("relative-20", f"{RUN} -v ./m:/x busybox", "", versions="20"),
    Case("relative", f"{RUN} -v ./m:/x -v .:/y busybox", "m", versions="26 28"),
    Case("start-fails-after", f"{RUN} -v {{b}}/m:/x:rslave busybox", "m", versions="20 28"),
    Case("no-such-program", f"{RUN} -v {{b}}/m:/x busybox /nosuch", "m"),
    Case("v5-file", f"{RUN} -v {{b}}/m:/etc/passwd busybox", "m", versions="20 26 28"),
    Case("no-such-image", f"{RUN} -v {{b}}/m:/x nosuch", versions="20 28"),
    Case("pull-never", f"{RUN} --pull never -v {{b}}/m:/x nosuch"),
    Case("pull-always", f"{RUN} --pull=always -v {{b}}/m:/x busybox"),
    Case(
        "name-taken",
        f"{RUN} --name web -v {{b}}/m:/x busybox",
        "",
        "docker create --name web busybox",
    ),
    Case("name-bad", f"{RUN} --name a/b -v {{b}}/m:/x busybox"),
    Case("cidfile", f"{RUN} --cidfile {{b}}/cid -v {{b}}/m:/x busybox", "", "touch {b}/cid"),
    Case("too-little", f"{RUN} --memory 1k -v {{b}}/m:/x busybox", versions="20 26 28"),
    Case("env-file", f"{RUN} --env-file nosuch -v {{b}}/m:/x busybox"),
    Case("rm-and-restart", f"{RUN} --restart always -v {{b}}/m:/x busybox"),
    Case("pid-of-nobody", f"{RUN} --pid container:nosuch -v {{b}}/m:/x busybox"),
    Case("network", "docker run --network nosuch -v {b}/m:/x busybox", versions=OLD),
    Case("network-28", "docker run --network nosuch -v {b}/m:/x busybox", "m", versions="28"),
    Case(
        "network-of-nobody", "docker run --network container:no -v {b}/m:/x busybox", versions=OLD
    ),
    Case("mount-missing", f"{RUN} -v {{b}}/m:/x --mount type=bind,src={{b}}/n,dst=/y busybox"),
    Case(
        "mount-there", f"{RUN} -v {{b}}/m:/x --mount type=bind,src={{b}}/here,dst=/y busybox", "m"
    ),
    Case("dangling", f"{RUN} -v {{b}}/m:/x busybox", "", "ln -s nowhere {b}/m", "20 28"),
    Case("below-a-file", f"{RUN} -v {{b}}/f/m:/x busybox", "", "touch {b}/f", "20 28"),
    Case("below-a-link", f"{RUN} -v {{b}}/l/m:/x busybox", "l/m", "ln -s here {b}/l"),
    Case(
        "donor",
        f"{RUN} --volumes-from donor busybox",
        "m",
        DONOR,
        "20 26 28",
    ),
    Case(
        "donor-by-mount",
        f"{RUN} --volumes-from donor busybox",
        "m",
        BY_MOUNT.replace("NAME", "donor"),
        "20 28",
    ),
    Case(
        "donor-overridden",
        f"{RUN} --volumes-from donor -v {{b}}/n:/x busybox",
        "n",
        DONOR,
    ),
    Case("no-donor", f"{RUN} --volumes-from nosuch -v {{b}}/m:/x busybox"),
)
CREATE = "docker create --name web --network none -v {b}/m:/x busybox true"
UP = "docker run -d --name web --init --network none -v {b}/m:/x busybox sleep 1000; rmdir {b}/m"
CASES_OF_CONTAINERS = (
    Case("start", "docker start web", "m", CREATE, "20 26 28"),
    Case("start-path", "docker start nosuch ../containers/web /web", "m", CREATE, "20 28"),
    Case("start-unknown", "docker start nosuch", "", CREATE),
    Case("start-running", "docker start web", "", UP),
    Case("start-paused", "docker start web", "", UP + "; docker pause web"),
    Case("attach-two", "docker start -a web web", "", CREATE),
    Case(
        "start-by-mount",
        "docker start web",
        "",
        BY_MOUNT.replace("NAME", "web"),
    ),
    Case(
        "start-heir",
        "docker start web",
        "m",
        DONOR + "; docker create --name web --volumes-from donor busybox",
    ),
    Case(
        "start-network-gone",
        "docker start web",
        "",
        "docker network create n; docker create --name web --network n -v {b}/m:/x busybox;"
        "docker network rm n",
        OLD,
    ),
    Case(
        "start-network-gone-28",
        "docker start web",
        "m",
        "docker network create n; docker create --name web --network n -v {b}/m:/x busybox;"
        "docker network rm n",
        "28",
    ),
    Case("restart-running", "docker restart -t 0 web", "m", UP, "20 26 28"),
    Case("restart-paused", "docker restart -t 0 web", "m", UP + "; docker pause web"),
    Case("restart-stopped", "docker restart web nosuch", "m", CREATE),
    Case("copy-into-created", "docker cp {b}/f web:/tmp", "m", CREATE + "; touch {b}/f", "20 28"),
    Case("copy-out-of-running", "docker cp web:/bin/sh {b}/sh", "m", UP, "20 28"),
    Case("copy-unknown", "docker cp nosuch:/x {b}/x", "", CREATE),
)
ALL = CASES + CASES_OF_CONTAINERS


def sh(script: str, folder: Path, *, check: bool = False) -> None:
    subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=check,
    )


def foretold(engine: PrivateEngine, words: list[str]) -> tuple[set[str], tuple[str, ...]]:
    """The host paths that a command would make, as the walk finds them, and what is not known."""
    settled = shim.settle(shim.Call("docker", str(engine.docker), words))
    if settled is None:
        return set(), ()
    with Engine(shim.address_of(settled)) as asked:
        try:
            plan = survey.survey(settled, asked)
        except WouldFail:
            return set(), ()
    return {loss.name for loss in plan.losses if loss.kind is Kind.BIND_SOURCE}, plan.gaps


@pytest.mark.parametrize(
    ("version", "case"),
    [
        pytest.param(version, case, id=f"{version}-{case.name}")
        for case in ALL
        for version in case.versions.split()
    ],
)
def test_v3_host_paths_foretold_are_those_made(version, case, start_engine, tmp_path, monkeypatch):
    engine = start_engine(version)
    app = folder_for(tmp_path)
    home = engine.folder / "home"
    with engine.swept(), monkeypatch.context() as patch:
        for name, value in engine.environ(home).items():
            patch.setenv(name, value)
        patch.chdir(app)
        patch.setenv("PWD", str(app))
        sh(f"set -e; {case.setup.format(b=app)}", app, check=True)
        before, held = tree(tmp_path), engine.holdings()
        command = case.command.format(b=app)
        told, gaps = foretold(engine, command.split()[1:])
        assert (told, gaps) == ({str(app / one) for one in case.makes.split()}, ())
        assert (tree(tmp_path), engine.holdings()) == (before, held), "looking changed something"
        sh(command, app)
        made = {path for path in tree(tmp_path) - before if Path(path).is_dir()}
        real = {os.path.realpath(path) for path in with_parents(told, before, tmp_path)}
        assert made == real


# through the shim


@pytest.fixture(scope="module")
def shell(engine: PrivateEngine, open_shell: Callable[[PrivateEngine], Shell]) -> Iterator[Shell]:
    with engine.swept():
        yield open_shell(engine)


@pytest.fixture
def app(shell: Shell, tmp_path: Path) -> Path:
    folder = folder_for(tmp_path)
    (folder / "dist").mkdir()
    return folder


def test_v3_nobody_to_ask_is_refused_and_nothing_is_made(shell, app):
    before, held = tree(app), shell.engine.holdings()
    done = shell.run(f"docker run --rm -v {app}/dits:/srv busybox true", cwd=app)
    assert done.returncode == 77
    assert done.stdout == ""
    assert f"{app}/dits" in done.stderr.replace("\n", "").replace(" ", "")
    assert "./dist?" in done.stderr
    assert f"mkdir -p {app}/dits" in done.stderr
    assert (tree(app), shell.engine.holdings()) == (before, held)


@pytest.mark.parametrize("answer", ["create", "allow", "refuse"])
def test_v3_a_policy_answers_for_a_missing_path(shell, app, answer):
    told = {"SAFEDOCKER_BIND_MISSING": answer}
    app.chmod(0o770)
    done = shell.run(f"docker run --rm -v {app}/dits:/srv busybox true", cwd=app, **told)
    assert done.returncode == {"create": 0, "allow": 0, "refuse": 77}[answer], done.stderr
    if answer == "refuse":
        assert "which the policy refuses" in " ".join(done.stderr.split())
        assert not (app / "dits").exists()
    else:
        made = (app / "dits").stat().st_mode & 0o777
        assert made == {"create": (app / "dist").stat().st_mode & 0o777, "allow": 0o755}[answer]


def test_v3_a_policy_that_is_no_answer_is_refused(shell, app):
    line = f"docker run --rm -v {app}/dits:/srv busybox true"
    done = shell.run(line, cwd=app, SAFEDOCKER_BIND_MISSING="maybe")
    assert (done.returncode, (app / "dits").exists()) == (78, False)
    assert "ask, create, refuse, allow" in done.stderr


def test_v3_a_person_lets_docker_make_it(shell, app):
    screen = shell.terminal(f"docker run --rm -v {app}/dits:/srv busybox ls -ld /srv", cwd=app)
    screen.asked().type("2\r")
    assert screen.ended() == 0
    assert (app / "dits").is_dir()


def test_v3_a_person_cancels(shell, app):
    screen = shell.terminal(f"docker run --rm -v {app}/dits:/srv busybox true", cwd=app)
    screen.asked().type("\r")
    assert screen.ended() == 77
    assert not (app / "dits").exists()


def test_v5_a_person_makes_the_file_that_is_meant(shell, app):
    """The image has a file there: a folder would stop the container from starting, and stay."""
    screen = shell.terminal(f"docker run --rm -v {app}/users:/etc/passwd busybox true", cwd=app)
    screen.asked().type("1\r")
    assert screen.ended() == 0, screen.text
    assert "a file in the image" in " ".join(screen.text.split())
    assert "Create the empty file now" in screen.text
    assert (app / "users").is_file()


def test_v3_a_deleted_source_is_told_before_start_makes_it_anew(shell, app):
    shell.out(f"docker create --name web --network none -v {app}/data:/srv busybox true")
    try:
        done = shell.run("docker start web", cwd=app)
        assert (done.returncode, (app / "data").exists()) == (77, False)
        assert "web mounts it at /srv" in " ".join(done.stderr.split())
        (app / "data").mkdir()
        assert shell.run("docker start web", cwd=app).stdout == "web\n"
    finally:
        shell.out("docker rm -f web")


def test_v3_what_mounts_only_what_is_here_leaves_no_trace(shell, app):
    """Everyday commands: nothing is asked, told or written down."""
    shell.out(f"docker create --name web --network none -v {app}/here:/srv busybox true")
    try:
        before = shell.audit()
        for command, out in (
            ("docker start web", "web\n"),
            ("docker restart -t 0 web", "web\n"),
            (f"docker cp web:/bin/true {app}/true", ""),
            (f"docker run --rm --network none -v {app}/here:/srv busybox echo yes", "yes\n"),
        ):
            done = shell.run(command, cwd=app)
            assert (done.returncode, done.stdout) == (0, out)
        assert shell.audit() == before
        (app / "here").rmdir()
        for command in ("docker restart web", f"docker cp web:/bin/true {app}/true"):
            assert shell.run(command, cwd=app).returncode == 77
        assert not (app / "here").exists()
    finally:
        shell.out("docker rm -f web")


@pytest.fixture
def far(shell: Shell) -> Iterator[str]:
    """The engine's address as that of one on another host: by TCP, so that nothing that is here
    tells what is there. The engine has a /run of its own."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forwarder) as server:
        server.daemon_threads = True
        server.engine_socket = str(shell.engine.socket)  # type: ignore[attr-defined]  # ours
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Forwarder(socketserver.BaseRequestHandler):
    """Hands bytes on between a TCP client and the engine's socket."""

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.engine_socket)  # type: ignore[attr-defined]  # ours
            back = threading.Thread(target=pump, args=(engine, self.request), daemon=True)
            back.start()
            pump(self.request, engine)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_s24_what_is_here_says_nothing_about_another_host(shell, app, far):
    """The path is here, and not on the engine's host: Docker would make it there. That is found out
    where the policy has it looked for, and told to be unknown elsewhere."""
    there = {"DOCKER_HOST": far, "SAFEDOCKER_BIND_REMOTE": "look"}
    with tempfile.TemporaryDirectory(dir="/run") as here:
        command = f"docker run --rm --network none -v {here}:/srv busybox true"
        done = shell.run(command, cwd=app, **there)
        assert done.returncode == 77, done.stderr
        assert here in done.stderr
        assert "on the engine's host: mkdir" in done.stderr
    command = f"docker run --rm --network none -v {app}/here:/srv busybox echo yes"
    assert shell.run(command, cwd=app, **there).stdout == "yes\n"
    before = shell.engine.holdings()
    done = shell.run(command, cwd=app, DOCKER_HOST=far)
    assert (done.returncode, done.stdout) == (77, "")
    told = " ".join(done.stderr.split())
    assert "can't be known from here" in told
    assert "mkdir" not in told
    assert shell.engine.holdings() == before
    way = re.search(r"SAFEDOCKER_BIND_REMOTE=look docker .+", done.stderr)
    assert way
    assert shell.run(way[0], cwd=app, DOCKER_HOST=far).stdout == "yes\n"
    allowed = {"DOCKER_HOST": far, "SAFEDOCKER_BIND_MISSING": "allow"}
    assert shell.run(command, cwd=app, **allowed).stdout == "yes\n"


@pytest.mark.parametrize("looks", ["look", "unknown"])
def test_s24_a_person_is_not_offered_to_make_it_here(shell, app, far, looks):
    with tempfile.TemporaryDirectory(dir="/run") as here:
        command = f"docker run --rm -v {here}:/srv busybox true"
        there = {"DOCKER_HOST": far, "SAFEDOCKER_BIND_REMOTE": looks}
        screen = shell.terminal(command, cwd=app, **there)
        screen.asked().type("\x03")
        assert screen.ended() == 130
        assert "Create" not in screen.text
        assert ("if it is not there" in screen.text) is (looks == "unknown")


def test_s24_what_runs_on_another_host_already_is_not_asked_about(shell, app, far):
    """What a container mounts that is there was mounted before: start and restart go on."""
    shell.out(f"docker create --name web --network none -v {app}/here:/srv busybox true")
    try:
        for verb in ("start", "restart -t 0"):
            done = shell.run(f"docker {verb} web", cwd=app, DOCKER_HOST=far)
            assert (done.returncode, done.stdout) == (0, "web\n"), done.stderr
    finally:
        shell.out("docker rm -f web")


def test_s24_compose_on_another_host(shell, app, far):
    (app / "docker-compose.yml").write_text(
        "version: '2.4'\nservices:\n  web: {image: busybox, network_mode: none, "
        "volumes: ['./here:/srv']}\n"
    )
    up = f"{shell.compose} up --no-color"
    try:
        done = shell.run(up, cwd=app, DOCKER_HOST=far)
        assert done.returncode == 77, done.stderr
        assert "can't be known from here" in " ".join(done.stderr.split())
        looked = shell.run(up, cwd=app, DOCKER_HOST=far, SAFEDOCKER_BIND_REMOTE="look")
        assert looked.returncode == 0, looked.stderr
    finally:
        shell.out(f"{shell.compose} down", cwd=app)


def test_s24_the_engine_is_asked_what_stands_on_its_host(shell, app):
    with Engine(shim.address_of(settled_there(shell))) as engine:
        assert engine.host.stands(str(app / "here")) is True
        assert engine.host.stands(str(app / "gone")) is False
        assert engine.host.stands("relative") is None
    assert not (app / "gone").exists()
    assert shell.helpers() == []


def settled_there(shell: Shell) -> shim.Settled:
    words = ["--host", f"unix://{shell.engine.socket}", "start", "x"]
    settled = shim.settle(shim.Call("docker", str(shell.engine.docker), words))
    assert settled is not None
    return settled


def test_every_case_has_its_own_name():
    names = [case.name for case in ALL]
    assert len(names) == len(set(names))
    assert set(itertools.chain(*(case.versions.split() for case in ALL))) == set(VERSIONS)
