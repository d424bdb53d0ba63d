"""Which engine a command reaches: Docker's order, and the real clients as the judge of it."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from safedocker.edge.address import DEFAULT_SOCKET, Tls, resolve, resolve_compose_v1
from safedocker.errors import NoEngine
from tests.engines import SYSTEM_PATH, PrivateEngine

# Host spellings and what every client makes of them; None: it refuses.
SPELLINGS = {
    "unix:///a/b": "unix:///a/b",
    "unix://": DEFAULT_SOCKET,
    "unix://rel": "unix://rel",
    "tcp://h": "tcp://h:2375",
    "tcp://h:": "tcp://h:2375",
    "tcp://h:1/path": "tcp://h:1/path",
    "tcp://": "tcp://localhost:2375",
    "tcp://:5": "tcp://localhost:5",
    "tcp://u@h:3": "tcp://h:3",
    "tcp://[::1]:2375": "tcp://[::1]:2375",
    " tcp://h ": "tcp://h:2375",
    "[::1]:99": "tcp://[::1]:99",
    "h": "tcp://h:2375",
    "h:2375": "tcp://h:2375",
    "1.2.3.4": "tcp://1.2.3.4:2375",
    ":2375": "tcp://localhost:2375",
    "/var/run/x.sock": "tcp://localhost:2375/var/run/x.sock",
    "ssh://me@box": "ssh://me@box",
    "ssh://me@box:22": "ssh://me@box:22",
    "": DEFAULT_SOCKET,
    "http://h": None,
    "TCP://h": None,
    "foo://x": None,
    "tcp://h:abc": None,
    "tcp://a://b": None,
}


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A home with contexts that a real client made, and one that nobody can read."""
    home = tmp_path / "person"
    (home / ".docker").mkdir(parents=True)
    return home


def environ(person: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(person), "PATH": SYSTEM_PATH, **more}


def write_config(person: Path, text: str) -> None:
    (person / ".docker/config.json").write_text(text)


def write_certificates(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.pem").write_text("not looked at")


def says(client: Path, argv: list[str], environment: dict[str, str]) -> str | None:
    """What the client would connect to; None: it refuses."""
    done = subprocess.run(
        [client, *argv, "context", "inspect", "-f", "{{.Endpoints.docker.Host}}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def resolved(
    options: dict[str, str], environment: dict[str, str], client: tuple[int, ...] | None = None
) -> str | None:
    try:
        return resolve(options, environment, client).host
    except NoEngine:
        return None


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: repr(spelling))
def test_host_is_spelled_out(spelling: str, person: Path) -> None:
    assert resolved({"host": spelling}, environ(person)) == SPELLINGS[spelling]
    assert resolved({}, environ(person, DOCKER_HOST=spelling)) == SPELLINGS[spelling]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: repr(spelling))
def test_real_clients_spell_hosts_so(
    spelling: str, person: Path, docker_clients: dict[str, Path]
) -> None:
    said = {
        version: says(client, ["-H", spelling], environ(person))
        for version, client in docker_clients.items()
    }
    assert said == dict.fromkeys(docker_clients, SPELLINGS[spelling])


ORDERS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nothing": ({}, {}, ""),
    "host": ({"host": "tcp://a"}, {"DOCKER_HOST": "tcp://b", "DOCKER_CONTEXT": "one"}, "two"),
    "empty host is the default": ({"host": ""}, {"DOCKER_CONTEXT": "one"}, "two"),
    "empty host beats DOCKER_HOST": ({"host": ""}, {"DOCKER_HOST": "tcp://b"}, ""),
    "context": ({"context": "one"}, {"DOCKER_HOST": "tcp://b", "DOCKER_CONTEXT": "two"}, "two"),
    "context default": ({"context": "default"}, {"DOCKER_HOST": "tcp://b"}, "two"),
    "context default, nothing else": ({"context": "default"}, {"DOCKER_CONTEXT": "one"}, "two"),
    "empty context": ({"context": ""}, {"DOCKER_CONTEXT": "one"}, "two"),
    "DOCKER_HOST": ({}, {"DOCKER_HOST": "tcp://b", "DOCKER_CONTEXT": "one"}, "two"),
    "empty DOCKER_HOST": ({}, {"DOCKER_HOST": "", "DOCKER_CONTEXT": "one"}, "two"),
    "DOCKER_CONTEXT": ({}, {"DOCKER_CONTEXT": "one"}, "two"),
    "DOCKER_CONTEXT default": ({}, {"DOCKER_CONTEXT": "default"}, "two"),
    "empty DOCKER_CONTEXT": ({}, {"DOCKER_CONTEXT": ""}, "two"),
    "current context": ({}, {}, "two"),
    "context without a host": ({"context": "bare"}, {}, ""),
    "both": ({"host": "tcp://a", "context": "one"}, {}, ""),
    "both, empty host": ({"host": "", "context": "one"}, {}, ""),
    "context that is not there": ({"context": "nope"}, {}, ""),
    "DOCKER_CONTEXT that is not there": ({}, {"DOCKER_CONTEXT": "nope"}, ""),
    "current context that is not there": ({}, {}, "nope"),
    "host beats a current context that is not there": ({"host": "tcp://a"}, {}, "nope"),
}
CONTEXTS = {"one": "host=tcp://one:1", "two": "host=unix:///two", "bare": "host="}


