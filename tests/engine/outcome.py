"""What a command really takes: the engine's state before and after, compared kind by kind with what
`explain` foretold. Shared by every test of the kind "prediction is outcome".

A state is shell lines and files; it is built once, and built anew after a line that changed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from safedocker import explain, install
from tests.debian import suite_tree
from tests.engines import OWN_NETWORKS, PrivateEngine, UnixConnection
from tests.explained import checked

ROOT = Path(__file__).resolve().parents[2]
BASE = {"busybox:latest", "busybox-volume:latest", "held:latest"}  # what every state starts with
PATIENCE = 10.0  # seconds that an engine may take to remove what goes after the command has ended
PROGRAMS = ("docker", "docker-compose")
VOLUMES = {"named volume", "anonymous volume"}
_DIGEST = re.compile("[0-9a-f]{64}")
_QUOTED = re.compile("'[^']*'")
_SHELL = re.compile(r"[$`|<>;&*?(){}#~\n\\]")  # what only a shell can read


@dataclass(frozen=True)
class State:
    """What stands in an engine and in a folder before a line is run there."""

    name: str
    lines: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    waits: float = 0.0  # seconds that what goes by itself may need


class Pipe:
    """A connection to an engine that is kept open."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine = engine
        self._connection: UnixConnection | None = None

    def ask(self, path: str, method: str = "GET") -> Any:
        """The answer's JSON; None for an answer that is none, or an error."""
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = UnixConnection(self.engine.socket)
                self._connection.timeout = 60
            try:
                self._connection.request(method, path, headers={"Content-Length": "0"})
                answer = self._connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                if fresh:
                    raise
                continue
            if answer.status >= http.client.BAD_REQUEST:
                return None
            return json.loads(body) if body.strip() else None
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True)
class Snapshot:
    """All that can be lost, by kind, as the engine and the disk state it."""

    volumes: Mapping[str, frozenset[str]]  # the ids of the containers that mount it
    born: Mapping[str, str]  # dates that tell a volume from a later one of its name
    contents: Mapping[str, str]  # digests of the files in volumes, by "container:path"
    containers: Mapping[str, str]  # names by id
    names: frozenset[str]  # all of the containers', links too
    running: frozenset[str]
    images: Mapping[str, tuple[str, ...]]
    networks: frozenset[str]
    swarm: bool
    secrets: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    contexts: frozenset[str] = frozenset()
    plugins: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)

    def gone(self, after: Snapshot) -> dict[str, set[str]]:
        """What was there and is not any more, by the kinds that `foretold` has too."""
        left = {
            name
            for name, users in self.volumes.items()
            if users and not after.volumes.get(name, {"gone"}) and _DIGEST.fullmatch(name)
        }
        found = {
            "volume": {
                name
                for name in self.volumes
                if name not in after.volumes or self.born.get(name) != after.born.get(name)
            },
            "detached volume": left,
            "container layer": set(self.containers) - set(after.containers),
            "image": set(self.images) - set(after.images),
            "secret": set(self.secrets - after.secrets),
            "config": set(self.configs - after.configs),
            "service": set(self.services - after.services),
            "swarm": {"swarm"} if self.swarm and not after.swarm else set(),
            "context": set(self.contexts - after.contexts),
            "plugin": set(self.plugins - after.plugins),
            "bind source": set(after.folders - self.folders),
            "file": {
                path
                for path, digest in self.files.items()
                if after.files.get(path, digest) != digest
            }
            | {
                path
                for path, digest in self.contents.items()
                if after.contents.get(path, digest) != digest
            },
        }
        return {kind: names for kind, names in found.items() if names}

    def shape(self) -> dict[str, Any]:
        """The state without what differs between two runs of the same."""
        volumes = [name for name in self.volumes if not _DIGEST.fullmatch(name)]
        containers = [name for name in self.containers.values() if "_" not in name]
        return {
            "volumes": (sorted(volumes), len(self.volumes)),
            "containers": (sorted(containers), len(self.containers)),
            "images": (sorted(self.images.values()), len(self.images)),
            "running": len(self.running),
            "networks": len(self.networks),
            "swarm": (self.swarm, self.secrets, self.configs, self.services),
            "contexts": self.contexts,
            "plugins": self.plugins,
            "folders": self.folders,
            "files": self.files,
            "contents": sorted(pair for pair in self.contents.items() if "_" not in pair[0]),
        }


