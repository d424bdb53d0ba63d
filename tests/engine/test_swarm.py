"""Swarms and contexts: what is foretold is what goes, what can be read back is put back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engine.conftest import Shell
from tests.engines import PrivateEngine

pytestmark = pytest.mark.engine

INIT = "docker swarm init --advertise-addr 127.0.0.1 >/dev/null"
QUICK = "--detach --init --network host --stop-grace-period 1s --update-parallelism 0"
BINARY = bytes(range(256)) * 4
STATE = f"""
{INIT}
for one in s1 s2 S3; do echo value | docker secret create $one - >/dev/null; done
for one in c1 C2; do echo value | docker config create $one - >/dev/null; done
docker volume create named >/dev/null
docker service create {QUICK} --name web --replicas 3 --secret s1 --config c1 \
  --mount type=volume,dst=/anon --mount type=volume,src=named,dst=/n busybox-volume sleep 1000
docker service create {QUICK} --name other busybox-volume sleep 1000
echo value | docker secret create --label com.docker.stack.namespace=stk stk_s - >/dev/null
echo value | docker config create --label com.docker.stack.namespace=stk stk_c - >/dev/null
docker service create {QUICK} --name stk_a --label com.docker.stack.namespace=stk \
  --secret stk_s --config stk_c --config C2 busybox-volume sleep 1000