@pytest.mark.parametrize("case", ORDERS)
def test_order_is_the_real_clients(
    case: str, person: Path, docker_clients: dict[str, Path]
) -> None:
    options, variables, current = ORDERS[case]
    environment = environ(person, **variables)
    for version, client in docker_clients.items():
        for name, host in CONTEXTS.items():
            argv = [str(client), "context", "create", name, "--docker", host]
            subprocess.run(argv, env=environ(person), capture_output=True, check=False)
        write_config(person, f'{{"currentContext": "{current}"}}')
        argv = [f"--{name}={value}" for name, value in options.items()]
        expected = says(client, argv, environment)
        if case == "context without a host":
            assert expected == ""  # and then it goes to the default socket
            expected = DEFAULT_SOCKET
        assert resolved(options, environment, (int(version),)) == expected


def test_config_folder_moves_contexts_and_current_context(
    person: Path, docker_clients: dict[str, Path]
) -> None:
    other = person / "other"
    client = docker_clients["26"]
    argv = [
        str(client),
        "--config",
        str(other),
        "context",
        "create",
        "far",
        "--docker",
        "host=tcp://far:1",
    ]
    subprocess.run(argv, env=environ(person), capture_output=True, check=True)
    (other / "config.json").write_text('{"currentContext": "far"}')
    write_config(person, '{"currentContext": "nope"}')
    for options, variables in (
        ({"config": str(other)}, {}),
        ({}, {"DOCKER_CONFIG": str(other)}),
        ({"config": ""}, {"DOCKER_CONFIG": str(other)}),
        ({"config": str(other)}, {"DOCKER_CONFIG": str(person / "nowhere")}),
        ({"config": ""}, {}),
        ({"config": str(person / "nowhere")}, {}),
    ):
        argv = [f"--{name}={value}" for name, value in options.items()]
        environment = environ(person, **variables)
        assert resolved(options, environment) == says(client, argv, environment)


@pytest.mark.parametrize(
    ("options", "variables", "verify"),
    [
        ({"tlsverify": "true"}, {}, True),
        ({"tlsverify": "false"}, {}, False),
        ({"tls": "true"}, {}, False),
        ({"tls": "1", "tlsverify": "t"}, {}, True),
        ({}, {"DOCKER_TLS_VERIFY": "1"}, True),
        ({}, {"DOCKER_TLS_VERIFY": "0"}, True),
        ({"tlsverify": "false"}, {"DOCKER_TLS_VERIFY": "1"}, False),
        ({"tls": "false"}, {"DOCKER_TLS_VERIFY": "1"}, True),
        ({}, {"DOCKER_TLS": "1"}, False),
        ({"tls": "false"}, {"DOCKER_TLS": "1"}, None),
        ({"tls": "false"}, {}, None),
        ({}, {"DOCKER_TLS_VERIFY": ""}, None),
    ],
)
def test_tls_is_on_when_docker_turns_it_on(
    options: dict[str, str], variables: dict[str, str], verify: bool | None, person: Path
) -> None:
    folder = person / ".docker"
    write_certificates(folder, "ca", "cert", "key")
    found = resolve({"host": "tcp://h:1", **options}, environ(person, **variables)).tls
    ca, cert, key = (str(folder / f"{name}.pem") for name in ("ca", "cert", "key"))
    assert found == (None if verify is None else Tls(ca, cert, key, verify))


def test_tls_without_a_host_goes_to_port_2376(
    person: Path, docker_clients: dict[str, Path]
) -> None:
    environment = environ(person, DOCKER_TLS_VERIFY="1")
    assert resolved({}, environment) is None
    assert says(docker_clients["26"], [], environment) is None  # ca.pem is missing
    write_certificates(person / ".docker", "ca")
    assert resolved({}, environment) == "tcp://localhost:2376"


