"""Prediction is outcome for Compose's up and its kin: build a state, ask, run the real, compare.

Compared kind by kind: containers' layers, volumes that are gone, anonymous ones that no container
refers to any more, and host paths that are made.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.conftest import Shell

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0  # seconds that an engine may need to remove what removes itself

APP = """
services:
  web:
    image: busybox
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [data:/data, /anon]
    depends_on: [db]
  db:
    image: busybox
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [dbdata:/db, /anon]
  tool:
    image: busybox
    init: true
    stop_grace_period: 0s
    profiles: [tools]
    command: sleep 1000
    volumes: [/anon]
volumes:
  data:
  dbdata: {name: fixedname}
"""
BINDS = """
services:
  web:
    image: busybox
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [./deep/er/web:/w, "~/home:/h:ro", "$PWD/abs${NOPE}:/a"]
    depends_on: [db]
  db:
    image: busybox
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [./db:/d]
  other:
    image: busybox
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [./other:/o]
  tool:
    image: busybox
    init: true
    stop_grace_period: 0s
    profiles: [tools]
    command: sleep 1000
    volumes: [./tool:/t]
"""
SHARED = APP.replace("depends_on: [db]", "volumes_from: [db]", 1)
LINKED = APP.replace("depends_on: [db]", "links: [db]", 1)
HEALTHY = APP.replace(
    "depends_on: [db]", "depends_on: {db: {condition: service_healthy}}", 1
).replace(
    "volumes: [dbdata", 'healthcheck: {test: ["CMD", "true"], interval: 1s}\n    volumes: [dbdata'
)
DECLARED = APP.replace("image: busybox", "image: busybox-volume", 1).replace("data:/data, ", "", 1)
BUILT = APP.replace("image: busybox", "build: .", 1)
WATCHED = """
services:
  web:
    build: .
    init: true
    stop_grace_period: 0s
    command: sleep 1000
    volumes: [./web:/w]
    develop: {watch: [{path: ./src, action: sync, target: /src}]}
  db: {image: busybox, init: true, command: sleep 1000, volumes: [./db:/d]}
"""
BROKEN = BINDS.replace(
    "[./deep/er/web:/w,", "[{type: bind, source: ./l, target: /l, bind: {propagation: rprivate}},"
)
SOURCES = "mkdir src; echo FROM busybox >Dockerfile"
LONG = """
services:
  web: {{image: busybox, init: true, command: sleep 1000, volumes: [{}]}}
