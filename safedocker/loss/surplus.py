"""Which tasks of a service go when its number of replicas, or its definition, changes. Pure.

Follows the swarm's own orchestrator and its task reaper: moby/swarmkit manager/orchestrator/
replicated/services.go, update/updater.go, restart/restart.go, taskreaper/task_reaper.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safedocker.command.parse import Command
from safedocker.loss import operands
from safedocker.loss.facts import Service, Swarm, Task

# What the swarm wants of a task that runs, or is about to.
WANTED = {
    *("new", "pending", "allocated", "assigned", "accepted"),
    *("preparing", "ready", "starting", "running"),
}
# Options of `service update` that leave the running tasks as they are.
KEEPING = {"replicas", "detach", "quiet", "label-add", "label-rm", "with-registry-auth", "force"}
KEEPING_FAMILIES = ("update-", "rollback-")
STRICT_SCALE = (26,)  # seen to refuse all of `scale web=1 db=` for its last word


@dataclass(frozen=True)
class _Change:
    """What a command makes of one service. `replicas` None: it stays as it is."""

    service: Service
    replicas: int | None
    renews: bool  # every task is replaced
    certain: bool
    drops: bool = False  # the service itself may go, and with it all that it ever ran


def tasks(
    command: Command, swarm: Swarm, docker: tuple[int, ...] | None
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Given a scale, an update or a rollback, return the tasks whose containers go, and those that
    may go: where the swarm chooses among equals, or where it hangs on what we can't see."""
    certain: dict[str, Task] = {}
    perhaps: dict[str, Task] = {}
    for change in _changes(command, swarm, docker):
        own = [one for one in swarm.tasks if one.service == change.service.id and _counts(one)]
        if change.service.job:
            continue  # a job's tasks stay, whatever is made of it: seen on 20.10 and 26.1
        sure, unsure = _of_service(change, own, swarm.history)
        if change.drops:
            unsure = own
        for task in (*sure, *unsure):
            into = certain if change.certain and task in sure else perhaps
            into[task.id] = task
    return tuple(certain.values()), tuple(t for t in perhaps.values() if t.id not in certain)


def _counts(task: Task) -> bool:
    return task.desired != "remove"  # else it goes already


def _changes(command: Command, swarm: Swarm, docker: tuple[int, ...] | None) -> tuple[_Change, ...]:
    if command.path == ("service", "scale"):
        return _scaled(command, swarm, docker)
    if command.path in {("stack", "deploy"), ("node", "update")}:
        return _perhaps_renewed(command, swarm)
    service = _service(command.operands[0], swarm, docker) if command.operands else None
    if service is None:
        return ()
    if command.path == ("service", "rollback") or command.on("rollback"):
        return (_Change(service, service.before, renews=True, certain=False),)
    wanted = command.value("replicas")
    replicas = None if wanted is None else _number(wanted, base=0)
    if wanted is not None and (replicas is None or (service.replicas is None and not service.job)):
        return ()  # no number, or a global service: refused
    forced = command.on("force")
    changes = any(
        name not in KEEPING and not name.startswith(KEEPING_FAMILIES) for name, _ in command.flags
    )
    return (_Change(service, replicas, forced or changes, certain=forced or not changes),)


def _perhaps_renewed(command: Command, swarm: Swarm) -> tuple[_Change, ...]:
    """The services that a deploy or a drained node may change. What the stack's file says, and
    which node is meant, is not looked up here: each may be changed, and with --prune be dropped.
    """
    stack = command.operands[0] if command.path[0] == "stack" and command.operands else None
    return tuple(
        _Change(service, None, renews=True, certain=False, drops=command.on("prune"))
        for service in swarm.services
        if stack is None or service.stack == stack
    )


def _scaled(command: Command, swarm: Swarm, docker: tuple[int, ...] | None) -> tuple[_Change, ...]:
    """One change a service, the smallest number where it is given several times.

    Source: docker/cli cli/command/service/scale.go: all words are checked, then each by itself.
    """
    numbers: dict[str, list[int]] = {}
    services: dict[str, Service] = {}
    strict = docker is None or docker >= STRICT_SCALE
    for operand in command.operands:
        name, equals, wanted = operand.partition("=")
        if not equals or (strict and not (name and wanted)):
            return ()
        replicas = _number(wanted, base=10)
        service = _service(name, swarm, docker)
        if replicas is not None and service is not None and service.replicas is not None:
            services[service.id] = service
            numbers.setdefault(service.id, []).append(replicas)
    return tuple(
        _Change(service, min(numbers[id_]), renews=False, certain=len(set(numbers[id_])) == 1)
        for id_, service in services.items()
    )


