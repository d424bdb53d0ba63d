"""Swarms, plugins and contexts: what is foretold is what goes, what can be read back is put back."""

from __future__ import annotations

import base64
import contextlib
import json
import os
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
QUICK = "--detach --init --network host --stop-grace-period 1s --update-parallelism 0 --update-monitor 0s"
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
docker service create {QUICK} --name every --mode global busybox-volume sleep 1000
"""

# One after the other, from the same state; what each leaves is the next one's beginning.
STEPS = (
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
    told = json.loads(
        shell.out(
            f'safedocker_explain() {{ {own(shell)} explain --json -- "$@"; }}; safedocker_explain {command}'
        )
    )
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


def own(shell: Shell) -> Path:
    return shell.home / "bin" / "safedocker"


def missing_from(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: before[kind] - after[kind] for kind in before}


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
