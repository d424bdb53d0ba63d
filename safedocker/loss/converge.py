"""How Compose v1 decides what is replaced and dropped. Pure; v1 has no dry run to ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from safedocker.command.parse import Command
from safedocker.loss.facts import (
    COMPOSE_HASH,
    COMPOSE_NUMBER,
    Container,
    Facts,
    Model,
    ModelService,
)
from safedocker.loss.services import belongs, scale, selected, service_of

Containers = tuple[Container, ...]


class Step(NamedTuple):
    """What v1 does about one service."""

    action: str  # "create", "recreate", "start", "noop"
    containers: Containers  # by their numbers


def plan(command: Command, facts: Facts, model: Model) -> tuple[Containers, Containers]:
    """Given v1's model with its hashes, return the containers replaced, and those removed.

    Source: docker-compose 1.29.2 compose/project.py up, _get_convergence_plans,
    find_orphan_containers; compose/service.py scale, _execute_convergence_recreate, _downscale.
    """
    match command.path[-1]:
        case "run":
            return (), ()  # brings dependencies up without replacing or scaling them
        case "scale":
            return (), _scaled(command, facts, model)
        case _:
            return _brought_up(command, facts, model)


def _brought_up(command: Command, facts: Facts, model: Model) -> tuple[Containers, Containers]:
    steps: dict[str, Step] = {}
    for service in _in_order(selected(command, model, facts), model):
        steps[service.name] = _step(service, steps, command, facts, model)
    replaced: list[Container] = []
    removed: list[Container] = []
    for name, step in steps.items():
        found = model.definition(name)
        if found is None or step.action == "create":
            continue
        wanted = scale(found, command)
        removed += step.containers[wanted:]
        if step.action == "recreate":
            replaced += step.containers[:wanted]
    if command.on("remove-orphans"):
        removed += [
            c for c in facts.containers if belongs(c, model) and service_of(c) not in model.services
        ]
    return tuple(replaced), tuple(removed)


def _step(
    service: ModelService, steps: dict[str, Step], command: Command, facts: Facts, model: Model
) -> Step:
    found = containers_of(service.name, facts, model)
    always = command.on("force-recreate") or command.on("renew-anon-volumes")
    never = command.on("no-recreate")
    updated = any(
        steps[name].action in {"recreate", "create"} for name in service.depends if name in steps
    )
    if updated and not never:
        halted = any(c.state in {"created", "exited"} for c in found)
        always = always or command.on("always-recreate-deps") or halted or service.linked
    if not found:
        return Step("create", ())
    if never:
        return Step("start", found)
    if always or any(c.labels.get(COMPOSE_HASH) != service.hash for c in found):
        return Step("recreate", found)
    return Step("start" if any(not c.running for c in found) else "noop", found)


def _scaled(command: Command, facts: Facts, model: Model) -> Containers:
    """v1's `scale` replaces nothing: it drops running ones from the end, and, before it adds,
    stopped ones whose definition changed."""
    removed: list[Container] = []
    for word in command.operands:
        name, _, number = word.partition("=")
        service = model.definition(name)
        if service is None or not number.isdecimal():
            continue
        wanted = int(number)
        found = containers_of(name, facts, model)
        running = [c for c in found if c.running]
        if wanted < len(running):
            removed += running[wanted:]
        elif wanted > len(running):
            old = [c for c in found if not c.running and c.labels.get(COMPOSE_HASH) != service.hash]
            removed += old
            removed += [c for c in found if c not in old][wanted:]
    return tuple(removed)


def containers_of(service: str, facts: Facts, model: Model) -> Containers:
    """A service's containers in any state, one-off ones left out, by their numbers."""
    found = (c for c in facts.containers if belongs(c, model) and service_of(c) == service)
    return tuple(sorted(found, key=_number))


def _number(container: Container) -> int:
    number = container.labels.get(COMPOSE_NUMBER, "")
    return int(number) if number.isdecimal() else 0


def _in_order(names: Iterable[str], model: Model) -> list[ModelService]:
    """The services, each after those that it depends on."""
    wanted = frozenset(names)
    done: dict[str, ModelService] = {}

    def visit(service: ModelService, above: frozenset[str]) -> None:
        for name in service.depends:
            below = model.definition(name)
            if below is not None and name not in above and name not in done:
                visit(below, above | {name})
        done.setdefault(service.name, service)

    for service in model.definitions:
        if service.name in wanted:
            visit(service, frozenset((service.name,)))
    return [service for service in done.values() if service.name in wanted]