def _service(name: str, swarm: Swarm, docker: tuple[int, ...] | None) -> Service | None:
    target = operands.address("services", name, docker)
    if target is None or target.collection != "services":
        return None
    return operands.find_item(target.name, swarm.services)


def _number(written: str, base: int) -> int | None:
    """As Go's strconv.ParseUint reads it: in base 0 with its prefixes, and 0 alone for octal."""
    if not written.isascii() or not written[:1].isdigit():
        return None
    digits = written
    if base == 0 and len(written) > 1 and written[0] == "0" and written[1] in "01234567_":
        digits = "0o" + written[1:].lstrip("_")
    try:
        return int(digits, base) if base == 0 or digits.isdigit() else None
    except ValueError:
        return None


def _of_service(change: _Change, own: Sequence[Task], kept: int) -> tuple[list[Task], list[Task]]:
    """The tasks of one service that go, and those that may."""
    service = change.service
    limit = service.attempts + 1 if service.attempts else kept
    places: dict[tuple[int, str], list[Task]] = {}
    for task in own:
        place = (task.slot, "") if task.slot else (0, task.node)
        places.setdefault(place, []).append(task)
    live = {
        place: wanted
        for place, found in places.items()
        if (wanted := [task for task in found if task.desired in WANTED])
    }
    if service.replicas is None:  # global: one task a node, no slots
        renewed = [places[place] for place in live] if change.renews else []
        return [task for found in renewed for task in _reaped(found, limit)], []
    target = service.replicas if change.replicas is None else change.replicas
    certain, perhaps = _left_over(live, target)
    going = {task.id for task in (*certain, *perhaps)}
    if change.renews:
        for place, wanted in live.items():
            if not any(task.id in going for task in wanted):
                certain += _reaped(places[place], limit)
    reused = _lowest(target - len(live), {slot for slot, _ in live})
    # Where a task is not begun again when it ended, the swarm may still count its slot.
    firm = service.restart == "any" and not service.attempts
    for place, found in places.items():
        if place in live:
            continue
        gone = _reaped(found, limit) if place[0] in reused else found
        if firm:
            certain += gone
        else:
            perhaps += found
    return certain, perhaps


def _left_over(
    live: dict[tuple[int, str], list[Task]], target: int
) -> tuple[list[Task], list[Task]]:
    """The tasks of the slots past the number that is wanted: those that do not run first, then
    those on the nodes that have the most, then those of the highest slots."""
    order = sorted(
        live.items(), key=lambda item: (all(t.state != "running" for t in item[1]), item[0])
    )
    counts: dict[str, int] = {}
    ranked: list[tuple[tuple[bool, int], list[Task]]] = []
    for _place, wanted in order:
        node = wanted[0].node if len(wanted) == 1 else ""
        if node:
            counts[node] = counts.get(node, 0) + 1
        ranked.append(((not node, counts.get(node, 0)), wanted))
    ranked.sort(key=lambda one: one[0])
    if target >= len(ranked):
        return [], []
    edge = ranked[target][0]
    tied = target > 0 and ranked[target - 1][0] == edge
    certain = [task for rank, wanted in ranked[target:] for task in wanted if rank != edge]
    equals = [task for rank, wanted in ranked for task in wanted if rank == edge]
    return (certain, equals) if tied else (certain + equals, [])


def _lowest(number: int, taken: Iterable[int]) -> set[int]:
    """The slots that new tasks get: the lowest that are free."""
    found: set[int] = set()
    used = set(taken)
    slot = 0
    while len(found) < number:
        slot += 1
        if slot not in used:
            found.add(slot)
    return found


def _reaped(found: Sequence[Task], limit: int) -> list[Task]:
    """The tasks of a slot that are forgotten when one more comes: the oldest past the limit."""
    if limit < 0:
        return []
    past = len(found) + 1 - max(limit, 1)
    return sorted(found, key=lambda task: (task.desired in WANTED, task.at))[: max(past, 0)]