"""

UP = "compose up -d"
ONE_OFFS = UP + "; compose run -d --name going web sleep 1000; compose run --name done -T web true"
WEB = r"; sed -i '0,/command: sleep 1000/s//environment: {A: b}\n    &/' docker-compose.yml"
DB = r"; sed -i 's/volumes: \[dbdata/environment: {A: b}\n    &/' docker-compose.yml"
VOLUME = r"; sed -i 's/^  data:/  data: {labels: {a: b}}/' docker-compose.yml"
VOLUMES = VOLUME + r"; sed -i 's/{name: fixedname/&, labels: {a: b}/' docker-compose.yml"
GONE = "; sed -i 's/^  tool:/  tool2:/' docker-compose.yml"
EXTERNAL = (  # v2 asks for those alone that are mounted
    r"; sed -i 's|data:/data|ext:/e, &|; s/^volumes:/&\n  ext: {external: true}/' docker*.yml"
)
BOTH = "; rm -rf deep db other"


class Case(NamedTuple):
    """A state, a command and the versions it is played on."""

    name: str
    setup: str
    command: str
    versions: str = "20 26 28"
    file: str = APP
    stdin: str = ""


CASES = [
    # What is replaced.
    Case("up-anew", "", UP),
    Case("up-unchanged", UP, UP),
    Case("up-changed", UP + WEB, UP),
    Case("up-dependency-changed", UP + DB, UP),
    Case("up-dependency-changed-named", UP + DB, "compose up -d web"),
    Case("up-dependency-changed-no-deps", UP + DB, "compose up -d --no-deps web"),
    Case("up-always-recreate-deps", UP + DB, "compose up -d --always-recreate-deps web"),
    Case("up-dependency-changed-stopped", UP + DB + "; compose stop web", UP),
    Case("up-linked", UP + DB, UP, file=LINKED),
    Case("up-volumes-from", UP + DB, UP, file=SHARED),
    Case("up-force", UP, "compose up -d --force-recreate"),
    Case("up-force-named", UP, "compose up -d --force-recreate web"),
    Case(
        "up-force-twice", UP + "; compose up -d --force-recreate", "compose up -d --force-recreate"
    ),
    Case("up-no-recreate", UP + WEB, "compose up -d --no-recreate"),
    Case("up-no-start", UP + WEB, "compose up --no-start"),
    Case("up-attached", UP + WEB, "timeout -s INT 6 docker compose up", "26 28"),
    Case("up-waits-for-health", UP + "; compose stop db", UP, file=HEALTHY),
    Case("create-changed", UP + WEB, "compose create"),
    Case("create-force", UP, "compose create --force-recreate"),
    Case("up-of-stdin", UP + WEB, "compose -f - -p app up -d <docker-compose.yml"),
    Case("up-of-a-pipe", UP + WEB, "compose -f - -p app up -d < <(cat docker-compose.yml)"),
    Case("up-quiet", UP + WEB, "compose --progress quiet up -d", "26 28"),
    Case("up-image-moved", UP + "; docker tag busybox-volume:latest busybox:latest", UP),
    Case("up-profile-off", "compose --profile tools up -d" + WEB, UP),
    Case("up-profile", "compose --profile tools up -d" + WEB, "compose --profile tools up -d"),
    # Anonymous volumes: handed on, or left behind.
    Case("S11-up-renew", UP, "compose up -d -V"),
    Case("S11-up-renew-changed", UP + WEB, "compose up -dV"),
    Case("S11-up-renew-force", UP, "compose up -d --renew-anon-volumes --force-recreate"),
    Case("up-anonymous-dropped", UP + "; sed -i 's|data:/data, /anon|data:/data|' docker*.yml", UP),
    Case("up-anonymous-moved", UP + "; sed -i 's|/data, /anon|/data, /other|' docker*.yml", UP),
    Case(
        "up-anonymous-named", UP + "; sed -i 's|/data, /anon|/data, dbdata:/anon|' docker*.yml", UP
    ),
    Case("up-declared-by-the-image", UP + WEB, UP, file=DECLARED),
    Case("up-volume-renamed", UP + "; sed -i 's/^  data:/  data: {name: other}/' docker*.yml", UP),
    # Scale.
    Case("scale-up", UP, "compose up -d --scale web=3"),
    Case("scale-down", "compose up -d --scale web=3", "compose up -d --scale web=1"),
    Case("scale-down-silently", "compose up -d --scale web=3", UP),
    Case("scale-to-none", "compose up -d --scale web=3", "compose up -d --scale web=0"),
    Case("scale-command", "compose up -d --scale web=3", "compose scale web=1"),
    Case("scale-command-changed", "compose up -d --scale web=3" + WEB, "compose scale web=2"),
    Case("scale-command-dependency", UP + DB, "compose scale web=2"),
    Case("scale-command-no-deps", UP + DB, "compose scale --no-deps web=2", "26 28"),
    Case("scale-command-up", UP, "compose scale web=2"),
    # Orphans.
    Case("orphan-kept", "compose --profile tools up -d" + GONE, UP),
    Case(
        "S5-orphan-removed",
        "compose --profile tools up -d" + GONE,
        "compose up -d --remove-orphans",
    ),
    Case("S5-one-offs", ONE_OFFS, "compose up -d --remove-orphans"),
    Case(
        "S5-orphan-by-environment",
        "compose --profile tools up -d" + GONE,
        "COMPOSE_REMOVE_ORPHANS=1 compose up -d",
    ),
    # A volume whose definition changed.
    Case("volume-changed", UP + VOLUME, UP),
    Case("S9-volume-changed-yes", UP + VOLUME, "compose up -dy", "28"),
    Case("S9-volume-changed-create", UP + VOLUME, "compose create --yes", "28"),
    Case("S9-volumes-changed", UP + VOLUMES, "compose up -d --yes", "28"),
    Case("S9-volume-changed-piped-y", UP + VOLUME, UP, stdin="y"),
    Case(
        "S9-volume-changed-all-replicas",
        "compose up -d --scale web=3" + VOLUME,
        "compose up -dy",
        "28",
    ),
    Case("S9-volume-changed-in-use", ONE_OFFS + VOLUME, "compose up -dy", "28"),
    Case("S9-volume-changed-other-service", UP + VOLUME, "compose up -dy db", "28"),
    Case("S9-volume-changed-scale", UP + VOLUMES, "compose scale web=1", "28", stdin="y\ny"),
    # run
    Case("run", UP, "compose run -T web true"),
    Case("run-rm", UP, "compose run -T --rm web true"),
    Case("run-changed", UP + WEB, "compose run -T --rm web true"),
    Case("run-dependency-changed", UP + DB, "compose run -T --rm web true"),
    Case("run-no-deps", UP + DB, "compose run -T --rm --no-deps web true"),
    Case("run-remove-orphans", ONE_OFFS + GONE, "compose run -T --remove-orphans db true", "26 28"),
    # Watching.
    *(
        Case(
            f"watch-{name}",
            SOURCES,
            f"DOCKER_BUILDKIT=0 timeout -s INT 8 docker compose {command}",
            "26 28",
            file=WATCHED,
        )
        for name, command in (
            ("all", "watch"),
            ("one", "watch web"),
            ("no-up", "watch --no-up"),
            ("up", "up --watch web"),
        )
    ),
    Case("standalone", UP + WEB, "docker-compose up -d", "26 28"),
    Case("S8-paths-standalone", "", "docker-compose -p app up -d web", "26 28", file=BINDS),
    # Host paths.
    Case("S8-paths-up", "", UP, file=BINDS),
    Case("S8-paths-create", "", "compose create", file=BINDS),
    Case("S8-paths-no-start", "", "compose up --no-start", file=BINDS),
    Case("S8-paths-named", "", "compose up -d web", file=BINDS),
    Case("S8-paths-no-deps", "", "compose up -d --no-deps web", file=BINDS),
    Case("S8-paths-of-a-profile", "", "compose up -d tool", file=BINDS),
    Case("S8-paths-run", "", 'compose run -T --rm -v "$PWD/r:/r" web true', file=BINDS),
    Case("S8-paths-run-no-deps", "", "compose run -T --rm --no-deps web true", file=BINDS),
    Case(
        "S8-paths-run-relative", "", "compose run -T --rm --no-deps -v ./r:/r db true", file=BINDS
    ),
    Case("S8-paths-run-named", "", "compose run -T --rm --no-deps -v ./rr:/r db true", file=BINDS),
    Case("S8-paths-run-tilde", "", "compose run -T --rm --no-deps -v '~/r:/r' db true", file=BINDS),
    Case("S8-paths-scale", "", "compose scale web=2", "26 28", file=BINDS),
    Case("S8-paths-scale-to-none", "", "compose up -d --scale web=0", file=BINDS),
    Case("S8-paths-gone-running", UP + BOTH, UP, file=BINDS),
    Case("S8-paths-gone-stopped", UP + "; compose stop" + BOTH, "compose up -d web", file=BINDS),
    Case("S8-paths-created", "compose up --no-start", "compose start web", file=BINDS),
    Case("S8-paths-start", UP + "; compose stop" + BOTH, "compose start", file=BINDS),
    Case("S8-paths-start-named", UP + "; compose stop" + BOTH, "compose start other", file=BINDS),
    Case(
        "S8-paths-start-by-name", UP + "; compose stop" + BOTH, "compose -p app start", file=BINDS
    ),
    Case("S8-paths-start-running", UP + BOTH, "compose start", file=BINDS),
    Case(
        "S8-paths-start-unknown", UP + "; compose stop" + BOTH, "compose start nosuch", file=BINDS
    ),
    Case("S8-paths-restart", UP + BOTH, "compose restart", file=BINDS),
    Case("S8-paths-restart-named", UP + BOTH, "compose restart web", file=BINDS),
    Case("S8-paths-restart-unknown", UP + BOTH, "compose restart nosuch", file=BINDS),
    Case(
        "S8-paths-start-after-an-edit",
        UP + "; compose stop" + BOTH + "; sed -i s/deep/new/ docker-compose.yml",
        "compose start",
        file=BINDS,
    ),
    Case("S8-paths-edited", UP + "; sed -i s/deep/new/ docker-compose.yml", UP, file=BINDS),
    Case(
        "S8-paths-edited-no-recreate",
        UP + "; sed -i s/deep/new/ docker-compose.yml",
        "compose up -d --no-recreate",
        file=BINDS,
    ),
    *(
        Case(f"S8-paths-long-{name}", "", UP, file=LONG.format(mount))
        for name, mount in {
            "bare": "{type: bind, source: ./l, target: /x}",
            "empty": "{type: bind, source: ./l, target: /x, bind: {}}",
            "propagation": "{type: bind, source: ./l, target: /x, bind: {propagation: rprivate}}",
            "true": "{type: bind, source: ./l, target: /x, bind: {create_host_path: true}}",
            "false": "{type: bind, source: ./l, target: /x, bind: {create_host_path: false}}",
            "relabelled": "'./l:/x:z'",
        }.items()
    ),
    Case(
        "S8-paths-beside-one-that-must-be-there",
        "",
        UP,
        "26 28",
        file=LONG.format("./s:/s, {type: bind, source: ./l, target: /l, bind: {}}"),
    ),
    Case("S8-paths-beside-a-broken-one", "", "compose up -d", file=BROKEN),
    Case("S8-paths-run-beside-a-broken-one", "", "compose run -T --rm web true", file=BROKEN),
    # stop, kill, and what removes itself
    *(
        Case(
            name,
            UP + "; compose run -d --rm --name going web sleep 1000; "
            "compose run -d --rm --name other db sleep 1000" + more,
            command,
            versions,
        )
        for name, more, command, versions in (
            ("S4-kill", "", "compose kill", "20 26 28"),
            ("S4-kill-named", "", "compose kill web", "20 26 28"),
            ("S4-kill-by-name", "", "compose -p app kill", "20 26 28"),
            ("S4-kill-mildly", "", "compose kill -s WINCH", "20 26 28"),
            ("S4-stop", "", "compose stop", "20 26 28"),
            ("S4-stop-named", "", "compose stop web", "20 26 28"),
            ("S4-restart", "", "compose restart -t 0", "20 26 28"),
            ("S4-down", "", "compose down -t 0", "20 26 28"),
            ("S4-down-orphans", "", "compose down -t 0 --remove-orphans", "20 26 28"),
            ("S4-rm", "", "compose rm -fs", "20 26 28"),
            ("S4-up-orphans", "", "compose up -d --remove-orphans", "20 26 28"),
        )
    ),
    # Plain down and rm.
    Case("S5-down", ONE_OFFS, "compose down -t 0"),
    Case("S5-down-orphans", ONE_OFFS + GONE, "compose down -t 0 --remove-orphans"),
    Case("S5-down-by-name", ONE_OFFS, "compose -p app down -t 0"),
    Case("S5-down-named", ONE_OFFS, "compose down -t 0 web", "26 28"),
    Case("S5-down-unknown", ONE_OFFS, "compose down -t 0 nosuch", "26 28"),
    Case("S5-down-profile-off", "compose --profile tools up -d", "compose down -t 0"),
    Case("S5-down-profile", "compose --profile tools up -d", "compose --profile tools down -t 0"),
    Case("S5-down-twice", UP + "; compose up -d --force-recreate", "compose down -t 0"),
    Case("S5-rm", ONE_OFFS + "; compose stop -t 0", "compose rm -f"),
    Case("S5-rm-again", ONE_OFFS + "; compose stop -t 0; compose rm -f", "compose rm -f"),
    Case("S5-rm-stopping", ONE_OFFS, "compose rm -fs"),
    Case("S5-rm-by-name", ONE_OFFS + "; compose stop -t 0", "compose -p app rm -f"),
    Case("S5-rm-named", ONE_OFFS + "; compose stop -t 0", "compose rm -f db"),
    Case("S5-rm-unanswered", ONE_OFFS + "; compose stop -t 0", "compose rm"),
    Case("S5-rm-profile-off", "compose --profile tools up -d", "compose rm -fs"),
    # What fails by itself.
    Case("fails-unknown-service", UP + WEB, "compose up -d nosuch"),
    Case("fails-external-volume", UP + WEB + EXTERNAL, UP),
    Case("fails-broken-file", UP + "; echo '  :::' >>docker-compose.yml", UP),
    Case("fails-options", UP + WEB, "compose up -d --force-recreate --no-recreate"),
    Case("fails-run-unknown", UP + DB, "compose run --rm -T nosuch true"),
    Case("fails-scale-unknown", UP + DB, "compose scale nosuch=1"),
    Case("fails-scale-no-number", UP + DB, "compose scale web=x"),
]


# The engine removes a container that was started with --rm, with its volumes, as soon as it is
# stopped; Compose's own removal, without them, may come first. Foretold is the worse of the two.
RACES = {"S4-down-orphans"}


class Held(NamedTuple):
    """What an engine and a folder hold."""

    containers: dict[str, str]  # names by id
    volumes: dict[str, str]  # dates by name
    used: frozenset[str]
    paths: frozenset[str]

    def outcome(self, after: Held) -> dict[str, set[str]]:
        """What the command took and made, by kind."""
        new = {path for path in after.paths - self.paths if Path(path).is_dir()}
        leaves = {path for path in new if not any(str(Path(p).parent) == path for p in new)}
        left = {name for name in self.used - after.used if re.fullmatch("[0-9a-f]{64}", name)}
        found = {
            "layer": {name for id_, name in self.containers.items() if id_ not in after.containers},
            "volume": {
                name for name, date in self.volumes.items() if after.volumes.get(name) != date
            },
            "detached": left & set(after.volumes),
            "path": leaves,
        }
        return {kind: names for kind, names in found.items() if names}


KINDS = {
    "container layer": "layer",
    "named volume": "volume",
    "anonymous volume": "volume",
    "detached volume": "detached",
    "bind source": "path",
}


def _held(shell: Shell, folder: Path) -> Held:
    containers = shell.ask("/containers/json")
    dated = shell.engine.version != "20"  # there the date moves (moby#44719)
    return Held(
        {one["Id"]: one["Names"][0].removeprefix("/") for one in containers},
        {v["Name"]: v["CreatedAt"] * dated for v in shell.ask("/volumes")["Volumes"] or []},
        frozenset(m["Name"] for one in containers for m in one["Mounts"] if m["Type"] == "volume"),
        frozenset(map(str, (*folder.rglob("*"), *folder.parent.glob("home/home*")))),
    )


def _either(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Volumes that go and those that are left behind, as one."""
    volumes = found.get("volume", set()) | found.get("detached", set())
    return {**found, "volume": volumes, "detached": set()}


