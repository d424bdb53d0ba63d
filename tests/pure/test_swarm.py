"""What goes of a swarm by facts laid out by hand: several nodes, ties, history, what is unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.command.parse import parse
from safedocker.loss import forms, operands, reach
from safedocker.loss.facts import (
    TASK,
    TASK_NODE,
    TASK_SERVICE,
    Container,
    EngineIdentity,
    Facts,
    Mount,
    Service,
    Swarm,
    SwarmItem,
    SwarmState,
    Task,
    Volume,
)
from safedocker.loss.plan import Kind, Plan

ENGINE = EngineIdentity("unix:///s", "default", "here", "id", "26.1.5", (1, 45), remote=False)
WEB = Service("webid", "web", {}, 5, (), (), anonymous=("/data",))


def task(slot: int, node: str = "here", **more: object) -> Task:
    told = {
        "id": f"t{slot}",
        "service": "webid",
        "slot": slot,
        "node": node,
        "container": f"c{slot}",
        "state": "running",
        "desired": "running",
        "at": float(slot),
        **more,
    }
    return Task(**told)  # type: ignore[arg-type]  # of each field's type


def ended(slot: int, number: int, node: str = "here") -> Task:
    """An earlier task of a slot; the lower the number, the older."""
    name = f"{slot}-{number}"
    return task(
        slot,
        node,
        id=f"t{name}",
        container=f"c{name}",
        state="shutdown",
        desired="shutdown",
        at=number,
    )


def container(of: Task) -> Container:
    labels = {TASK: of.id, TASK_SERVICE: of.service, TASK_NODE: of.node}
    mount = Mount("volume", f"v-{of.container}", "", "/data", anonymous=True)
    running = of.state == "running"
    return Container(of.container, of.container, "img", running, labels, (mount,), inspected=True)


def facts(*tasks: Task, service: Service = WEB, history: int = 5) -> Facts:
    here = [container(one) for one in tasks if one.node == "here"]
    volumes = {
        mount.volume: Volume(mount.volume, "local", {}, {}, "")
        for one in here
        for mount in one.mounts
    }
    swarm = Swarm("sid", "here", SwarmState.MANAGER, 1, history, (service,), tasks)
    return Facts(ENGINE, (1, 45), volumes, tuple(here), docker=(26, 1), swarm=swarm)


def plan(words: str, held: Facts) -> Plan:
    (command,) = parse("docker", words.split())
    form = forms.match(command)
    assert form is not None
    return reach.reach(command, form, held)


def volumes(found: Plan, *, certain: bool = True) -> set[str]:
    return {one.name for one in found.volumes if one.certain is certain}


NODES = [task(1), task(2, "far"), task(3), task(4, "far"), task(5, "far")]


@pytest.mark.parametrize(
    ("replicas", "sure", "perhaps"),
    [
        (4, set(), set()),  # the node that has three loses one first
        (3, set(), {"v-c3"}),  # the third slot and the fourth are both a second on their node
        (2, {"v-c3"}, set()),
        (1, {"v-c3"}, {"v-c1"}),
        (0, {"v-c1", "v-c3"}, set()),
    ],
)
def test_which_replicas_go_is_the_orchestrators_order(replicas, sure, perhaps):
    found = plan(f"service scale web={replicas}", facts(*NODES))
    assert (volumes(found), volumes(found, certain=False)) == (sure, perhaps)


def test_what_does_not_run_goes_first():
    tasks = (task(1, state="preparing"), task(2), task(3))
    assert volumes(plan("service scale web=2", facts(*tasks))) == {"v-c1"}


def test_volumes_of_tasks_on_other_nodes_are_a_gap():
    found = plan("service rm web", facts(*NODES))
    assert found.gaps == ("what 3 tasks of web on other nodes hold in anonymous volumes",)
    assert volumes(found) == {"v-c1", "v-c3"}
    assert len([one for one in found.losses if one.kind is Kind.LAYER]) == 5


@pytest.mark.parametrize(("anonymous", "gaps"), [((), 0), (None, 1), (("/d",), 1)])
def test_tasks_without_anonymous_volumes_leave_no_gap(anonymous, gaps):
    held = facts(*NODES, service=replace(WEB, anonymous=anonymous))
    assert len(plan("service rm web", held).gaps) == gaps


def test_an_update_forgets_the_oldest_past_the_history_limit():
    old = [ended(1, number) for number in (1, 2, 3, 4)]
    held = facts(*old, task(1))
    assert volumes(plan("service update --force web", held)) == {"v-c1-1"}
    assert volumes(plan("service update --image x web", held), certain=False) == {"v-c1-1"}
    assert volumes(plan("service update --label-add a=b web", held)) == set()
    assert volumes(plan("service rollback web", held), certain=False) == {"v-c1-1"}
    short = facts(task(1), history=1)
    assert volumes(plan("service update --force web", short)) == {"v-c1"}
    assert volumes(plan("service update --force web", facts(task(1), history=-1))) == set()


def test_history_of_a_slot_that_is_no_more_goes_with_the_next_change():
    held = facts(task(1), ended(2, 1), ended(3, 1), service=replace(WEB, replicas=1))
    assert volumes(plan("service scale web=2", held)) == {"v-c3-1"}
    assert volumes(plan("service scale web=1", held)) == {"v-c2-1", "v-c3-1"}
    once = replace(WEB, replicas=1, restart="none")
    held = facts(task(1), ended(2, 1), ended(3, 1), service=once)
    unsure = plan("service scale web=1", held)
    assert volumes(unsure, certain=False) == {"v-c2-1", "v-c3-1"}


@pytest.mark.parametrize(
    ("words", "goes"),
    [
        ("service scale web=0 web=3", False),
        ("service update --replicas 0x1 web", True),
        ("service update --replicas 010 web", None),
        ("service scale web=0x1", None),
        ("service scale web=1 db", None),
        ("service scale web=1 db=", None),
        ("service scale WEB=1", None),
        ("service scale nosuch=1 ../services/web=1", True),
    ],
)
def test_numbers_and_names_are_read_as_docker_reads_them(words, goes):
    found = plan(words, facts(task(1), task(2)))
    expected = {True: {"v-c2"}, False: set(), None: set()}[goes]
    assert volumes(found) == expected
    assert bool(volumes(found, certain=False)) is (goes is False)


def test_secrets_go_by_name_in_small_letters_services_do_not():
    items = (SwarmItem("abc1", "Key", {}), SwarmItem("abc2", "abc1", {}))
    assert operands.find_item("KEY", items, fold=True) is items[0]
    assert operands.find_item("KEY", items) is None
    assert operands.find_item("abc1", items) is items[0]
    assert operands.find_item("abc2", items) is items[1]
    assert operands.find_item("abc", items) is None


def test_leaving_takes_containers_and_only_the_last_manager_takes_the_swarm():
    held = facts(task(1), ended(2, 1), service=replace(WEB, replicas=1))
    assert not plan("swarm leave", held).losses
    last = plan("swarm leave -f", held)
    assert volumes(last) == {"v-c2-1"}
    assert {one.kind for one in last.losses} >= {Kind.SWARM, Kind.SERVICE, Kind.DETACHED_VOLUME}
    assert held.swarm is not None
    two = replace(held, swarm=replace(held.swarm, managers=2))
    assert Kind.SWARM not in {one.kind for one in plan("swarm leave -f", two).losses}
    worker = replace(held, swarm=Swarm("", "here", SwarmState.WORKER))
    assert volumes(plan("swarm leave", worker)) == {"v-c2-1"}
    locked = replace(held, swarm=Swarm("", "", SwarmState.UNKNOWN))
    assert not plan("swarm leave", locked).losses
    (lost,) = (one for one in plan("swarm leave -f", locked).losses if one.kind is Kind.SWARM)
    assert not lost.certain


def test_a_node_that_is_no_manager_lets_the_command_fail_by_itself():
    for swarm in (None, Swarm("", "here", SwarmState.WORKER)):
        held = replace(facts(task(1)), swarm=swarm)
        for words in ("service rm web", "secret rm x", "stack rm x", "service scale web=0"):
            found = plan(words, held)
            assert (found.losses, found.gaps) == ((), ())
