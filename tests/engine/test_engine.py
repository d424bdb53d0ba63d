"""The engine's facts, looks and bytes, on real engines of two versions."""

import contextlib
import http.server
import io
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safedocker.edge.address import Address, Tls, resolve
from safedocker.edge.engine import Engine
from safedocker.errors import NoBackup, NoEngine, SafedockerError
from safedocker.loss.facts import ANONYMOUS, HELPER, Container, Holds, Mount, Volume
from tests.engine.conftest import proxied
from tests.engines import PrivateEngine

ODD = "a.-_" + "long" * 40


def address(host: str) -> Address:
    return resolve({"host": host}, {"HOME": "/nonexistent"})


@pytest.fixture
def asked(fresh: PrivateEngine) -> Iterator[Engine]:
    """The engine as safedocker sees it; whatever a test does, no helper may be left in it."""
    with Engine(address(f"unix://{fresh.socket}")) as engine:
        yield engine
    left = fresh.run("docker", "ps", "-aq", "--filter", f"label={HELPER}").stdout
    left += fresh.run("docker", "images", "-aq", "--filter", f"label={HELPER}").stdout
    assert not left


@pytest.fixture
def docker(fresh: PrivateEngine) -> Callable[..., str]:
    return lambda *words: fresh.run("docker", *words).stdout.strip()


def data_of(engine: PrivateEngine, volume: str) -> Path:
    return engine.data_root / "volumes" / volume / "_data"


def container(engine: Engine, name: str) -> Container:
    _, containers = engine.snapshot()
    return engine.inspect(next(one for one in containers if one.name == name))


def anonymous(engine: Engine, name: str) -> dict[str, bool | None]:
    return {mount.target: mount.anonymous for mount in container(engine, name).mounts}


def definition(name: str, **more: str) -> Volume:
    return Volume(name, "local", more, {"odd label": 'v="1" é', "b": ""}, "")


def held(stream: bytes) -> list[tuple[object, ...]]:
    """What a tar holds, with the type bits that 20.10 puts into modes taken out."""
    with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as tar:
        return [
            (m.name, m.type, m.mode & 0o7777, m.uid, m.gid, m.size, m.mtime, m.linkname, m.devmajor)
            for m in tar
        ]


def read(engine: Engine, name: str) -> bytes:
    with engine.read_volume(name) as chunks:
        return b"".join(chunks)


# Connecting.


def test_identity_is_the_engines_own(fresh: PrivateEngine, docker: Callable[..., str]) -> None:
    environ = {"HOME": "/nonexistent", "DOCKER_HOST": f"unix://{fresh.socket}"}
    with Engine(resolve({}, environ)) as engine:
        found = engine.identity
    said = docker("info", "--format", "{{.Name}} {{.ID}} {{.ServerVersion}}")
    assert f"{found.name} {found.id} {found.version}" == said
    api = docker("version", "--format", "{{.Server.APIVersion}}")
    assert f"{found.api[0]}.{found.api[1]}" == api
    assert (found.host, found.source, found.remote) == (
        f"unix://{fresh.socket}",
        "DOCKER_HOST",
        False,
    )