@dataclass(frozen=True)
class Foretold:
    """What explanations say would go, by kind; and what may go or stay, as the swarm chooses."""

    sure: dict[str, set[str]]
    perhaps: dict[str, set[str]]

    def fits(self, gone: dict[str, set[str]]) -> bool:
        """Is this what is gone: all that is sure, and nothing that was not named?"""
        kinds = {*self.sure, *self.perhaps, *gone}
        none: set[str] = set()
        return all(
            self.sure.get(kind, none)
            <= gone.get(kind, none)
            <= self.sure.get(kind, none) | self.perhaps.get(kind, none)
            for kind in kinds
        )


def foretold(
    answers: Sequence[dict[str, Any]], before: Snapshot, folder: str | Path = ""
) -> Foretold:
    """What the explanations of a line's commands, run in `folder`, say would go, by kind."""
    found = Foretold({}, {})
    for answer in answers:
        for loss in (answer["plan"] or {"losses": ()})["losses"]:
            kind = "volume" if loss["kind"] in VOLUMES else loss["kind"]
            if kind == "build cache":
                continue
            name = loss["id"] if kind in {"container layer", "image"} else loss["name"]
            name = "swarm" if kind == "swarm" else name
            if kind == "file" and ":" not in name:
                name = os.path.join(folder, name)
            into = found.sure if loss["certain"] else found.perhaps
            into.setdefault(kind, set()).add(name)
    made = found.sure.get("bind source", set())
    for path in tuple(made):  # with its parents, as far as they were not there
        for parent in map(str, Path(path).parents):
            if parent not in before.folders and not os.path.exists(parent):
                made.add(parent)
    return found