mkdir -p plug/rootfs
echo '{{"interface": {{"types": ["docker.volumedriver/1.0"], "socket": "p"}}}}' >plug/config.json
docker plugin create plug plug
docker service create {QUICK} --name every --mode global busybox-volume sleep 1000
"""

# One after the other, from the same state; what each leaves is the next one's beginning.
STEPS = (
    "docker plugin rm nosuch plug",
    "docker service rm nosuch WEB",
    "docker secret rm s1 s2 nosuch",
    "docker secret rm s3",  # secrets are looked up in small letters
    "docker config rm ../configs/c1 c2",  # both in use
    "docker swarm leave",  # the last manager leaves by force only
    "docker service scale -d every=0",  # a global one has no number
    "docker service scale -d web=2 nosuch=1",
    "docker service update -d --replicas 2 --label-add a=b web",
    "docker service update -d --force web",  # the old ones stay, as history
    "docker service scale -d ../services/web=1 web=x",
    "docker service scale -d web=2",  # the third slot's history is forgotten now
    "docker service update -d --replicas=0x0 web",
    "docker service rm web ../secrets/s1 nosuch ../configs/c1",
    "docker stack rm ' ' stk",
    "docker stack rm nosuch stk",
    "docker rm ../services/other",
    "docker config rm c2",
    "docker service update -d --force every",
    "docker swarm leave --force",
    "docker secret rm any",
    "docker stack rm any",
)

KINDS = {
    "secret": "secrets",
    "config": "configs",
    "service": "services",
    "container layer": "containers",
    "named volume": "volumes",
    "anonymous volume": "volumes",
    "swarm": "swarm",
    "plugin": "plugins",
}


@pytest.fixture(scope="module", params=["20", "26"])
def swarm(
    request: pytest.FixtureRequest, open_shell: Callable[[PrivateEngine], Shell]
) -> Iterator[Shell]:
    """A shell before an engine of its own: a swarm would be in the way of other tests."""
    try:
        with PrivateEngine(request.param) as engine:
            for name in ("busybox:latest", "busybox-volume:latest"):
                engine.image(name)
            yield open_shell(engine)
    except Unavailable as reason:
        missing(request.param, reason)


@pytest.fixture
def fresh_swarm(swarm: Shell) -> Iterator[Shell]:
    """A swarm with nothing in it, that is left behind at the end."""
    with swarm.engine.swept():
        swarm.out(INIT)
        yield swarm
        swarm.run("docker swarm leave --force", real=True)
        wait(lambda: not tasks(swarm), "the tasks' containers are gone")


def wait(there: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


def tasks(shell: Shell) -> list[str]:
    return [one["Id"] for one in shell.ask("/containers/json", label=["com.docker.swarm.task"])]


def holdings(shell: Shell) -> dict[str, set[str]]:
    """What the engine and its swarm hold, by kind and name."""
    held = {
        "containers": {one["Names"][0].lstrip("/") for one in shell.ask("/containers/json")},
        "volumes": shell.volumes(),
    }
    held["plugins"] = {one["Name"] for one in shell.ask("/plugins")}
    manager = shell.ask("/info")["Swarm"]["ControlAvailable"]
    held["swarm"] = {"swarm"} if manager else set()
    for kind in ("services", "secrets", "configs"):
        found = shell.ask(f"/{kind}") if manager else []
        held[kind] = {one["Spec"]["Name"] for one in found}
    return held


def at_rest(shell: Shell) -> bool:
    """Are as many tasks running as are wanted, and none on its way?"""
    if not shell.ask("/info")["Swarm"]["ControlAvailable"]:
        return True
    every = shell.ask("/tasks")
    wanted = sum(
        one["Spec"]["Mode"].get("Replicated", {"Replicas": 1})["Replicas"]
        for one in shell.ask("/services")
    )
    running = [one for one in every if one["DesiredState"] == "running"]
    ended = [one for one in every if one["DesiredState"] != "running"]
    return (
        len(running) == wanted
        and all(one["Status"]["State"] == "running" for one in running)
        and all(one["Status"]["State"] not in {"running", "ready"} for one in ended)
        and not any(one["DesiredState"] == "remove" for one in ended)
        and len(tasks(shell)) == len(every)
    )


def foretold(shell: Shell, command: str) -> dict[str, set[str]]:
    """What `safedocker explain` says would go, by kind."""
    told = json.loads(shell.out(f"{shell.home}/bin/safedocker explain --json -- {command}"))
    assert told["error"] is None, told["error"]
    goes: dict[str, set[str]] = {kind: set() for kind in KINDS.values()}
    if told["plan"] is None:
        return goes
    assert told["plan"]["gaps"] == []
    for loss in told["plan"]["losses"]:
        assert loss["certain"], loss
        if loss["kind"] in KINDS:
            goes[KINDS[loss["kind"]]].add(loss["name"])
    return goes


def missing_from(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: before[kind] - after[kind] for kind in before}


@pytest.mark.parametrize("swarm", ["20", "26", "28"], indirect=True)
def test_what_is_foretold_of_a_swarm_is_what_goes(swarm):
    """Each step: ask what would go, run the real one, wait, compare: services, secrets, configs,
    containers, volumes and the swarm itself."""
    with swarm.engine.swept():
        swarm.out(STATE)
        for step in STEPS:
            wait(lambda: at_rest(swarm), f"rest before {step}")
            before = holdings(swarm)
            goes = foretold(swarm, step)
            assert holdings(swarm) == before, f"explain changed something: {step}"
            swarm.run(step, real=True)
            with contextlib.suppress(AssertionError):
                wait(lambda: missing_from(before, holdings(swarm)) == goes, step, seconds=20)  # noqa: B023 - waited for here
            wait(lambda: at_rest(swarm), f"rest after {step}")
            time.sleep(0.3)
            assert missing_from(before, holdings(swarm)) == goes, step


# through the shims, nobody at a terminal


def serve(shell: Shell, name: str, program: str, *more: str) -> str:
    """A service of one task; return the name of its anonymous volume."""
    flags = f"{QUICK} --name {name} {' '.join(more)}"
    shell.out(f"docker service create {flags} busybox-volume sh -c '{program}; exec sleep 1000'")
    wait(lambda: at_rest(shell), f"{name} runs")
    (found,) = shell.ask("/containers/json", label=[f"com.docker.swarm.service.name={name}"])
    (mount,) = found["Mounts"]
    return str(mount["Name"])


def test_a_secret_is_not_removed_unasked(fresh_swarm):
    fresh_swarm.out("echo x | docker secret create key -")
    for mode in ("ask", "backup"):
        refused = fresh_swarm.run("docker secret rm key", SAFEDOCKER_MODE=mode)
        assert refused.returncode == 77, refused.stderr
        assert "secret" in refused.stderr
    assert fresh_swarm.out("docker secret ls --format '{{.Name}}'") == "key"
    real = fresh_swarm.run("docker secret rm nosuch", real=True)
    mine = fresh_swarm.run("docker secret rm nosuch")
    assert (mine.returncode, mine.stdout, mine.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )


def test_a_service_goes_unasked_as_long_as_its_tasks_hold_nothing(fresh_swarm):
    volume = serve(fresh_swarm, "full", "echo x >/data/file")
    wait(lambda: (fresh_swarm.place(volume) / "file").exists(), "the task wrote its file")
    refused = fresh_swarm.run("docker service rm full")
    assert refused.returncode == 77, refused.stderr
    assert volume in fresh_swarm.volumes()
    serve(fresh_swarm, "bare", "true")
    passed = fresh_swarm.run("docker service rm bare")
    assert (passed.returncode, passed.stdout, passed.stderr) == (0, "bare\n", "")

    # In mode backup the running task is paused, not stopped: the swarm would start another.
    passed = fresh_swarm.run("docker service rm full", SAFEDOCKER_MODE="backup")
    assert (passed.returncode, passed.stdout) == (0, "full\n"), passed.stderr
    wait(lambda: not tasks(fresh_swarm), "the tasks' containers are gone")
    assert volume not in fresh_swarm.volumes()
    fresh_swarm.run("safedocker undo", check=True)
    assert (fresh_swarm.place(volume) / "file").read_text() == "x\n"


def test_the_last_manager_takes_all_with_it_and_is_asked_for(fresh_swarm):
    for mode in ("ask", "backup"):
        refused = fresh_swarm.run("docker swarm leave -f", SAFEDOCKER_MODE=mode)
        assert refused.returncode == 77, refused.stderr
    assert fresh_swarm.ask("/info")["Swarm"]["LocalNodeState"] == "active"


def test_a_config_goes_unasked_and_is_made_again(fresh_swarm):
    """Data of any bytes, labels, and other configs beside it that are refused as in use."""
    (fresh_swarm.home / "data").write_bytes(BINARY)
    fresh_swarm.out("docker config create --label a=b --template-driver golang conf data")
    before = fresh_swarm.ask("/configs/conf")["Spec"]
    passed = fresh_swarm.run("docker config rm conf")
    assert (passed.returncode, passed.stdout, passed.stderr) == (0, "conf\n", "")
    assert fresh_swarm.ask("/configs") == []
    told = fresh_swarm.run(
        f"safedocker backups; safedocker show {fresh_swarm.backups()[-1]}"
    ).stdout
    assert told.count("config") > 1
    assert "config conf" in told
    undone = fresh_swarm.run("safedocker undo", check=True)
    assert "put back 1 config" in undone.stdout
    assert fresh_swarm.ask("/configs/conf")["Spec"] == before
    assert base64.b64decode(before["Data"]) == BINARY
    assert "already there" in fresh_swarm.run("safedocker undo", check=True).stdout
    fresh_swarm.out("docker config rm conf; echo other | docker config create conf -")
    refused = fresh_swarm.run("safedocker undo")
    assert refused.returncode == 1
    assert "another config conf" in refused.stderr
    fresh_swarm.run("safedocker undo --as beside", check=True)
    assert fresh_swarm.ask("/configs/beside")["Spec"]["Data"] == before["Data"]


# contexts: no engine takes part


@pytest.fixture(params=["20", "26", "28"])
def person(request: pytest.FixtureRequest, home: Path) -> Shell:
    """A person whose client has contexts, and no engine that answers."""
    engine = PrivateEngine(request.param)
    if not engine.docker.exists():
        missing(request.param, Unavailable("not unpacked"))
    engine.folder = home / "engine"
    shell = Shell(engine, home)
    for environ in (shell.bare, shell.environ):
        del environ["DOCKER_HOST"]
    shell.out(
        "for one in plain tls third; do"
        " docker context create $one --description $one --docker host=tcp://127.0.0.1:1; done;"
        "docker context use plain"
    )
    digest = hashlib.sha256(b"tls").hexdigest()
    material = home / ".docker/contexts/tls" / digest / "docker"
    material.mkdir(parents=True)
    for name, mode in (("ca.pem", 0o644), ("cert.pem", 0o600), ("key.pem", 0o400)):
        (material / name).write_bytes(BINARY + name.encode())
        (material / name).chmod(mode)
    return shell


def files(shell: Shell) -> dict[str, tuple[int, bytes]]:
    """All that the contexts' folder holds: modes and contents."""
    root = shell.home / ".docker" / "contexts"
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_contexts_go_unasked_with_no_engine_and_are_put_back(person):
    before = files(person)
    passed = person.run("docker context rm tls")
    assert (passed.returncode, passed.stdout, passed.stderr) == (0, "tls\n", "")
    assert len(files(person)) < len(before)
    assert "context tls" in person.run("safedocker backups").stdout
    undone = person.run("safedocker undo", check=True)
    assert "put back 1 context" in undone.stdout
    assert files(person) == before
    person.run("safedocker undo --as copy", check=True)
    assert "copy" in person.out("docker context ls --format '{{.Name}}'").split()


OF_CONTEXTS = {
    "docker context rm nosuch tls": {"tls"},
    "docker context rm plain tls": {"tls"},  # the one in force is refused
    "docker context rm -f plain": {"plain"},
    "docker context remove default": set(),
    "docker -c third context rm plain third": {"plain"},
    "DOCKER_HOST=tcp://127.0.0.1:1 docker context rm plain": {"plain"},
}


def test_what_is_foretold_of_contexts_is_what_goes(person):
    def there() -> set[str]:
        return {
            json.loads(body)["Name"]
            for name, (_mode, body) in files(person).items()
            if name.endswith("meta.json")
        }

    whole = person.home / ".docker"
    kept = person.home / "kept"
    shutil.copytree(whole, kept, symlinks=True)
    for command, goes in OF_CONTEXTS.items():
        explain = re.sub(r"\bdocker ", "safedocker explain --json -- docker ", command, count=1)
        told = json.loads(person.run(explain, check=True).stdout)
        assert {loss["name"] for loss in told["plan"]["losses"]} == goes, command
        before = there()
        person.run(command, real=True)
        assert before - there() == goes, command
        shutil.rmtree(whole)
        shutil.copytree(kept, whole, symlinks=True)