def _script(case: Case, engine_version: str, prefix: str) -> str:
    program = "docker-compose" if engine_version == "20" else "docker compose"
    piped = f"printf '%s\\n' {' '.join(case.stdin.split())} | " if case.stdin else ""
    line = case.command
    if prefix:
        line = re.sub(r"timeout -s INT \d+ docker compose", "compose", line)
    if prefix:
        line = line.replace("docker-compose ", f"{prefix}docker-compose ")
    return f'compose() {{ {prefix}{program} "$@"; }}\n{piped}{line}'


def _foretold(shell: Shell, folder: Path, case: Case) -> dict[str, set[str]]:
    program = f"{sys.executable} -m safedocker explain --json -- "
    done = shell.engine.run(
        "bash",
        "-c",
        _script(case, shell.engine.version, program),
        cwd=folder,
        home=folder.parent / "home",
        environ={"PYTHONPATH": str(ROOT)},
    )
    told = json.loads(done.stdout)
    assert told["error"] is None, told["error"]
    found: dict[str, set[str]] = {}
    if told["plan"] is not None:
        assert told["plan"]["gaps"] == []
        for loss in told["plan"]["losses"]:
            found.setdefault(KINDS[loss["kind"]], set()).add(loss["name"])
    return found


@pytest.mark.parametrize(
    ("version", "case"),
    [
        pytest.param(version, case, id=f"{version}-{case.name}")
        for case in CASES
        for version in case.versions.split()
    ],
)
def test_prediction_is_outcome(version, case, start_engine, open_shell, tmp_path):
    """What explain says goes and is made is what the real command takes and makes."""
    engine = start_engine(version)
    shell = open_shell(engine)
    folder = tmp_path / "app"
    folder.mkdir()
    (tmp_path / "home").mkdir()
    header = 'version: "2.4"\n' if version == "20" else ""
    (folder / "docker-compose.yml").write_text(header + case.file.replace("$PWD", str(folder)))
    with engine.swept():
        engine.image("busybox:latest")
        engine.image("busybox-volume:latest")
        setup = case._replace(command=case.setup, stdin="")
        play = {"cwd": folder, "home": tmp_path / "home", "check": False}
        done = engine.run("bash", "-c", f"set -e\n{_script(setup, version, '')}", **play)
        assert done.returncode == 0, done.stderr
        before = _held(shell, folder)
        foretold = _foretold(shell, folder, case)
        assert _held(shell, folder) == before, "explain changed something"
        engine.run("bash", "-c", _script(case, version, ""), **play)
        deadline = time.monotonic() + PATIENCE
        while (outcome := before.outcome(_held(shell, folder))) != foretold:
            if time.monotonic() > deadline or "--rm" not in case.setup:
                break
            time.sleep(0.1)
        if case.name in RACES:
            outcome, foretold = _either(outcome), _either(foretold)
        assert outcome == foretold
