"""What of a swarm goes: services with the containers of their tasks, secrets, configs, and with the
last manager all of it. Pure. Which tasks are left over or forgotten is surplus.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from safedocker.command.parse import Command
from safedocker.loss import operands, surplus
from safedocker.loss.facts import (
    TASK,
    TASK_NODE,
    TASK_SERVICE,
    Facts,
    Service,
    Swarm,
    SwarmItem,
    SwarmState,
    Task,
)
from safedocker.loss.forms import Form, Reach
from safedocker.loss.plan import Kind, Loss, Stays
from safedocker.loss.removal import Gone, Removed, gone_with

# The first engine whose swarm was seen to take a job's containers with the job; 20.10 keeps them.
CLEARS_JOBS = 26

NOTHING = Removed()


@dataclass(frozen=True)
class Taken:
    """What a command takes from a swarm."""

    services: tuple[Service, ...] = ()
    secrets: tuple[SwarmItem, ...] = ()
    configs: tuple[SwarmItem, ...] = ()
    removed: Removed = NOTHING  # the tasks' containers on this node
    perhaps: frozenset[str] = frozenset()  # ids of those of them that may stay as well
    remote: tuple[Task, ...] = ()  # tasks that go with containers on other nodes
    swarm: Swarm | None = None  # where all of it goes
    stays: tuple[Stays, ...] = ()


def taken(command: Command, form: Form, facts: Facts) -> Taken:
    """Given a command and what the engine holds, say what goes, or may go. Nothing does where the
    engine is in no swarm, or where only a manager may do it: then the command fails by itself."""
    swarm = facts.swarm
    if swarm is None:
        return Taken()
    if form.reach is Reach.SWARM:
        return _left(command, swarm, facts)
    if swarm.state is not SwarmState.MANAGER:
        return Taken()
    match form.reach:
        case Reach.NAMED:
            return _named(command, swarm, facts)
        case Reach.STACKS:
            return _stacks(command, swarm, facts)
        case Reach.SURPLUS_TASKS:
            certain, perhaps = surplus.tasks(command, swarm, facts.docker)
            return _with_tasks(Taken(), (*certain, *perhaps), perhaps, swarm, facts)
        case _:
            return Taken()


def concerns(command: Command, form: Form, docker: tuple[int, ...] | None) -> bool:
    """Does it take asking the swarm to say what the command takes?"""
    if form.reach is Reach.NAMED:
        swarms = {"services", "secrets", "configs"}
        return any(one.collection in swarms for one in operands.targets(command, docker))
    return form.reach in {Reach.STACKS, Reach.SURPLUS_TASKS, Reach.SWARM}


def losses(found: Taken, facts: Facts) -> Gone:
    """What goes, as losses; what stays and what can't be known besides."""
    gone = gone_with(facts, found.removed)
    sure = [one for one in found.removed.all if one.id not in found.perhaps]
    kept = {one.id for one in sure} | {mount.volume for one in sure for mount in one.mounts}
    told = [
        loss
        if (loss.id or loss.name) in kept
        else replace(loss, certain=False, why=f"{loss.why}; it may stay as well")
        for loss in gone.losses
    ]
    told += [
        Loss(Kind.SERVICE, one.name, None, "the service's definition", id=one.id)
        for one in found.services
    ]
    told += [
        Loss(Kind.SECRET, one.name, None, "its value can't be read back", id=one.id)
        for one in found.secrets
    ]
    told += [
        Loss(
            Kind.CONFIG, one.name, None, "it can be made again from what the swarm says", id=one.id
        )
        for one in found.configs
    ]
    gaps = list(gone.gaps)
    if facts.swarm is not None:
        far, unseen = _far_away(found, facts.swarm)
        told += far
        gaps += unseen
    if found.swarm is not None:
        told.append(_whole(found.swarm))
    return Gone(tuple(told), (*gone.stays, *found.stays), tuple(gaps))


def _whole(swarm: Swarm) -> Loss:
    if swarm.state is SwarmState.MANAGER:
        why = "this is its last manager: its keys, services, secrets and configs go"
    else:
        why = "it can't be asked now; if this is its last manager, all that it knew goes"
    return Loss(
        Kind.SWARM, "swarm", None, why, id=swarm.id, certain=swarm.state is SwarmState.MANAGER
    )


def _far_away(found: Taken, swarm: Swarm) -> tuple[list[Loss], list[str]]:
    """Containers on other nodes: what they wrote, and, where they have any, anonymous volumes."""
    services = {one.id: one for one in swarm.services}
    layers = []
    hidden: dict[str, int] = {}
    for task in found.remote:
        service = services.get(task.service)
        name = service.name if service else task.service
        place = f"{name}.{task.slot}" if task.slot else name
        why = f"what a task of {name} wrote on the node {task.node}"
        layers.append(Loss(Kind.LAYER, f"{place}.{task.id}", None, why, id=task.container))
        if service is None or service.anonymous is None or service.anonymous:
            hidden[name] = hidden.get(name, 0) + 1
    gaps = [
        f"what {number} task{'s' if number > 1 else ''} of {name} on other nodes hold"
        f"{'' if number > 1 else 's'} in anonymous volumes"
        for name, number in hidden.items()
    ]
    return layers, gaps