@contextlib.contextmanager
def serving(answer: bytes) -> Iterator[int]:
    """A port that answers every request so; with nothing to answer it keeps silent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not answer:
                gone.wait(20)
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    gone = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        gone.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("unix:///nonexistent/docker.sock", "no such socket"),
        ("tcp://127.0.0.1:1", "connection was refused"),
        ("tcp://nowhere.invalid:1", "is not known"),
        ("fd://", "does not speak fd://"),
    ],
)
def test_no_engine_is_told_in_a_sentence(host: str, sentence: str) -> None:
    with pytest.raises(NoEngine, match=sentence) as caught:
        Engine(address(host))
    assert host in caught.value.message
    assert "--host" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "did not answer within"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "is no Docker engine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "can't be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "went away"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nNo!", "would not say its version: No"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "went away"),
    ],
)
def test_what_is_no_engine_is_told_in_a_sentence(answer: bytes, sentence: str) -> None:
    with serving(answer) as port, pytest.raises(NoEngine, match=sentence):
        Engine(address(f"tcp://127.0.0.1:{port}"), timeout=0.5)


def test_socket_that_is_not_ours_to_open_is_told(engine: PrivateEngine) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(NoEngine, match="may not open"):
            Engine(address(f"unix://{engine.socket}"))
    finally:
        os.seteuid(0)


def certificate(folder: Path, name: str, *more: str) -> tuple[str, str]:
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    argv += ["-subj", f"/CN={name}", "-keyout", key, "-out", cert, *more]
    subprocess.run(argv, capture_output=True, check=True)
    return cert, key


@contextlib.contextmanager
def forwarding(target: Path, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A TCP port, with TLS or without, that passes everything to a unix socket and back."""

    def copy(one: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            near = context.wrap_socket(one, server_side=True) if context else one
            stack.enter_context(near)
            far = stack.enter_context(socket.socket(socket.AF_UNIX))
            far.connect(str(target))
            while True:
                pending = isinstance(near, ssl.SSLSocket) and near.pending()
                ready = [near] if pending else select.select([near, far], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=copy, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_tcp_with_and_without_tls(fresh: PrivateEngine, tmp_path: Path) -> None:
    ours = certificate(tmp_path, "localhost", "-addext", "subjectAltName=DNS:localhost")
    client = certificate(tmp_path, "client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client[0])
    context.load_cert_chain(*ours)
    context.verify_mode = ssl.CERT_REQUIRED
    volume = definition("over TLS".replace(" ", "-"))
    with forwarding(fresh.socket) as port, Engine(address(f"tcp://localhost:{port}")) as engine:
        engine.create_volume(volume)
        assert engine.look([volume], 5)[volume.name].holds is Holds.EMPTY
    with forwarding(fresh.socket, context) as port:
        plain = address(f"tcp://localhost:{port}")
        for verify in (True, False):
            tls = Tls(ours[0], *client, verify)
            with Engine(replace(plain, tls=tls)) as engine:
                assert held(read(engine, volume.name))[0][0] == "volume"
        with pytest.raises(NoEngine, match="TLS with the engine"):
            Engine(replace(plain, tls=Tls(client[0], *client, True)))
        with pytest.raises(NoEngine):
            Engine(replace(plain, tls=Tls(ours[0], None, None, True)))
        with pytest.raises(NoEngine, match=r"missing\.pem"):
            Engine(replace(plain, tls=Tls(str(tmp_path / "missing.pem"), None, None, True)))
        with pytest.raises(NoEngine):
            Engine(plain)


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program on PATH that is ssh to Docker; it notes what it was called with."""

    def make(script: str) -> Path:
        program, log = tmp_path / "bin" / "ssh", tmp_path / "called"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >>{log}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return log

    return make


def test_ssh_carries_everything_over_few_connections(
    fresh: PrivateEngine, ssh: Callable[[str], Path]
) -> None:
    log = ssh(f"exec {fresh.docker} -H unix://{fresh.socket} system dial-stdio")
    with Engine(address("ssh://me@box:222")) as engine:
        assert engine.identity.remote
        volume = definition("far")
        engine.create_volume(volume)
        data_of(fresh, "far").joinpath("file").write_bytes(os.urandom(3 << 20))
        assert engine.look([volume], 10)["far"].size == 3 << 20
        stream = read(engine, "far")
        engine.create_volume(definition("copy"))
        engine.write_volume("copy", [stream])
        assert held(read(engine, "copy")) == held(stream)
    calls = log.read_text().splitlines()
    assert set(calls) == {"-o ConnectTimeout=30 -T -l me -p 222 -- box docker system dial-stdio"}
    assert len(calls) < 8


def test_ssh_that_fails_is_told_in_its_own_words(ssh: Callable[[str], Path]) -> None:
    ssh("echo 'me@box: Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(NoEngine, match="Permission denied") as caught:
        Engine(address("ssh://me@box"))
    assert "ssh -l me -- box docker" in caught.value.hint


def test_ssh_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NoEngine, match="no way to the engine at ssh://box: No such file"):
        Engine(address("ssh://box"))


def test_ssh_that_hangs_is_not_waited_for(ssh: Callable[[str], Path]) -> None:
    ssh("exec sleep 60")
    start = time.monotonic()
    with pytest.raises(NoEngine):
        Engine(address("ssh://box"), timeout=1)
    assert time.monotonic() - start < 10


# Facts.


def test_snapshot_lists_what_docker_lists(asked: Engine, docker: Callable[..., str]) -> None:
    docker("volume", "create", "--label", "x=y", ODD)
    docker("run", "-d", "--name", "runs", "-v", f"{ODD}:/d", "-v", "/tmp:/t", "busybox", "top")
    docker("create", "--name", "waits", "--label", "com.docker.compose.project=p", "busybox")
    volumes, containers = asked.snapshot()
    assert sorted(volumes) == sorted(docker("volume", "ls", "-q").split())
    assert (volumes[ODD].driver, volumes[ODD].labels) == ("local", {"x": "y"})
    assert volumes[ODD] == asked.volume(ODD)
    by_name = {one.name: one for one in containers}
    assert sorted(by_name) == sorted(docker("ps", "-a", "--format", "{{.Names}}").split())
    runs, waits = by_name["runs"], by_name["waits"]
    assert (runs.running, runs.state, runs.image) == (True, "running", "busybox")
    assert (waits.running, waits.state, waits.project) == (False, "created", "p")
    assert {replace(mount, source="") for mount in runs.mounts} == {
        Mount("volume", ODD, "", "/d", None),
        Mount("bind", "", "", "/t", None),
    }
    assert next(mount.source for mount in runs.mounts if mount.kind == "bind") == "/tmp"
    docker("pause", "runs")
    assert {one.name: one.running for one in asked.snapshot()[1]}["runs"]
    docker("unpause", "runs")
    docker("rm", "-f", "runs")


def test_container_of_many_names_goes_by_its_own(asked: Engine, docker: Callable[..., str]) -> None:
    docker("run", "-d", "--name", "db", "busybox", "top")
    docker("run", "-d", "--name", "web", "--link", "db:database", "busybox", "top")
    assert {one.name for one in asked.snapshot()[1]} >= {"db", "web"}
    docker("rm", "-f", "web", "db")


def test_volume_goes_by_its_exact_name(asked: Engine, docker: Callable[..., str]) -> None:
    docker("volume", "create", "data-long")
    for name in ("data", "data-lon", "", ".", "..", "/", "../containers/json", "a?b", "é", "a b"):
        assert asked.volume(name) is None
    assert asked.volume("data-long") is not None


ANONYMITY = {
    "-v /x": (["-v", "/x"], {"/x": True}),
    "-v name:/x": (["-v", "nam:/x"], {"/x": False}),
    "-v name:/x/ with a mode": (["-v", "nam:/x//y/:ro,nocopy"], {"/x/y": False}),
    "--mount without a source": (["--mount", "type=volume,dst=/x"], {"/x": True}),
    "--mount with a source": (["--mount", "type=volume,src=nam,dst=/x/"], {"/x": False}),
    "VOLUME of the image": ([], {"/data": True}),
    "VOLUME of the image, named": (["-v", "nam:/data"], {"/data": False}),
    "VOLUME of the image, asked for again": (["-v", "/data"], {"/data": True}),
    "one volume twice": (["-v", "nam:/x", "-v", "nam:/y", "-v", "/z"], {"/x": False, "/y": False}),
    "a name of 64 digits": (["-v", "0" * 64 + ":/x"], {"/x": False}),
}


@pytest.mark.parametrize("case", ANONYMITY)
def test_anonymous_is_what_rm_v_takes(case: str, asked: Engine, docker: Callable[..., str]) -> None:
    """The engine itself is the judge: what went with the container was anonymous."""
    flags, expected = ANONYMITY[case]
    docker("create", "--name", "con", *flags, "busybox-volume")
    found = container(asked, "con")
    assert found.inspected
    assert anonymous(asked, "con").items() >= expected.items()
    docker("rm", "-v", "con")
    volumes, _ = asked.snapshot()
    for mount in found.mounts:
        assert (mount.volume not in volumes) is mount.anonymous, mount


@pytest.mark.parametrize("donor", ["alive", "removed", "replaced", "chained"])
def test_anonymous_through_volumes_from(
    donor: str, asked: Engine, docker: Callable[..., str]
) -> None:
    docker("create", "--name", "giver", "-v", "/x", "-v", "nam:/y", "busybox-volume")
    flags = ["--volumes-from", "giver:ro", "-v", "/own"]
    docker("create", "--name", "con", *flags, "busybox")
    if donor == "chained":
        docker("create", "--name", "end", "--volumes-from", "con", "busybox")
        docker("rm", "con")
        docker("rename", "end", "con")
    if donor in {"removed", "replaced"}:
        docker("rm", "giver")  # keeps the volumes
    if donor == "replaced":
        docker("create", "--name", "giver", "-v", "other:/x", "-v", "/y", "busybox")
    found = container(asked, "con")
    expected = {"/x": True, "/data": True, "/y": False}
    assert anonymous(asked, "con").items() >= expected.items()
    docker("rm", "-fv", *(["giver"] if donor != "removed" else []), "con")
    volumes, _ = asked.snapshot()
    for mount in found.mounts:
        assert (mount.volume not in volumes) is mount.anonymous, mount


def test_anonymous_volume_that_compose_passes_on_is_named(
    fresh: PrivateEngine, asked: Engine, home: Path
) -> None:
    """After a recreate Compose asks for the old volume by its name: `rm -v` leaves it."""
    folder = home / "p"
    folder.mkdir()
    file = folder / "docker-compose.yml"
    text = "version: '3'\nservices:\n  a:\n    image: busybox-volume\n    command: {}\n"
    compose = [str(fresh.compose), "-p", "p"]
    for command in ("top", "sleep 100"):
        file.write_text(text.format(command) + "    stop_grace_period: 0s\n    volumes: [/x]\n")
        fresh.run(*compose, "up", "-d", home=home, cwd=folder)
        _, (one,) = asked.snapshot()
        found = asked.inspect(one)
        said = {mount.target: mount.anonymous for mount in found.mounts}
        assert said["/x"] is (command == "top")
    fresh.run("docker", "rm", "-fv", found.id)
    volumes, _ = asked.snapshot()
    for mount in found.mounts:
        assert (mount.volume not in volumes) is mount.anonymous, mount


def test_auto_remove_and_a_container_that_went(asked: Engine, docker: Callable[..., str]) -> None:
    docker("create", "--rm", "--name", "con", "busybox")
    found = container(asked, "con")
    assert found.auto_remove is True
    docker("rm", "con")
    with pytest.raises(NoEngine, match="went away"):
        asked.inspect(found)


def test_volume_is_made_as_it_was_defined(asked: Engine, docker: Callable[..., str]) -> None:
    docker("volume", "create", "--label", "a=b", "--opt", "type=tmpfs", "-o", "device=tmpfs", "vol")
    before = asked.volume("vol")
    assert before is not None
    with pytest.raises(SafedockerError, match="already"):
        asked.create_volume(before)
    asked.remove_volume("vol")
    assert asked.volume("vol") is None
    asked.remove_volume("vol")
    asked.create_volume(before)
    after = asked.volume("vol")
    assert after is not None
    assert replace(after, created_at=before.created_at) == before


def test_volume_in_use_is_not_removed(asked: Engine, docker: Callable[..., str]) -> None:
    docker("create", "--name", "con", "-v", "vol:/x", "busybox")
    with pytest.raises(SafedockerError, match="in use"):
        asked.remove_volume("vol")


# Looking inside.


def test_look_tells_what_is_in_volumes(
    fresh: PrivateEngine, asked: Engine, docker: Callable[..., str]
) -> None:
    for name in (ODD, "empty", "folders", "postgres"):
        docker("volume", "create", name)
    docker(
        "volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nonexistent", "bind"
    )
    docker("volume", "create", "-o", "type=nfs", "-o", "o=addr=1.2.3.4", "-o", "device=:/x", "nfs")
    data_of(fresh, ODD).joinpath("a\udcff\n\t'").write_bytes(b"x" * 777)
    data_of(fresh, "folders").joinpath("one/two").mkdir(parents=True)
    data_of(fresh, "postgres").joinpath("global").mkdir()
    data_of(fresh, "postgres").joinpath("PG_VERSION").write_text("15\n")
    os.utime(data_of(fresh, "postgres").joinpath("PG_VERSION"), (0, 1_600_000_000))
    volumes, _ = asked.snapshot()
    looks = asked.look(list(volumes.values()), 20)
    said = {name: (look.holds, look.size, look.content) for name, look in looks.items()}
    assert said == {
        ODD: (Holds.DATA, 777, "files"),
        "empty": (Holds.EMPTY, 0, ""),
        "folders": (Holds.DATA, 0, "files"),
        "postgres": (Holds.DATA, 3, "PostgreSQL 15"),
        "bind": (Holds.ELSEWHERE, None, ""),
        "nfs": (Holds.ELSEWHERE, None, ""),
    }
    assert looks["postgres"].last_write is not None
    assert looks["postgres"].last_write.timestamp() == 1_600_000_000


def test_look_keeps_to_its_time(
    fresh: PrivateEngine, asked: Engine, docker: Callable[..., str]
) -> None:
    for name in ("big", "small"):
        docker("volume", "create", name)
    folder = data_of(fresh, "big")
    with folder.joinpath("aaa").open("wb") as file:
        file.truncate(20 << 30)  # zeros that take no room, and half a minute to send
    folder.joinpath("global").mkdir()
    folder.joinpath("PG_VERSION").write_text("13\n")
    data_of(fresh, "small").joinpath("file").write_text("x")
    volumes, _ = asked.snapshot()
    start = time.monotonic()
    looks = asked.look(list(volumes.values()), 4)
    assert time.monotonic() - start < 7
    assert (looks["small"].holds, looks["small"].size) == (Holds.DATA, 1)
    assert (looks["big"].holds, looks["big"].content) == (Holds.DATA, "PostgreSQL 13")
    assert looks["big"].size in {None, (20 << 30) + 3}
    assert looks["big"].last_write is not None
    looks = asked.look(list(volumes.values()), 0)
    assert {look.holds for look in looks.values()} <= {Holds.UNKNOWN, Holds.DATA}


def test_an_engine_that_is_late_is_still_looked_into(fresh: PrivateEngine, asked: Engine) -> None:
    """It has counted the volumes long before it sends what is in them."""
    for name in ("empty", "full"):
        asked.create_volume(definition(name))
    data_of(fresh, "full").joinpath("folder").mkdir()
    volumes, _ = asked.snapshot()
    with proxied(fresh, "--late", "1") as host, Engine(address(host)) as late:
        looks = late.look(list(volumes.values()), 20)
    assert {name: look.holds for name, look in looks.items()} == {
        "empty": Holds.EMPTY,
        "full": Holds.DATA,
    }


def test_look_at_many_volumes_leaves_none_out(asked: Engine, fresh: PrivateEngine) -> None:
    volumes = [definition(f"v{number}") for number in range(25)]
    for number, volume in enumerate(volumes):
        asked.create_volume(volume)
        data_of(fresh, volume.name).joinpath("file").write_bytes(b"x" * number)
    looks = asked.look(volumes, 30)
    assert {name: look.size for name, look in looks.items()} == {
        volume.name: number for number, volume in enumerate(volumes)
    }


def test_volume_that_cannot_be_opened_is_unknown(asked: Engine, docker: Callable[..., str]) -> None:
    docker("volume", "create", "-o", "type=ext4", "-o", "device=/dev/nonexistent", "broken")
    volumes, _ = asked.snapshot()
    gone = replace(volumes["broken"], name="gone")
    looks = asked.look([volumes["broken"], gone], 5)
    assert {look.holds for look in looks.values()} == {Holds.UNKNOWN}
    assert asked.volume("gone") is None
    with pytest.raises(NoBackup, match="would not send what is in a volume"):
        read(asked, "broken")


def test_sizes_are_the_engines_count(asked: Engine, fresh: PrivateEngine) -> None:
    for name in ("vol", "vow"):
        asked.create_volume(definition(name))
        data_of(fresh, name).joinpath("file").write_bytes(b"x" * 1000)
    assert asked.sizes(["vol", "nope"], 10) == {"vol": 1000}
    assert asked.sizes(["vol"], 0) == {}


# Moving bytes.


def fill(folder: Path) -> None:
    """Everything that a tar stream can hold, under names that are hard to carry."""
    (folder / "sub/deep").mkdir(parents=True)
    for number, name in enumerate(("a\udcff", "new\nline", " blank ", "-rf", "é" * 100, "n" * 255)):
        path = folder / "sub" / name
        path.write_bytes(os.urandom(700 * number))
        os.chown(path, 999 + number, 100_000 + number)
        os.chmod(path, 0o600 + number)
        os.utime(path, (0, 1_500_000_000 + number))
    long = folder.joinpath(*["d" * 200] * 4)
    long.mkdir(parents=True)
    (long / "file").write_text("at the end of a long path")
    (folder / "setuid").write_text("x")
    for name, mode in (("setuid", 0o6755), ("sub/deep", 0o1777)):
        (folder / name).chmod(mode)
    os.link(folder / "sub/-rf", folder / "hard link")
    (folder / "symlink").symlink_to("../../outside")
    (folder / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo", 0o640)
    os.mknod(folder / "device", 0o020600, os.makedev(1, 3))
    (folder / "empty").touch()
    with (folder / "large").open("wb") as file:
        for _ in range(5):
            file.write(os.urandom(1 << 20))
    os.chown(folder, 70, 71)
    folder.chmod(0o2750)
    os.utime(folder, (0, 1_400_000_000))


def test_round_trip_keeps_everything(asked: Engine, fresh: PrivateEngine) -> None:
    for name in (ODD, "copy"):
        asked.create_volume(definition(name))
    fill(data_of(fresh, ODD))
    stream = read(asked, ODD)
    asked.write_volume("copy", iter([stream[:1], b"", stream[1:100_000], stream[100_000:]]))
    assert read(asked, "copy") == stream
    entries = {entry[0]: entry for entry in held(stream)}
    assert entries["volume"][2:5] == (0o2750, 70, 71)
    assert entries["volume/setuid"][2] == 0o6755
    assert entries["volume/symlink"][7] == "../../outside"
    assert {entries[f"volume/{name}"][1] for name in ("sub/-rf", "hard link")} == {b"0", b"1"}
    found = [tree(data_of(fresh, name)) for name in (ODD, "copy")]
    assert found[0] == found[1]
    assert len(found[0]) == len(entries)


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that stat tells of everything below a folder, to the second."""
    inodes: dict[int, int] = {}
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        one = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        target = os.readlink(path) if path.is_symlink() else ""
        links = inodes.setdefault(one.st_ino, len(inodes))
        owner = (one.st_mode, one.st_uid, one.st_gid, one.st_rdev)
        found[str(path.relative_to(folder))] = (*owner, int(one.st_mtime), links, target, content)
    return found


def test_reading_leaves_the_volume_as_it_was_and_free(
    asked: Engine, fresh: PrivateEngine, docker: Callable[..., str]
) -> None:
    asked.create_volume(definition("vol"))
    fill(data_of(fresh, "vol"))
    before = os.stat(data_of(fresh, "vol"))
    read(asked, "vol")
    with asked.read_volume("vol") as chunks:
        next(chunks)  # and no further
    assert os.stat(data_of(fresh, "vol")) == before
    docker("volume", "rm", "vol")


def test_volume_that_is_not_there_is_not_made(asked: Engine) -> None:
    with pytest.raises(NoBackup, match="there is no volume nope"):
        read(asked, "nope")
    with pytest.raises(NoBackup, match="there is no volume nope"):
        asked.write_volume("nope", [b""])
    assert asked.volume("nope") is None


def test_faults_of_the_source_pass_through(asked: Engine) -> None:
    asked.create_volume(definition("vol"))

    def broken(fault: BaseException) -> Iterator[bytes]:
        yield bytes(512)
        raise fault

    for fault in (OSError(5, "bad disk"), NoBackup("no"), KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(fault)) as caught:
            asked.write_volume("vol", broken(fault))
        assert caught.value is fault
    asked.remove_volume("vol")


def test_refused_stream_says_why(asked: Engine, docker: Callable[..., str]) -> None:
    docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "full")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("volume/file")
        info.size = 64 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    pieces = (buffer.getvalue()[at : at + 65536] for at in range(0, 64 << 20, 65536))
    with pytest.raises(SafedockerError) as caught:
        asked.write_volume("full", pieces)
    assert "no space left" in caught.value.message or isinstance(caught.value, NoEngine)
    with pytest.raises(NoBackup, match="would not write"):
        asked.write_volume("full", [b"this is no tar" * 100])


def test_image_that_was_pruned_is_made_again(
    asked: Engine, fresh: PrivateEngine, docker: Callable[..., str]
) -> None:
    asked.create_volume(definition("vol"))
    read(asked, "vol")
    ids = docker("images", "-aq", "--no-trunc", "--filter", f"label={HELPER}").split()
    assert len(ids) == 1
    docker("rmi", *ids)
    assert read(asked, "vol")


# Stopping and starting.

TRAP = "trap 'exit {code}' {signal}; while :; do sleep 0.1; done"


def test_stop_uses_the_containers_own_signal_and_time(
    asked: Engine, docker: Callable[..., str]
) -> None:
    flags = ["run", "-d", "--stop-signal", "USR1", "--name", "clean", "busybox", "sh", "-c"]
    clean = docker(*flags, TRAP.format(code=3, signal="USR1"))
    deaf = docker("run", "-d", "--stop-timeout", "1", "--name", "deaf", "busybox", "sleep", "99")
    paused = docker(
        "run", "-d", "--name", "paused", "busybox", "sh", "-c", TRAP.format(code=0, signal="TERM")
    )
    docker("pause", "paused")
    time.sleep(0.5)  # the trap is set by now
    start = time.monotonic()
    stopped = asked.stop([clean, deaf, paused])
    assert time.monotonic() - start < 9
    assert [(one.name, one.exit_code, one.clean) for one in stopped[:2]] == [
        ("clean", 3, True),
        ("deaf", 137, False),
    ]
    assert [one.id for one in stopped] == [clean, deaf, paused]
    assert not any(one.running for one in asked.snapshot()[1])
    assert asked.stop([clean])[0].exit_code == 3  # stopped already
    asked.start([clean, deaf])
    asked.start([clean])
    assert {one.name for one in asked.snapshot()[1] if one.running} == {"clean", "deaf"}
    docker("rm", "-f", "clean", "deaf", "paused")


def test_container_that_would_remove_itself_is_not_stopped(
    asked: Engine, docker: Callable[..., str]
) -> None:
    kept = docker("run", "-d", "--name", "kept", "busybox", "top")
    gone = docker("run", "-d", "--rm", "-v", "/x", "--name", "gone", "busybox", "top")
    with pytest.raises(NoBackup, match="container gone can't be stopped"):
        asked.stop([kept, gone])
    assert all(one.running for one in asked.snapshot()[1])
    docker("rm", "-fv", "kept", "gone")


def test_start_tries_all_and_tells_the_first_fault(
    asked: Engine, docker: Callable[..., str]
) -> None:
    one, two = (docker("create", "--name", name, "busybox", "top") for name in ("one", "two"))
    with pytest.raises(SafedockerError, match="would not start container"):
        asked.start(["f" * 64, one, two])
    assert {c.name for c in asked.snapshot()[1] if c.running} == {"one", "two"}
    docker("rm", "-f", "one", "two")


# What goes wrong.

KILLED = """
import sys
from safedocker.edge.address import resolve
from safedocker.edge.engine import Engine
engine = Engine(resolve({"host": sys.argv[1]}, {"HOME": "/nonexistent"}))
with engine.read_volume("vol") as chunks:
    next(chunks)
    print("reading", flush=True)
    sys.stdin.read()
"""


def test_sweep_removes_what_a_killed_process_left(
    asked: Engine, fresh: PrivateEngine, docker: Callable[..., str]
) -> None:
    asked.create_volume(definition("vol"))
    fill(data_of(fresh, "vol"))
    argv = [sys.executable, "-c", KILLED, f"unix://{fresh.socket}"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        names = docker("ps", "-a", "--format", "{{.Names}}").split()
        assert asked.sweep() == ()  # its owner lives
        assert docker("ps", "-a", "--format", "{{.Names}}").split() == names
        assert all(HELPER in one.labels for one in asked.snapshot()[1])
        process.send_signal(signal.SIGKILL)
    assert asked.sweep() == tuple(names)
    assert asked.sweep() == ()
    asked.remove_volume("vol")


def test_sweep_leaves_other_machines_alone(asked: Engine, docker: Callable[..., str]) -> None:
    docker("create", "--name", "theirs", "--label", f"{HELPER}=elsewhere/1/2/3", "busybox")
    docker("create", "--name", "odd", "--label", f"{HELPER}=", "busybox")
    assert asked.sweep() == ()
    docker("rm", "theirs", "odd")


def read_and(engine: Engine, name: str, after: int, do: Callable[[], None]) -> None:
    with engine.read_volume(name) as chunks:
        for number, _ in enumerate(chunks):
            if number == after:
                do()


def test_engine_that_goes_away_in_the_middle_is_noticed(tmp_path: Path) -> None:
    """Of its own: killing an engine is not for one that others use."""
    with PrivateEngine("26") as private:
        engine = Engine(address(f"unix://{private.socket}"))
        engine.create_volume(definition("vol"))
        with data_of(private, "vol").joinpath("file").open("wb") as file:
            file.truncate(1 << 30)
        with pytest.raises(NoEngine, match=r"stopped sending|went away"):
            read_and(engine, "vol", after=3, do=private.stop)
        with pytest.raises(NoEngine, match=r"no such socket|refused|went away"):
            engine.snapshot()
        private.start()
        with Engine(address(f"unix://{private.socket}")) as again:
            assert again.volume("vol") is not None
        engine.close()


def test_answer_that_is_cut_short_is_noticed(fresh: PrivateEngine, tmp_path: Path) -> None:
    """A relay that hangs up in the middle of a stream, in the middle of a chunk and between two."""
    with Engine(address(f"unix://{fresh.socket}")) as engine:
        engine.create_volume(definition("vol"))
        fill(data_of(fresh, "vol"))
        whole = read(engine, "vol")
    for limit in (300_000, 1_000_000, 3_000_000):
        with relaying(fresh.socket, tmp_path / f"{limit}.sock", limit) as path:
            engine = Engine(address(f"unix://{path}"))
            with pytest.raises(NoEngine):
                read(engine, "vol")
            engine.close()
    with Engine(address(f"unix://{fresh.socket}")) as engine:
        assert read(engine, "vol") == whole
        assert len(engine.sweep()) == 0  # its owner, this process, lives
    for one in fresh.run("docker", "ps", "-aq", "--filter", f"label={HELPER}").stdout.split():
        fresh.run("docker", "rm", one)


@contextlib.contextmanager
def relaying(target: Path, path: Path, limit: int) -> Iterator[Path]:
    """A socket before the engine's that hangs up for good once it has passed on `limit` bytes."""
    passed = 0

    def copy(near: socket.socket) -> None:
        nonlocal passed
        with contextlib.suppress(OSError), near, socket.socket(socket.AF_UNIX) as far:
            far.connect(str(target))
            while passed < limit:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(4096)
                    if not data:
                        return
                    if source is far:
                        passed += len(data)
                    (far if source is near else near).sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=copy, args=(server.accept()[0],), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=accept)
        thread.start()
        yield path
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_label_of_anonymous_volumes_is_no_proof(asked: Engine, docker: Callable[..., str]) -> None:
    """A donor that is gone, and a volume whose name a person gave it: it was named."""
    docker("volume", "create", "--label", "x=y", "nam")
    docker("create", "--name", "giver", "-v", "nam:/n", "busybox")
    docker("create", "--name", "con", "--volumes-from", "giver", "busybox")
    docker("rm", "giver")
    assert anonymous(asked, "con") == {"/n": False}
    assert ANONYMOUS not in asked.snapshot()[0]["nam"].labels