def test_certificates_come_from_the_folder_or_the_flags(person: Path) -> None:
    write_certificates(person / "certs", "ca", "other")
    environment = environ(person, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(person / "certs"))
    ca, other = str(person / "certs/ca.pem"), str(person / "certs/other.pem")
    assert resolve({"host": "h"}, environment).tls == Tls(ca, None, None, True)
    flags = {"host": "h", "tlscacert": other, "tlscert": ca, "tlskey": ca}
    assert resolve(flags, environment).tls == Tls(other, ca, ca, True)
    with pytest.raises(NoEngine, match="missing"):
        resolve({"host": "h", "tlskey": "/nonexistent"}, environment)
    # --config moves the contexts, not the certificates.
    assert resolve({"host": "h", "config": "/nonexistent"}, environment).tls is not None


def test_sockets_never_speak_tls(person: Path) -> None:
    write_certificates(person / ".docker", "ca")
    assert resolve({"host": "unix:///x"}, environ(person, DOCKER_TLS_VERIFY="1")).tls is None


def test_context_brings_its_certificates(person: Path, docker_clients: dict[str, Path]) -> None:
    key, cert = person / "k.pem", person / "c.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*argv, "-keyout", str(key), "-out", str(cert)], capture_output=True, check=True)
    made = f"host=tcp://far:1,ca={cert},cert={cert},key={key}"
    for name, more in (("safe", ""), ("unsafe", ",skip-tls-verify=true")):
        argv = [str(docker_clients["26"]), "context", "create", name, "--docker", made + more]
        subprocess.run(argv, env=environ(person), capture_output=True, check=True)
    safe = resolve({"context": "safe"}, environ(person)).tls
    assert safe is not None
    assert safe.verify
    assert Path(str(safe.ca)).read_bytes() == cert.read_bytes()
    assert Path(str(safe.cert)).read_bytes() == cert.read_bytes()
    assert Path(str(safe.key)).read_bytes() == key.read_bytes()
    unsafe = resolve({"context": "unsafe"}, environ(person)).tls
    assert unsafe is not None
    assert not unsafe.verify


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"currentContext": 3}', "\udcff"])
def test_unreadable_configuration_counts_as_empty(text: str, person: Path) -> None:
    (person / ".docker/config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert resolved({}, environ(person)) == DEFAULT_SOCKET


def test_unreadable_context_is_told(person: Path, docker_clients: dict[str, Path]) -> None:
    argv = [str(docker_clients["26"]), "context", "create", "odd", "--docker", "host=tcp://odd:1"]
    subprocess.run(argv, env=environ(person), capture_output=True, check=True)
    (meta,) = person.glob(".docker/contexts/meta/*/meta.json")
    for text in ("", "{}", "[]", '{"Endpoints": {"docker": 3}}'):
        meta.write_text(text)
        with pytest.raises(NoEngine, match='the Docker context "odd"'):
            resolve({"context": "odd"}, environ(person))


def test_source_says_where_the_address_comes_from(
    person: Path, docker_clients: dict[str, Path]
) -> None:
    argv = [str(docker_clients["26"]), "context", "create", "far", "--docker", "host=tcp://far:1"]
    subprocess.run(argv, env=environ(person), capture_output=True, check=True)

    def source(options: dict[str, str], **variables: str) -> tuple[str, str]:
        found = resolve(options, environ(person, **variables))
        return found.source, found.context

    assert source({}) == ("default", "default")
    assert source({"host": "h"}, DOCKER_HOST="x") == ("--host", "default")
    assert source({}, DOCKER_HOST="x") == ("DOCKER_HOST", "default")
    assert source({"context": "default"}, DOCKER_HOST="x") == ("DOCKER_HOST", "default")
    assert source({"context": "far"}, DOCKER_HOST="x") == ("--context far", "far")
    assert source({}, DOCKER_CONTEXT="far") == ("DOCKER_CONTEXT", "far")
    write_config(person, '{"currentContext": "far"}')
    assert source({}) == ("current context far", "far")


@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("unix:///x", False),
        ("fd://", False),
        ("npipe://", False),
        ("tcp://localhost:1", False),
        ("tcp://127.8.9.1:1", False),
        ("tcp://[::1]:1", False),
        ("tcp://10.0.0.1:1", True),
        ("tcp://prod:1", True),
        ("ssh://me@prod", True),
    ],
)
def test_remote_is_what_is_not_on_this_machine(host: str, remote: bool, person: Path) -> None:
    assert resolve({"host": host}, environ(person)).remote is remote


