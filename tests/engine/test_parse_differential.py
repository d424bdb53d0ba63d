"""The parser against the real clients: what they ask an engine that only records must be what
their argv, as we read it, says. No engine takes part, so nothing can be lost."""

import http.server
import json
import random
import re
import socketserver
import subprocess
import threading
import urllib.parse
from pathlib import Path

import pytest

from safedocker.command.parse import Clients, Command, parse

pytestmark = pytest.mark.engine

FORCE = (("force", "1"),)

Request = tuple[str, str, str, tuple[tuple[str, str], ...]]  # (engine, method, path, query)

SPACE = "com.docker.compose"
PROJECT_LABEL = f"{SPACE}.project"


class Recorder(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An engine that has one container and one volume per Compose project, and obeys nothing."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.seen: list[tuple[str, str, tuple[tuple[str, str], ...]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_args: object) -> None:
        pass

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = url.path
        if path.startswith("/v1."):
            path = path[path.index("/", 1) :]
        query = tuple(sorted(urllib.parse.parse_qsl(url.query)))
        status, body = 404, json.dumps({"message": "no such thing"})
        if path == "/_ping":
            status, body = 200, "OK"
        elif self.command == "GET":
            found = _found(path, dict(query))
            if found is not None:
                status, body = 200, json.dumps(found)
        elif self.command == "DELETE" or path.endswith(("/prune", "/leave")):
            self.server.seen.append((self.command, urllib.parse.unquote(path), query))
            is_list = self.command == "DELETE" and path.startswith("/images/")
            status, body = 200, "[]" if is_list else "{}"
        elif path.endswith(("/stop", "/disconnect")):
            status, body = 204, ""
        self.send_response(status)
        for name, value in (
            ("Api-Version", "1.45"),
            ("Docker-Experimental", "true"),
            ("OSType", "linux"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - the names http.server wants


def _found(path: str, query: dict[str, str]) -> object:
    filters = json.loads(query.get("filters", "{}"))
    labels = filters.get("label", {})
    project = next((x[len(PROJECT_LABEL) + 1 :] for x in labels if x.startswith(PROJECT_LABEL)), "")
    own = {PROJECT_LABEL: project, f"{SPACE}.service": "web", f"{SPACE}.volume": "data"}
    if path == "/containers/json":
        mine = {"Id": f"c-{project}", "Names": [f"/{project}-web-1"], "Labels": own}
        return [{**mine, "State": "exited"}] if project else []
    if path == "/volumes":
        volume = {"Name": f"v-{project}", "Driver": "local", "Labels": own}
        return {"Volumes": [volume] if project else []}
    if path.startswith("/volumes/v-"):
        return {"Name": path.split("/")[2], "Driver": "local", "Labels": own}
    if path in ("/networks", "/images/json", "/services", "/secrets", "/configs"):
        return []
    if path.startswith("/containers/c-"):
        name = path.split("/")[2]
        return {"Id": name, "Name": name, "State": {"Status": "exited"}, "Config": {"Labels": own}}
    if path == "/version":
        return {"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Os": "linux"}
    if path == "/info":
        return {"OSType": "linux", "Swarm": {}, "ServerVersion": "26.1.5"}
    return None


def _expected(command: Command, engine: str) -> list[Request]:
    """Say what a client asks for when it understands its argv as `command` does."""
    if command.error or command.helps:
        return []
    path, on = command.path, command.on
    engine = command.global_value("host") or engine

    def flags(**names: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((key, "1") for key, name in names.items() if on(name)))

    plain = {
        ("volume", "rm"): ("/volumes/", flags(force="force")),
        ("container", "rm"): (
            "/containers/",
            flags(force="force", v="volumes", link="link"),
        ),
        ("image", "rm"): ("/images/", flags(force="force", noprune="no-prune")),
        ("network", "rm"): ("/networks/", ()),
        ("plugin", "rm"): ("/plugins/", flags(force="force")),
        ("secret", "rm"): ("/secrets/", ()),
        ("config", "rm"): ("/configs/", ()),
        ("service", "rm"): ("/services/", ()),
        ("node", "rm"): ("/nodes/", flags(force="force")),
    }
    if path in plain:
        root, query = plain[path]
        return [
            (engine, "DELETE", root + re.sub("/+", "/", operand), query)
            for operand in command.operands
        ]
    if path in (("volume", "prune"), ("container", "prune"), ("network", "prune")) and on("force"):
        return [(engine, "POST", f"/{path[0]}s/prune", ())]
    if path == ("image", "prune") and on("force"):
        return [(engine, "POST", "/images/prune", ())]
    if path == ("builder", "prune") and on("force"):
        return [(engine, "POST", "/build/prune", ())]
    if path == ("system", "prune") and on("force"):
        kinds = ["/containers/prune", "/networks/prune", "/images/prune", "/build/prune"]
        kinds += ["/volumes/prune"] * on("volumes")
        return [(engine, "POST", kind, ()) for kind in kinds]
    if path == ("swarm", "leave"):
        return [(engine, "POST", "/swarm/leave", flags(force="force"))]
    down = path == ("compose", "down")
    if (down or (path == ("compose", "rm") and on("force"))) and not on("dry-run"):
        project = command.project_value("project-name") or "here"
        gone = [(engine, "DELETE", f"/containers/c-{project}", FORCE + flags(v="volumes"))]
        if down and on("volumes"):
            gone.append((engine, "DELETE", f"/volumes/v-{project}", FORCE))
        return gone
    return []


class Oracle:
    """A real client with two recording engines and nothing of anybody's."""

    def __init__(self, folder: Path, program: str, binary: Path) -> None:
        folder.mkdir()
        self.program = program
        self.binary = binary
        self.engines = {f"unix://{folder}/{name}": Recorder(f"{folder}/{name}") for name in "ab"}
        self.default, self.other = self.engines
        (folder / "here").mkdir()
        (folder / "config").mkdir()
        self.folder = folder

    def ask(self, argv: list[str]) -> list[Request]:
        for engine in self.engines.values():
            engine.seen.clear()
        done = subprocess.run(
            [self.binary, *argv],
            cwd=self.folder / "here",
            env={
                "PATH": "/nonexistent",
                "HOME": str(self.folder),
                "DOCKER_CONFIG": str(self.folder / "config"),
                "DOCKER_HOST": self.default,
                "COMPOSE_PROJECT_NAME": "here",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.said = (done.stdout + done.stderr).decode(errors="replace")
        return sorted(
            (name, method, path, () if method == "POST" and path.endswith("/prune") else query)
            for name, engine in self.engines.items()
            for method, path, query in engine.seen
        )

    def close(self) -> None:
        for engine in self.engines.values():
            engine.shutdown()
            engine.server_close()


COMMANDS = (
    "volume rm x|volume remove -f x|volume prune -f|rm c|rm -fv c|container rm -v c|remove c|"
    "container remove c|container prune -f|rmi i|image rm -f i|image prune -af|network rm n|"
    "network prune -f|system prune -f|system prune -af --volumes|plugin rm p|secret rm s|"
    "config remove c|service rm s|node rm n|swarm leave -f|builder prune -af|volume ls|"
    "run i rm -v|exec c rm x|run --name volume i"
)
NOISE = (
    "-f -v -fv -vf -l -a -h -D -t -c -H -p -z -- - --help --help=false --help=0 -h=false --force "
    "--force=0 --force=T --force=no --volumes --volumes=0 --volumes=1 --all --debug --version "
    "--debug=false --log-level error x y rm prune volume container compose -test.v --zz --zz=1 "
    "-fz -f=false -fv=0 -v=t --filter label=a --link --no-prune --no-prune=f -e --config -Df"
)
COMPOSE = (
    "down|down -v|-p q down -v|-p q down --volume|down -t 0 -v|-p q rm -f|-p q ls|-v down|"
    "-- -p q down -v|--dry-run down -v|-p q -v down -v|-f - -p q config|version"
)
COMPOSE_NOISE = (
    "-f -v -p q -pq -t -t0 -vt0 -tv 0 web -- - --help --help=false --volumes --volume --volumes=0 "
    "--volumes=true --vol --rmi local --remove-orphans --dry-run --dry-run=0 --zz -h -D --verbose "
    "--project-name w --project-name=w --project-n --profile a --ansi never -test.v -H"
)


def _draws(seed: int, commands: str, noise: str, other: str) -> list[list[str]]:
    rand = random.Random(seed)  # noqa: S311 - a test wants the same draws again
    extra = [*noise.split(), f"-H {other}", f"--host={other}", f"-DH {other}"]
    draws = []
    for _ in range(150):
        words = rand.choice(commands.split("|")).split()
        for _ in range(rand.choice((0, 1, 1, 1, 2, 2, 3))):
            at = rand.randint(0, len(words))
            words[at:at] = rand.choice(extra).split()
        if rand.random() < 0.1:
            del words[rand.randrange(len(words))]
        draws.append(words)
    return draws


def differences(oracle: Oracle, clients: Clients, draws: list[list[str]]):
    for argv in draws:
        (command,) = parse(oracle.program, argv, clients)
        if command.global_value("host") not in (None, *oracle.engines):
            continue  # no such engine
        if command.global_value("context") or any("=" not in f for f in command.values("filter")):
            continue  # no such context, no such filter
        if command.path[:1] == ("compose",) and (
            set(command.operands) - {"web"}
            or (command.project_value("project-name") or "").startswith("-")
            or command.project_value("file") is not None
        ):
            continue  # a missing service, a bad name or a missing file is not the parser's business
        seen = oracle.ask(argv)
        if seen != sorted(_expected(command, oracle.default)):
            yield argv, seen, command, oracle.said


def _version(binary: Path) -> tuple[int, ...]:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    assert found
    return tuple(int(part) for part in found.groups())


def test_docker_asks_for_what_we_read(docker_clients, tmp_path):
    for seed, binary in enumerate(docker_clients.values()):
        oracle = Oracle(tmp_path / str(seed), "docker", binary)
        clients = Clients(docker=_version(binary), buildx=False)
        draws = _draws(seed, COMMANDS, NOISE, oracle.other)
        assert list(differences(oracle, clients, draws)) == []
        oracle.close()


def test_compose_asks_for_what_we_read(compose_clients, tmp_path):
    for seed, binary in enumerate(compose_clients.values()):
        version = _version(binary)
        if version < (2,):
            continue  # it loads a file before anything else
        oracle = Oracle(tmp_path / str(seed), "docker-compose", binary)
        draws = _draws(seed, COMPOSE, COMPOSE_NOISE, oracle.other)
        assert list(differences(oracle, Clients(compose=version), draws)) == []
        oracle.close()