def digests(place: Path) -> dict[Path, str]:
    """The digests of the regular files below a folder of this machine."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for here, _, names in os.walk(place)
        for path in (Path(here, name) for name in names)
        if path.is_file() and not path.is_symlink()
    }


def is_digest(name: str) -> bool:
    """Did the engine make this name up?"""
    return bool(_DIGEST.fullmatch(name))


class Bench:
    """An engine with a client, perhaps of another version, and one state at a time."""

    def __init__(self, engine: PrivateEngine, client: PrivateEngine, place: Path) -> None:
        self.engine = engine
        self.client = client
        self.place = place
        self.home = place / "home"
        self.watched = place / "w"
        self.folder = self.watched / "app"
        self.watched.mkdir(parents=True)
        self.pipe = Pipe(engine)
        self.state: State | None = None
        self._built: Snapshot | None = None
        links = self.home / ".engine-bin"
        self.environ = engine.environ(self.home)
        for program, target in (("docker", client.docker), ("docker-compose", client.compose)):
            (links / program).unlink()
            (links / program).symlink_to(target)
        plugin = self.home / ".docker/cli-plugins/docker-compose"
        plugin.unlink(missing_ok=True)
        if client.version != "20":
            plugin.symlink_to(client.compose)
        install.install(self.home / "shims", str(links / "docker"), str(links / "docker-compose"))
        self._listen(links)

    @cached_property
    def shimmed(self) -> dict[str, str]:
        """The environment in which the shims stand first on PATH."""
        return {**self.environ, "PATH": f"{self.home / 'shims'}:{self.environ['PATH']}"}

    # States.

    def ready(self, state: State) -> Snapshot:
        """Have the state, built anew unless it still stands; return what it holds."""
        if self.state is state and self._built is not None:
            now = self.snapshot()
            if now == self._built:
                return now
        self.sweep()
        self.folder.mkdir(parents=True)
        for name, text in state.files.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        v1 = self.client.version == "20"
        define = f'compose() {{ {"docker-compose" if v1 else "docker compose"} "$@"; }}'
        if state.lines.strip():
            done = self.run(f"set -e\n{define}\n{state.lines}")
            assert done.returncode == 0, f"state {state.name}: {done.stderr}{done.stdout}"
        self.state = state
        self._built = self._at_rest()
        if self.client.version == "28":
            # Compose 2.40 removes a volume and makes it again; engines date them to the second.
            time.sleep(1 - time.time() % 1)
        return self._built

    def _at_rest(self) -> Snapshot:
        """What holds for a while: an engine says of what has just ended that it runs."""
        now = self.snapshot()
        while now.running:
            time.sleep(0.15)
            before, now = now, self.snapshot()
            if now == before:
                break
        return now

    def sweep(self) -> None:
        """Remove all that states and lines left behind."""
        self.state = self._built = None
        ask = self.pipe.ask
        if self._swarms():
            ask("/swarm/leave?force=1", "POST")
        for one in ask("/containers/json?all=1"):
            ask(f"/containers/{one['Id']}?force=1&v=1", "DELETE")
        for one in ask("/volumes")["Volumes"] or []:
            ask(f"/volumes/{one['Name']}?force=1", "DELETE")
        for one in ask("/plugins") or ():
            ask(f"/plugins/{one['Name']}?force=1", "DELETE")
        for one in ask("/networks"):
            if one["Name"] not in OWN_NETWORKS:
                ask(f"/networks/{one['Id']}", "DELETE")
        for id_, names in self._images().items():
            for name in (names or (id_,)) if not set(names) & BASE else set(names) - BASE:
                ask(f"/images/{name}?force=1", "DELETE")
        for name in BASE - {name for names in self._images().values() for name in names}:
            self._load(name)
        shutil.rmtree(self.home / ".docker/contexts", ignore_errors=True)
        for place in (self.watched, *Path("/").glob("sdcorpus*")):
            shutil.rmtree(place)
        self.watched.mkdir()

    def close(self) -> None:
        self.sweep()
        self.pipe.close()

    def snapshot(self) -> Snapshot:
        ask = self.pipe.ask
        containers = ask("/containers/json?all=1")
        contents: dict[str, str] = {}
        volumes = ask("/volumes")["Volumes"] or []
        dated = self.engine.version != "20"  # there the date moves with the folder, moby#44719
        users: dict[str, set[str]] = {one["Name"]: set() for one in volumes}
        for one in containers:
            for mount in one["Mounts"]:
                if mount.get("Type") == "volume" and mount["Name"] in users:
                    users[mount["Name"]].add(one["Id"])
                    place = self.engine.data_root / "volumes" / mount["Name"] / "_data"
                    inside = f"{one['Names'][-1].lstrip('/')}:{mount['Destination']}"
                    for path, digest in digests(place).items():
                        contents[f"{inside}/{path.relative_to(place)}"] = digest
        swarm = self._swarms()
        folders: set[str] = set()
        places = [self.watched, *Path("/").glob("sdcorpus*")]
        for place in places:
            folders |= {here for here, _, _ in os.walk(place)}
        contexts = (self.home / ".docker/contexts/meta").glob("*/meta.json")
        return Snapshot(
            born={one["Name"]: one["CreatedAt"] for one in volumes if dated},
            contents=contents,
            volumes={name: frozenset(ids) for name, ids in sorted(users.items())},
            containers={one["Id"]: one["Names"][-1].lstrip("/") for one in containers},
            names=frozenset(name for one in containers for name in one["Names"]),
            running=frozenset(one["Id"] for one in containers if one["State"] == "running"),
            images=self._images(),
            # a swarm makes its own a moment later
            networks=frozenset(() if swarm else (one["Id"] for one in ask("/networks"))),
            swarm=swarm,
            secrets=self._named("/secrets") if swarm else frozenset(),
            configs=self._named("/configs") if swarm else frozenset(),
            services=self._named("/services") if swarm else frozenset(),
            contexts=frozenset(json.loads(path.read_text())["Name"] for path in contexts),
            plugins=frozenset(one["Name"] for one in ask("/plugins") or ()),
            folders=frozenset(folders),
            files={str(path): digest for path, digest in digests(self.watched).items()},
        )

    def _load(self, name: str) -> None:
        if name == "held:latest":
            change = 'CMD ["sh"]'
            self.engine.run("docker", "import", "--change", change, self.place / "held.tar", name)
        else:
            self.engine.image(name)

    def _swarms(self) -> bool:
        return bool(self.pipe.ask("/info")["Swarm"]["LocalNodeState"] == "active")

    def _named(self, path: str) -> frozenset[str]:
        return frozenset(one["Spec"]["Name"] for one in self.pipe.ask(path) or ())

    def _images(self) -> dict[str, tuple[str, ...]]:
        return {
            one["Id"]: tuple(n for n in one["RepoTags"] or () if n != "<none>:<none>")
            for one in self.pipe.ask("/images/json")
        }

    # Lines.

    def run(self, script: str, *, shims: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a script of bash's in the state's folder, without a terminal."""
        return self._run(script, self.shimmed if shims else self.environ)

    def _run(self, script: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            env=dict(environ),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=180,
            check=False,
            start_new_session=True,
        )

    def explain(self, line: str) -> list[dict[str, Any]]:
        """What `explain --json` says of the line's commands; of most lines it is one."""
        plain = line.replace("$PWD", str(self.folder))
        if not _SHELL.search(_QUOTED.sub("", plain)):
            words = shlex.split(plain)
            own: dict[str, str] = {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                own[name] = value
            if words[0] in PROGRAMS:
                return [self._explain_here(words, own)]
        told = self.home / "explained"
        told.write_text("")
        done = self._run(
            line,
            {
                **self.environ,
                "PATH": f"{self.home / 'listening'}:{self.environ['PATH']}",
                "TESTS_TOLD": str(told),
            },
        )
        answers = [checked(text) for text in told.read_text().splitlines()]
        assert answers, f"no docker in this line: {line}\n{done.stderr}"
        return answers

    def _explain_here(self, words: list[str], own: dict[str, str]) -> dict[str, Any]:
        """In this interpreter, which is what a program of its own would do, and quicker."""
        with (
            patch.dict(os.environ, {**self.environ, **own}, clear=True),
            contextlib.chdir(self.folder),
        ):
            found = explain.explain(words[0], words[1:], can_ask=False)
            return checked(json.loads(json.dumps(explain.as_json(found))))

    def _listen(self, links: Path) -> None:
        """Write programs to stand in for docker in a line that only a shell can read: each explains
        itself, and runs where the line goes on from what it prints."""
        folder = self.home / "listening"
        folder.mkdir()
        for program in PROGRAMS:
            file = folder / program
            file.write_text(
                f"#!{sys.executable} -I\n"
                "import json, os, sys\n"
                f"sys.path.insert(0, {str(ROOT)!r})\n"
                "from safedocker import explain\n"
                f"found = explain.explain({program!r}, sys.argv[1:], can_ask=False)\n"
                "with open(os.environ['TESTS_TOLD'], 'a') as told:\n"
                "    told.write(json.dumps(explain.as_json(found)) + '\\n')\n"
                "if found.form is None:\n"
                f"    os.execv({str(links / program)!r}, [{program!r}, *sys.argv[1:]])\n"
            )
            file.chmod(0o755)

    def outcome(
        self, before: Snapshot, line: str, expected: Foretold
    ) -> tuple[dict[str, set[str]], Snapshot, subprocess.CompletedProcess[str]]:
        """Run the line by the real client: what it took, what is left, and how it ended."""
        done = self.run(line)
        assert self.state is not None
        time.sleep(self.state.waits)  # what goes by itself, and was not foretold, shows by then
        deadline = time.monotonic() + PATIENCE
        while True:
            after = self.snapshot()
            gone = before.gone(after)
            if expected.fits(gone) or not expected.sure or time.monotonic() > deadline:
                return gone, after, done
            time.sleep(0.05)

    def comes_to(self, shape: dict[str, Any]) -> bool:
        """Does the state come to this shape, if not at once?"""
        deadline = time.monotonic() + PATIENCE
        while (same := self.snapshot().shape() == shape) is False and time.monotonic() < deadline:
            time.sleep(0.05)
        return same


def settled(text: str) -> str:
    """Without what differs between two runs of the same: ages, random names, dates, and what the
    client of 20.10 adds when the container is gone before it waits for it."""
    text = re.sub(r"time=.*error waiting for container: context canceled.*\n", "", text)
    text = re.sub(r"(About )?(an?|\d+) (second|minute|hour)s?( ago)?", "AGE", text, flags=re.I)
    text = re.sub(r"Less than a second( ago)?", "AGE", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "DATE", text)
    text = re.sub(r"\b\d+(\.\d+)?s\b", "TIME", text)
    text = re.sub(r"[0-9a-f]{12,64}", "ID", text)
    return re.sub(r"  +", "  ", text)


HELD = ("a", "b", "c", "d", "e", "f")  # a volume mounted there in `held` starts with a file in it


def pack_held(place: Path) -> None:
    """Write the image `held` as an archive to import: busybox, and folders with a file each."""
    tree = place / "held"
    for name in HELD:
        (tree / name).mkdir(parents=True)
        (tree / name / "file").write_text(f"{name}\n")
    (tree / "bin").mkdir()
    shutil.copy(suite_tree("20") / "bin/busybox", tree / "bin/busybox")
    for applet in ("cat", "echo", "false", "ls", "od", "printf", "sh", "sleep", "true", "touch"):
        (tree / "bin" / applet).symlink_to("busybox")
    subprocess.run(["tar", "-c", "-f", place / "held.tar", "-C", tree, "."], check=True)
    shutil.rmtree(tree)


def open_bench(engine: PrivateEngine, client: PrivateEngine, place: Path) -> Bench:
    """A bench in a folder of its own; what it leaves in the engine, `close` removes."""
    place.mkdir(parents=True)
    pack_held(place)
    return Bench(engine, client, place)