def _named(command: Command, swarm: Swarm, facts: Facts) -> Taken:
    """What the operands address, one after the other: a service that went uses nothing any more."""
    services: dict[str, Service] = {}
    secrets: dict[str, SwarmItem] = {}
    configs: dict[str, SwarmItem] = {}
    stays: list[Stays] = []
    for target in operands.targets(command, facts.docker):
        remaining = [one for one in swarm.services if one.id not in services]
        match target.collection:
            case "services":
                service = operands.find_item(target.name, swarm.services)
                if service is not None:
                    services[service.id] = service
            case "secrets":
                _free(
                    operands.find_item(target.name, swarm.secrets, fold=True),
                    remaining,
                    secrets,
                    stays,
                )
            case "configs":
                _free(
                    operands.find_item(target.name, swarm.configs, fold=True),
                    remaining,
                    configs,
                    stays,
                )
            case _:
                pass
    return _with_services(
        Taken(
            tuple(services.values()),
            tuple(secrets.values()),
            tuple(configs.values()),
            stays=tuple(stays),
        ),
        swarm,
        facts,
    )


def _stacks(command: Command, swarm: Swarm, facts: Facts) -> Taken:
    """A stack is what carries its label; its services go first, so that what they used is free.

    One name of blanks and the client refuses them all.
    Source: docker/cli cli/command/stack/swarm/remove.go, formatter validateStackName.
    """
    if not all(name.strip() for name in command.operands):
        return Taken()
    services: dict[str, Service] = {}
    secrets: dict[str, SwarmItem] = {}
    configs: dict[str, SwarmItem] = {}
    stays: list[Stays] = []
    for name in command.operands:
        services |= {one.id: one for one in swarm.services if one.stack == name}
        remaining = [one for one in swarm.services if one.id not in services]
        for items, free in ((swarm.secrets, secrets), (swarm.configs, configs)):
            for item in items:
                if item.stack == name:
                    _free(item, remaining, free, stays)
    return _with_services(
        Taken(
            tuple(services.values()),
            tuple(secrets.values()),
            tuple(configs.values()),
            stays=tuple(stays),
        ),
        swarm,
        facts,
    )


def _free(
    item: SwarmItem | None,
    services: Iterable[Service],
    free: dict[str, SwarmItem],
    stays: list[Stays],
) -> None:
    """Put an item down as going, or as staying: one that a service uses is refused."""
    if item is None:
        return
    users = [one.name for one in services if item.id in (*one.secrets, *one.configs)]
    if users:
        stays.append(Stays(item.name, f"in use by {', '.join(users)}: Docker refuses to remove it"))
    else:
        free[item.id] = item


def _left(command: Command, swarm: Swarm, facts: Facts) -> Taken:
    """What goes when this node leaves: its tasks' containers, those that run without their
    anonymous volumes; and with the last manager all that the swarm knew.

    A manager, and who can't tell, leaves with --force only. Seen on 20.10 and 26.1, managers and
    workers: the engine removes what runs, the agent what does not.
    Source: moby daemon/cluster/swarm.go Leave, listContainerForNode.
    """
    if swarm.state is not SwarmState.WORKER and not command.on("force"):
        return Taken()
    own = [
        one
        for one in facts.containers
        if one.labels.get(TASK_NODE) and swarm.node in {one.labels[TASK_NODE], ""}
    ]
    removed = Removed(
        tuple(one for one in own if not one.running), tuple(one for one in own if one.running)
    )
    last = swarm.state is SwarmState.UNKNOWN or swarm.managers == 1
    if swarm.state is SwarmState.WORKER or not last:
        return Taken(removed=removed)
    return Taken(swarm.services, swarm.secrets, swarm.configs, removed, swarm=swarm)


def _with_services(found: Taken, swarm: Swarm, facts: Facts) -> Taken:
    """With the tasks of the services that go, those that ended long ago too.

    Source: moby daemon/cluster/executor/container/controller.go Remove, RemoveVolume is set.
    """
    going = {one.id: one for one in found.services}
    tasks = [task for task in swarm.tasks if task.service in going]
    perhaps: list[Task] = []
    if facts.engine is not None and _major(facts.engine.version) < CLEARS_JOBS:
        perhaps = [task for task in tasks if going[task.service].job]
    return _with_tasks(found, tasks, perhaps, swarm, facts)


def _with_tasks(
    found: Taken, tasks: Sequence[Task], perhaps: Iterable[Task], swarm: Swarm, facts: Facts
) -> Taken:
    ids = {task.id for task in tasks}
    uncertain = {task.id for task in perhaps}
    services = {one.id for one in found.services}
    # A task that a service got since is told by its container's label alone.
    own = [
        one
        for one in facts.containers
        if one.labels.get(TASK, "") in ids or one.labels.get(TASK_SERVICE, "") in services
    ]
    return replace(
        found,
        removed=Removed(tuple(own)),
        perhaps=frozenset(one.id for one in own if one.labels.get(TASK, "") in uncertain),
        remote=tuple(
            task for task in tasks if task.container and task.node not in {swarm.node, ""}
        ),
    )


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0
