"""The parser against the real clients: what they ask an engine that only records must be what
their argv, as we read it, says. No engine takes part, so nothing can be lost.

By hand, many more: python tests/engine/test_parse_differential.py docker-26.1 20000 [SEED]
"""

from __future__ import annotations

import collections
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safedocker.command import compose_grammar, grammar
from safedocker.command.parse import Clients, Command, parse
from tests.engine.recorder import Recorder, Seen

pytestmark = pytest.mark.engine

Request = tuple[str, str, str, str]  # engine, method, path, what else counts


class Oracle:
    """A real client with two recording engines and nothing of anybody's.

    Its folder holds a compose file, two small files, and two contexts, which lead to the other
    engine.
    """

    def __init__(self, folder: Path, program: str, binary: Path, plugin: Path | None) -> None:
        folder.mkdir()
        self.program = program
        self.binary = binary
        self.engines = {f"unix://{folder}/{name}": Recorder(f"{folder}/{name}") for name in "ab"}
        self.default, self.other = self.engines
        self.folder = folder
        self.here = folder / "here"
        self.here.mkdir()
        service = "{image: img, network_mode: none, volumes: ['data:/data']}"
        model = f"services: {{web: {service}}}\nvolumes: {{data: {{}}}}\n"
        for name, text in (("docker-compose.yml", model), ("x", "x"), ("y", "y"), (".env", "")):
            (self.here / name).write_text(text)
        (folder / "config/cli-plugins").mkdir(parents=True)
        if plugin:
            (folder / "config/cli-plugins/docker-compose").symlink_to(plugin)

    def make_contexts(self) -> None:
        for name in "xy":
            meta = self._context(name)
            if not meta.exists():
                meta.parent.mkdir(parents=True)
                endpoint = {"docker": {"Host": self.other, "SkipTLSVerify": False}}
                meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint}))

    def _context(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self.folder / "config/contexts/meta" / digest / "meta.json"

    def ask(self, argv: list[str]) -> list[Request]:
        """Run the client; return what it asked for, sorted. A context that it removed is one."""
        for engine in self.engines.values():
            engine.seen.clear()
            engine.stopped.clear()
        self.make_contexts()
        done = subprocess.run(
            [self.binary, *argv],
            cwd=self.here,
            env={
                "PATH": "/nonexistent",
                "HOME": str(self.folder),
                "DOCKER_CONFIG": str(self.folder / "config"),
                "DOCKER_HOST": self.default,
                "COMPOSE_PROJECT_NAME": "here",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.code = done.returncode
        self.said = (done.stdout + done.stderr).decode(errors="replace")
        asked = [
            (name, one.method, one.path, counted(one))
            for name, engine in self.engines.items()
            for one in engine.seen
            if not one.path.startswith("/volumes/create")
        ]
        gone = [name for name in "xy" if not self._context(name).exists()]
        return sorted([*asked, *(("", "CONTEXT", name, "") for name in gone)])

    def refused_a_value(self) -> bool:
        """Did the client understand the words, and refuse what stands behind an option?"""
        if VALUE_REFUSED.search(self.said):
            return True
        return self.code != 0 and not NOT_UNDERSTOOD.search(self.said)

    def close(self) -> None:
        for engine in self.engines.values():
            engine.shutdown()
            engine.server_close()


SPOKEN = {"t", "signal", "checkpoint", "checkpoint-dir"}
COUNTED = {"v", "force", "link", "noprune", "all"} | SPOKEN


def counted(one: Seen) -> str:
    """What tells one request from another beside its path: the options that we predict."""
    query = dict(one.query)
    told = {k: v for k, v in query.items() if k in COUNTED and v != ""}
    told = {k: v for k, v in told.items() if k in SPOKEN or v.lower() not in ("0", "false")}
    if one.path.endswith("/kill") and told.get("signal") in ("KILL", "SIGKILL"):
        del told["signal"]  # the clients' own default
    if one.method == "POST" and one.path.endswith("/prune"):
        told |= {"filters": tidy(query.get("filters", ""))}
    if one.body is not None:
        told |= {"name": query.get("name", ""), **created(one.body)}
    if one.path.endswith("/archive"):
        told["path"] = query.get("path", "")
    return json.dumps(told, sort_keys=True)


def tidy(filters: str) -> Any:
    """A filter as {key: [values]}: clients of several ages write it in two ways."""
    return {key: sorted(value) for key, value in json.loads(filters or "{}").items()}


def created(body: dict[str, Any]) -> dict[str, Any]:
    host = body.get("HostConfig") or {}
    return {
        "image": body.get("Image"),
        "cmd": body.get("Cmd") or [],
        "rm": bool(host.get("AutoRemove")),
        "binds": host.get("Binds") or [],
        "hostname": body.get("Hostname") or "",
        "env": [pair for pair in body.get("Env") or [] if "=" in pair],
        "privileged": bool(host.get("Privileged")),
    }


# --- what our reading predicts -------------------------------------------------------------------


def whole_number(text: str) -> str:
    """Go's strconv.ParseInt(text, 0, 64)."""
    digits = text.lstrip("+-").replace("_", "")
    value = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    return str(-value if text[:1] == "-" else value)


def expected(command: Command, oracle: Oracle, clients: Clients) -> list[Request]:
    """Say what a client asks for when it understands its argv as `command` does."""
    if command.error or command.helps:
        return []
    engine = command.global_value("host") or oracle.default
    if command.global_value("context") in ("x", "y"):
        engine = oracle.other
    if command.path == ("context", "rm"):
        return contexts_gone(command)
    of_compose = command.path[:1] == ("compose",)
    found = of_project(command, clients) if of_compose else of_docker(command, clients)
    return sorted((engine, method, path, told) for method, path, told in found)


Told = tuple[str, str, str]


def say(method: str, path: str, /, **told: Any) -> Told:
    kept = {key.replace("_", "-"): v for key, v in told.items() if v not in ("", None, False)}
    spelled = {key: "1" if v is True else v for key, v in kept.items()}
    path = re.sub("/+", "/", path)
    return method, path, json.dumps(spelled, sort_keys=True)


def contexts_gone(command: Command) -> list[Request]:
    current = command.global_value("context") if not command.global_value("host") else None
    gone = {
        name
        for name in command.operands
        if name in ("x", "y") and (command.on("force") or name != current)
    }
    return [("", "CONTEXT", name, "") for name in sorted(gone)]


REMOVED = {
    ("volume", "rm"): ("volumes", {"force": "force"}),
    ("container", "rm"): ("containers", {"force": "force", "v": "volumes", "link": "link"}),
    ("image", "rm"): ("images", {"force": "force", "noprune": "no-prune"}),
    ("network", "rm"): ("networks", {}),
    ("plugin", "rm"): ("plugins", {"force": "force"}),
    ("secret", "rm"): ("secrets", {}),
    ("config", "rm"): ("configs", {}),
    ("service", "rm"): ("services", {}),
    ("node", "rm"): ("nodes", {"force": "force"}),
}


def of_docker(command: Command, clients: Clients) -> list[Told]:
    path, on, words = command.path, command.on, command.operands
    if path in REMOVED:
        root, options = REMOVED[path]
        told = {key: on(name) for key, name in options.items()}
        return [say("DELETE", f"/{root}/{word}", **told) for word in words]
    if path == ("checkpoint", "rm"):
        return [say("DELETE", f"/containers/{words[0]}/checkpoints/{words[1]}")]
    if path[1:] == ("prune",) and on("force"):
        return pruned(command, clients)
    if path == ("swarm", "leave"):
        return [say("POST", "/swarm/leave", force=on("force"))]
    if path[:1] == ("container",) and path[1] in ("stop", "restart", "kill", "start"):
        return sent(command)
    if path == ("service", "scale"):
        names = [word.partition("=") for word in words]
        if not all(equals for _, equals, _ in names):
            return []
        return [say("POST", f"/services/{name}/update") for name, _, n in names if n.isdigit()]
    if path == ("stack", "rm"):
        return [
            say("DELETE", f"/{place}/{place[:3]}-{word}")
            for word in words
            for place in ("services", "secrets", "configs", "networks")
        ]
    if path == ("container", "cp"):
        return copied(command)
    if path in (("container", "create"), ("container", "run")):
        return made(command)
    return []


def pruned(command: Command, clients: Clients) -> list[Told]:
    on, given = command.on, command.values("filter")
    if any("=" not in one for one in given):
        return []
    sorted_out: dict[str, list[str]] = collections.defaultdict(list)
    for one in given:
        key, _, value = one.partition("=")
        sorted_out[key.strip().lower()].append(value.strip())
    plain = {key: sorted(set(values)) for key, values in sorted_out.items()}
    kind = command.path[0]
    dangling = plain | {"dangling": [str(not on("all")).lower()]}
    if kind == "builder":
        return [say("POST", "/build/prune", all=on("all"), filters=plain)]
    if kind == "image":
        return [say("POST", "/images/prune", filters=dangling)]
    if kind == "volume":
        filters = plain | ({"all": ["true"]} if on("all") else {})
        return [say("POST", "/volumes/prune", filters=filters)]
    if kind != "system":
        return [say("POST", f"/{kind}s/prune", filters=plain)]
    if on("volumes") and "until" in plain:
        return []
    kinds = ["containers", "networks", *(["volumes"] if on("volumes") else [])]
    told = [say("POST", f"/{one}/prune", filters=plain) for one in kinds]
    build = {"all": on("all"), "filters": plain}
    return [
        *told,
        say("POST", "/images/prune", filters=dangling),
        say("POST", "/build/prune", **build),
    ]


def sent(command: Command) -> list[Told]:
    verb, words = command.path[1], command.operands
    signal, seconds = command.value("signal"), command.value("timeout")
    if verb == "start":
        if command.on("attach") or command.on("interactive"):
            return []  # attaching fails at a recorder before it starts anything
        checkpoint = command.value("checkpoint")
        if not checkpoint:
            return [say("POST", f"/containers/{word}/start") for word in words]
        place = command.value("checkpoint-dir")
        told = say(
            "POST", f"/containers/{words[0]}/start", checkpoint=checkpoint, checkpoint_dir=place
        )
        return [told] if len(words) == 1 else []
    if verb == "kill" and signal in ("KILL", "SIGKILL"):
        signal = None
    t = whole_number(seconds) if seconds is not None else None
    return [say("POST", f"/containers/{word}/{verb}", t=t, signal=signal) for word in words]


def copied(command: Command) -> list[Told]:
    def place(word: str) -> tuple[str, str]:
        container, colon, path = word.partition(":")
        return (container, path) if colon and word[:1] not in "/." else ("", word)

    (source, path), (target, into) = map(place, command.operands)
    if source and not target:
        return [say("GET", f"/containers/{source}/archive", path=path)]
    if target and not source and path in ("x", "y"):
        return [say("PUT", f"/containers/{target}/archive", path=into.rpartition("/")[0] or "/")]
    return []


def made(command: Command) -> list[Told]:
    image, *words = command.operands
    on = command.on
    if command.path[1] == "run" and not on("detach") and on("interactive") and on("tty"):
        return []  # there is no terminal
    body = {
        "name": command.value("name") or "",
        "image": image,
        "cmd": words,
        "rm": on("rm"),
        "binds": [one for one in command.values("volume") if ":" in one],
        "hostname": command.value("hostname") or "",
        "env": [one for one in command.values("env") if "=" in one],
        "privileged": on("privileged"),
    }
    told = ("POST", "/containers/create", json.dumps(body, sort_keys=True))
    start = command.path[1] == "run" and on("detach")
    return [told, say("POST", "/containers/newcontainer/start")] if start else [told]


def of_project(command: Command, clients: Clients) -> list[Told]:
    """What Compose asks of an engine that has one running container of the project's service."""
    verb, on = command.path[-1], command.on
    old = clients.compose is not None and clients.compose < (2,)
    if on("dry-run"):
        return []
    project = command.project_value("project-name") or "here"
    if old:
        project = re.sub("[^-_a-z0-9]", "", project.lower())
    container = f"/containers/container-of-{project}"
    seconds = command.value("timeout")
    t: str | None
    if old:
        seconds = "10" if seconds is None else seconds
        if not re.fullmatch(r"\s*[-+]?[0-9]+(_[0-9]+)*\s*", seconds):
            return []  # Python's int() takes no other
        t = str(int(seconds))
    else:
        t = None if seconds is None else whole_number(seconds)
    stop = say("POST", f"{container}/stop", t=t)
    gone = say("DELETE", container, force=not old, v=on("volumes"))
    if verb == "down":
        told = [stop, gone]
        if on("volumes"):
            told.append(say("DELETE", f"/volumes/{project}_data", force=not old))
        if command.value("rmi") == "all":
            told.append(say("DELETE", "/images/img" + ":latest" * (not old), noprune=not old))
        return told
    if verb == "rm":
        if not on("stop"):
            return []  # it runs
        return [stop] + [gone] * on("force")
    if verb == "kill":
        signal = command.value("signal")
        signal = None if signal in ("KILL", "SIGKILL") else signal
        return [say("POST", f"{container}/kill", signal=signal)]
    if verb == "stop":
        return [stop]
    if verb == "restart":
        return [say("POST", f"{container}/restart", t=t)]
    if verb == "run":
        said = {"cmd": list(command.operands[1:]), "rm": on("rm") and not old}
        return [("POST", "/containers/create", json.dumps(said))]
    return brought_up(command, container, old=old) if verb in COARSE else []


def brought_up(command: Command, container: str, *, old: bool) -> list[Told]:
    """`up`, `create` and `scale` find one container, made by another definition."""
    verb = command.path[1]
    wanted = command.operands if verb == "scale" else command.values("scale")
    count = int(([one.partition("=")[2] for one in wanted] or ["1"])[-1])
    if count == 0:
        return [say("DELETE", container, force=not old)]
    new = say("POST", "/containers/create")
    if command.on("no-recreate") or (old and verb == "scale"):
        return [new] * (count - 1)
    return [say("DELETE", container)] + [new] * count


COARSE = {"up", "create", "scale", "run"}


def coarse(requests: list[Request], verb: str) -> list[Request]:
    """Of what Compose does to make containers only this: which go, and how many come."""
    kept = []
    for engine, method, path, told in requests:
        if verb == "run" and path == "/containers/create":
            all_told = json.loads(told)
            said = {"cmd": all_told["cmd"], "rm": all_told["rm"]}
            kept.append((engine, method, path, json.dumps(said)))
        elif method == "DELETE":
            kept.append((engine, method, path, told))
        elif path == "/containers/create":
            kept.append((engine, method, path, "{}"))
    return sorted(kept)


# --- commands, drawn -----------------------------------------------------------------------------

DOCKER = (
    "volume rm|volume prune|container rm|container prune|container stop|container kill|"
    "container restart|container start|container create|container run|image rm|image prune|"
    "network rm|network prune|system prune|builder prune|service rm|service scale|stack rm|"
    "secret rm|config rm|node rm|plugin rm|context rm|swarm leave|container cp|checkpoint rm"
)
COMPOSE = (
    "compose down|compose down|compose rm|compose kill|compose stop|compose restart|compose up|"
    "compose create|compose run|compose scale"
)

# Values that the client takes; without one here it is anything, commands and options too.
VALUES = {
    "filter": "label=a|label!=b|label=-f|until=1h|x|-f",
    "keep-storage": "1GB|0",
    "signal": "9|TERM|HUP",
    "platform": "linux/amd64",
    "volume": "v1:/d|/x|v2:/e:ro",
    "env": "A=1|B=--rm|C",
    "hostname": "box|rm|-h",
    "name": "n1|rm|volume",
    "pull": "missing|never",
    "rmi": "all|local",
    "ansi": "never|auto",
    "progress": "plain|quiet",
    "env-file": ".env",
    "project-directory": ".",
    "workdir": ".",
    "project-name": "q|w2",
    "file": "docker-compose.yml|./docker-compose.yml",
    "profile": "a|rm",
    "log-level": "error|WARN|debug",
    "context": "x|y|default",
    "scale": "web=2|web=0|web=1",
    "exit-code-from": "web",
    "attach": "web",
    "no-attach": "web",
    "env-from-file": ".env",
    "orchestrator": "all|swarm",
    "detach-keys": "ctrl-a|x",
}
ON_OR_OFF = "1 0 t f T F true false TRUE FALSE True False no 2"
NUMBERS = "0|3|-1|0x1f|010|+7|1_0|x||3 "
ANYTHING = "x|-f|-v|rm|volume|--volumes|--|-|a=b|0|compose|down|--help|"
OPERANDS = "x|y|c1|rm|volume|a.b|prune|-"
# These reach for the network, or for files by themselves.
LEFT_OUT = {"disable-content-trust", "use-api-socket", "cidfile", "kubeconfig", "config"}
LEFT_OUT |= {"watch", "wait", "wait-timeout"}  # for ever
NOISE = (
    "-f -v -fv -vf -l -a -h -D -t -c -H -p -z -- - --help --help=false --help=0 -h=false --force "
    "--force=0 --force=T --force=no --volumes --volumes=0 --volumes=1 --volume --vol --all --debug "
    "--version --debug=false --log-level error x y rm prune volume container compose -test.v --zz "
    "--zz=1 -fz -f=false -fv=0 -v=t --filter label=a --link --no-prune -e -Df --dry-run "
    "--dry-run=0 -tv -vt0 -pq --project-n -- ---x --=x -= web"
)


class Drawing:
    """Draws command lines of one client from the tables, with one stream of chance."""

    def __init__(self, seed: int, oracle: Oracle, *, v1: bool, commands: list[str]) -> None:
        self.rand = random.Random(seed)  # noqa: S311 - a test wants the same draws again
        self.oracle = oracle
        self.v1 = v1
        self.commands = commands
        self.spellings = collections.defaultdict(list)
        for key in (*grammar.DOCKER, *compose_grammar.COMPOSE):
            self.spellings[key].append(key)
        for key, target in (*grammar.ALIASES.items(), *compose_grammar.ALIASES.items()):
            self.spellings[target.partition(" @")[0]].append(key)

    def chance(self, share: float) -> bool:
        return self.rand.random() < share

    def command(self) -> list[str]:
        key = self.rand.choice(self.commands)
        of_compose = key.startswith("compose ")
        if self.v1:
            head, _, flags = compose_grammar.V1[key.partition(" ")[2]].partition(" |")
        else:
            table = compose_grammar.COMPOSE if of_compose else grammar.DOCKER
            head, _, flags = table[key].partition(" |")
            flags += " help/h" if self.chance(0.1) else ""
            flags += " dry-run" if of_compose and self.chance(0.3) else ""
        entries = self.pick(flags, (0, 1, 1, 2, 3))
        count = int(head.partition("-")[0].partition(" ")[0] or 0) if head[0] != "*" else 0
        count += self.rand.choice((0, 0, 0, 1, 2)) if "-" in head.split()[0] else 0
        names = OPERANDS.split("|")
        if of_compose:
            names = ["web=2", "web=0"] if key == "compose scale" else ["web"]
        elif key == "service scale":
            names = ["s=2", "x=0", "rm=1"]
        elif key == "container cp":
            names = ["x", "c1:/a/b", "y", "c1:/a/b", "rm:/v"]
        elif key in ("container run", "container create"):
            names = ["img", "rm", "volume", "x"]
        operands = [self.rand.choice(names) for _ in range(count)]
        words = self.order(entries, operands, stops=self.v1 or "!" in head)
        if self.chance(0.12):
            words.insert(self.rand.randint(0, len(words)), "--")
        path = self.rand.choice(self.spellings[key]).split()
        if of_compose:
            line = [*self.project(), *path[1:], *words]
            if self.oracle.program == "docker":
                line = ["compose", *line]
        else:
            line = [*path, *words]
        return self.disturb([*self.engine_options(), *line])

    def pick(self, flags: str, counts: tuple[int, ...]) -> list[list[str]]:
        """Some of the options, each in one of its spellings; now and then one twice."""
        entries = [
            one for one in flags.split() if re.split("[/=~@*]", one)[0].rstrip(".") not in LEFT_OUT
        ]
        if not entries:
            return []
        weight = [3 if re.match(r"(force|volumes|all|rm|detach)\b", one) else 1 for one in entries]
        chosen = self.rand.choices(entries, weight, k=self.rand.choice(counts))
        if chosen and self.chance(0.15):
            chosen.append(self.rand.choice(chosen))
        return [self.spell(one) for one in chosen]

    def spell(self, entry: str) -> list[str]:
        head = entry.partition("@")[0].partition("~")[0].rstrip("*")
        names, equals, kind = head.partition("=")
        long, _, short = names.rstrip("*.").partition("/")
        short = short.rstrip("*=")
        letter = short if not long or self.chance(0.6) else ""
        if self.v1 and long and self.chance(0.2):
            long = long[: self.rand.randint(1, len(long))]
        if not equals and "=" not in entry.partition("@")[0]:
            return [self.switch(short, letter) if letter else self.switch(long, "")]
        value = self.value(long or short, kind)
        if letter:
            return self.rand.choice(
                ([f"-{short}", value], [f"-{short}{value}"], [f"-{short}={value}"])
            )
        return self.rand.choice(([f"--{long}", value], [f"--{long}={value}"]))

    def switch(self, name: str, letter: str) -> str:
        dashes = "-" if letter else "--"
        if self.chance(0.75):
            return f"{dashes}{name}"
        value = self.rand.choice(ON_OR_OFF.split())
        return f"{dashes}{name}={value}"

    def value(self, name: str, kind: str) -> str:
        if kind[:1] == "#" or name in ("timeout", "t"):
            return self.rand.choice(NUMBERS.split("|")[: None if self.chance(0.3) else 5])
        if name in ("H", "host"):
            return self.rand.choice((self.oracle.default, self.oracle.other))
        known = VALUES.get(name)
        if known is None or (self.chance(0.03) and name not in ("file", "project-name")):
            return self.rand.choice(ANYTHING.split("|"))
        return self.rand.choice(known.split("|"))

    def order(self, entries: list[list[str]], operands: list[str], *, stops: bool) -> list[str]:
        """Options and operands in some order, single letters in clusters now and then."""
        if len(entries) > 1 and self.chance(0.4):
            entries = [*self.clusters(entries)]
        self.rand.shuffle(entries)
        where = 0.0 if stops and not self.chance(0.15) else self.rand.choice((0.0, 0.3, 0.6))
        late = [one for one in entries if self.chance(where)]
        early = [one for one in entries if one not in late]
        parts = [*early, *([one] for one in operands[:1]), *late, *([one] for one in operands[1:])]
        return [word for part in parts for word in part]

    def clusters(self, entries: list[list[str]]) -> Iterator[list[str]]:
        letters = [one for one in entries if re.fullmatch("-[A-Za-z]", one[0]) and len(one) == 1]
        yield from (one for one in entries if one not in letters)
        if letters:
            yield ["-" + "".join(one[0][1] for one in letters)]

    def engine_options(self) -> list[str]:
        if not self.chance(0.3):
            return []
        flags = "debug/D host/H= host/H= context/c= log-level/l= version/v"
        if self.oracle.program != "docker":
            flags = "host/H= context= log-level= verbose"
        return [word for part in self.pick(flags, (1, 1, 2)) for word in part]

    def project(self) -> list[str]:
        flags = compose_grammar.COMPOSE["compose"].partition(" |")[2] + " dry-run"
        if self.v1:
            flags = " file/f=* project-name/p= profile=* verbose no-ansi version/v ansi="
        counted = " project-name/p= project-name/p= file/f="
        some = [*self.pick(counted, (0, 1, 1)), *self.pick(flags, (0, 0, 0, 1, 2))]
        self.rand.shuffle(some)
        return [word for part in some for word in part]

    def disturb(self, words: list[str]) -> list[str]:
        words = list(words)
        for _ in range(self.rand.choice((0, 0, 0, 0, 1, 1, 2))):
            at = self.rand.randint(0, len(words))
            words.insert(at, self.rand.choice(NOISE.split()))
        if words and self.chance(0.04):
            del words[self.rand.randrange(len(words))]
        return words


# --- the comparison ------------------------------------------------------------------------------

# What a client says when it does not understand the words; any other complaint is about values.
NOT_UNDERSTOOD = re.compile(
    r"unknown (shorthand )?flag|unknown command|unknown docker command|flag needs an argument|"
    r"requires (at least|exactly|at most)|accepts |bad flag syntax|is not a docker command|"
    r"flag: strconv\.Parse|no such command|Usage:",
    re.IGNORECASE,
)
VALUE_REFUSED = re.compile(r'invalid argument ".*" for ".*" flag: (?!strconv\.Parse)', re.DOTALL)


class Difference(NamedTuple):
    argv: list[str]
    seen: list[Request]
    predicted: list[Request]
    command: Command
    said: str


def understood(command: Command) -> bool:
    """Are the operands such that Compose has a service of that name?"""
    words = command.operands
    if command.path == ("compose", "run"):
        return words[:1] in ((), ("web",))
    if command.path == ("compose", "scale"):
        return all(re.fullmatch("web=[0-9]", word) for word in words) and len(words) < 2
    scales = [one for one in command.values("scale") if not re.fullmatch("web=[0-9]", one)]
    return not set(words) - {"web"} and not scales


def unjudged(command: Command, oracle: Oracle) -> bool:
    """What hangs on more than the words: engines, contexts and files that are not there."""
    hosts = command.global_value("host") not in (None, *oracle.engines)
    contexts = command.global_value("context") not in (None, "", "x", "y", "default")
    project = command.project_value
    elsewhere = (
        any(Path(one).name != "docker-compose.yml" for one in command.project_values("file"))
        or project("project-directory") not in (None, ".")
        or project("workdir") not in (None, ".")
        or not re.fullmatch("[a-z0-9][a-z0-9_-]*", project("project-name") or "q")
        or not understood(command)
    )
    nameless = "" in command.operands
    return hosts or contexts or nameless or (command.path[:1] == ("compose",) and bool(elsewhere))


def compare(
    oracle: Oracle, clients: Clients, drawing: Drawing, count: int
) -> tuple[list[Difference], collections.Counter[str]]:
    found, tally = [], collections.Counter[str]()
    for _ in range(count):
        argv = drawing.command()
        (command,) = parse(oracle.program, argv, clients)
        if unjudged(command, oracle):
            tally["unjudged"] += 1
            continue
        predicted = expected(command, oracle, clients)
        seen = oracle.ask(argv)
        if command.path[:1] == ("compose",) and command.path[-1] in COARSE:
            seen = coarse(seen, command.path[-1])
        if seen == predicted:
            tally["asked" if seen else "asked nothing"] += 1
        elif not seen and oracle.refused_a_value():
            tally[f"refused: {oracle.said.strip()[:60]}"] += 1
        else:
            found.append(Difference(argv, seen, predicted, command, oracle.said))
    return found, tally


def version_of(binary: Path) -> tuple[int, ...]:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    assert found
    return tuple(int(part) for part in found.groups())


def scene(folder: Path, who: str, binaries: dict[str, Path], seed: int) -> tuple[Any, ...]:
    """(oracle, clients, drawing) of "docker-26", "compose-26" (the program) or "plugin-26"."""
    kind, _, version = who.partition("-")
    docker, compose = binaries[f"docker-{version}"], binaries.get(f"compose-{version}")
    program = "docker-compose" if kind == "compose" else "docker"
    binary = compose if kind == "compose" and compose else docker
    oracle = Oracle(folder, program, binary, compose if kind == "plugin" else None)
    clients = Clients(version_of(docker), version_of(compose) if compose else None, buildx=False)
    commands = (DOCKER if kind == "docker" else COMPOSE).split("|")
    v1 = kind == "compose" and clients.compose is not None and clients.compose < (2,)
    return oracle, clients, Drawing(seed, oracle, v1=v1, commands=commands)


SAMPLE = {"docker": 120, "plugin": 30, "compose": 40}


@pytest.mark.parametrize("kind", SAMPLE)
def test_clients_ask_for_what_we_read(kind, docker_clients, compose_clients, tmp_path):
    binaries = {f"docker-{version}": path for version, path in docker_clients.items()}
    binaries |= {f"compose-{version}": path for version, path in compose_clients.items()}
    for version in docker_clients:
        if kind == "plugin" and version == "20":
            continue  # its Compose is a program, no plugin
        count = 5 if kind == "compose" and version == "20" else SAMPLE[kind]
        oracle, clients, drawing = scene(tmp_path / version, f"{kind}-{version}", binaries, 7)
        found, _ = compare(oracle, clients, drawing, count)
        oracle.close()
        assert found == []


def main(who: str, count: int, seed: int = 1) -> None:
    from tests.debian import RELEASES
    from tests.engines import PrivateEngine

    engines = {version: PrivateEngine(version) for version in RELEASES}
    binaries = {f"docker-{version}": engine.docker for version, engine in engines.items()}
    binaries |= {f"compose-{version}": engine.compose for version, engine in engines.items()}
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        oracle, clients, drawing = scene(Path(folder, "o"), who, binaries, seed)
        found, tally = compare(oracle, clients, drawing, count)
        oracle.close()
    for one in found:
        sys.stdout.write(
            f"{one.argv}\n  seen {one.seen}\n  read {one.predicted}\n"
            f"  {one.command.path} {one.command.flags} {one.command.operands}\n"
            f"  {one.command.error!r}\n"
            f"  {one.said.strip()[:160]!r}\n"
        )
    for what, times in tally.most_common(40):
        sys.stdout.write(f"{times:6} {what}\n")
    sys.stdout.write(f"{who}: {count} drawn, {len(found)} differ\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))