def test_headers_of_the_configuration_are_kept(person: Path) -> None:
    write_config(person, '{"HttpHeaders": {"X-Gate": "open", "Odd": 3}}')
    assert resolve({}, environ(person)).headers == (("X-Gate", "open"),)


@contextlib.contextmanager
def recording(*paths: Path) -> Iterator[list[str]]:
    """Sockets that are no engines; the list names those that were spoken to."""
    heard: list[str] = []

    def listen(server: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = server.accept()
                with caller:
                    caller.recv(4096)
                    heard.append(name)
                    caller.sendall(b"HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\n{}")

    servers = []
    threads = []
    for path in paths:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        servers.append(server)
        threads.append(threading.Thread(target=listen, args=(server, path.name)))
        threads[-1].start()
    try:
        yield heard
    finally:
        for server in servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        for thread in threads:
            thread.join()


COMPOSE_V1: dict[str, tuple[dict[str, str], dict[str, str], str, str | None]] = {
    "nothing": ({}, {}, "", None),
    "DOCKER_HOST": ({}, {"DOCKER_HOST": "env"}, "current", "env"),
    "empty DOCKER_HOST": ({}, {"DOCKER_HOST": ""}, "current", "current"),
    "current context": ({}, {}, "current", "current"),
    "DOCKER_CONTEXT does not count": ({}, {"DOCKER_CONTEXT": "other"}, "current", "current"),
    "context": ({"context": "other"}, {"DOCKER_HOST": "env"}, "current", "other"),
    "context default": ({"context": "default"}, {"DOCKER_HOST": "env"}, "current", None),
    "host": ({"host": "option"}, {"DOCKER_HOST": "env"}, "current", "option"),
    "empty host": ({"host": ""}, {"DOCKER_HOST": "env"}, "current", None),
    "both": ({"host": "option", "context": "other"}, {}, "", None),
    "context that is not there": ({"context": "nope"}, {}, "", None),
    "current context that is not there": ({}, {}, "nope", None),
}


@pytest.mark.parametrize("case", COMPOSE_V1)
def test_compose_v1_goes_its_own_way(
    case: str, person: Path, docker_clients: dict[str, Path], tmp_path: Path
) -> None:
    options, variables, current, expected = COMPOSE_V1[case]
    sockets = {name: tmp_path / name for name in ("env", "current", "other", "option")}
    for name in ("current", "other"):
        made = f"host=unix://{sockets[name]}"
        argv = [str(docker_clients["26"]), "context", "create", name, "--docker", made]
        subprocess.run(argv, env=environ(person), capture_output=True, check=True)
    write_config(person, f'{{"currentContext": "{current}"}}' if current else "{}")
    options = {k: f"unix://{sockets[v]}" if v in sockets else v for k, v in options.items()} | (
        {"context": options["context"]} if "context" in options else {}
    )
    environment = environ(
        person, **{k: f"unix://{sockets[v]}" if v == "env" else v for k, v in variables.items()}
    )
    argv = [str(PrivateEngine("20").compose), *(f"--{k}={v}" for k, v in options.items()), "ps"]
    (tmp_path / "docker-compose.yml").write_text(
        "version: '3'\nservices:\n  one:\n    image: busybox\n"
    )
    with recording(*sockets.values()) as heard:
        subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert set(heard) == ({expected} if expected else set())
    try:
        found = resolve_compose_v1(options, environment).host
    except NoEngine:
        found = None
    if expected:
        assert found == f"unix://{sockets[expected]}"
    else:
        assert found in {None, DEFAULT_SOCKET}


def test_compose_v1_reads_certificates_its_own_way(person: Path) -> None:
    ca, cert, key = (str(person / ".docker" / f"{name}.pem") for name in ("ca", "cert", "key"))
    host = {"host": "tcp://h:1"}
    assert resolve_compose_v1(host, environ(person)).tls is None
    verified = environ(person, DOCKER_TLS_VERIFY="1")
    assert resolve_compose_v1(host, verified).tls == Tls(ca, cert, key, verify=True)
    assert resolve_compose_v1({**host, "tls": "true"}, environ(person)).tls == Tls(
        None, None, None, verify=False
    )
    flags = {**host, "tlscacert": "a", "tlscert": "b", "tlskey": "c"}
    assert resolve_compose_v1(flags, verified).tls == Tls("a", "b", "c", verify=True)
    elsewhere = environ(person, DOCKER_CERT_PATH="/c")
    assert resolve_compose_v1(host, elsewhere).tls == Tls(
        "/c/ca.pem", "/c/cert.pem", "/c/key.pem", verify=False
    )
