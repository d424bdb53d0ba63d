"""Which services of a Compose project a command means, and what it does with them at all. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from safedocker.command.parse import Command
from safedocker.loss.compose import one_off
from safedocker.loss.facts import COMPOSE_SERVICE, Container, Facts, Model, ModelService

WATCHES_SOME_SINCE = (2, 40)  # 2.26 brings up every service, whichever are to be watched


def services_named(command: Command) -> tuple[str, ...]:
    """The services that the operands name: of `run` the first word, of `scale` those before =."""
    match command.path[-1]:
        case "run":
            return command.operands[:1]
        case "scale":
            return tuple(word.partition("=")[0] for word in command.operands)
        case _:
            return command.operands


def starts_nothing(command: Command) -> bool:
    """Does the command stop short of starting what it makes?"""
    return command.path[-1] == "create" or command.on("no-start")


def touches_nothing(command: Command) -> bool:
    """Does the command only start what there is?"""
    return command.path[-1] in {"start", "restart"}


def of_v1(facts: Facts) -> bool:
    """Is it Compose v1 that runs?"""
    return facts.compose is not None and facts.compose[0] == 1


def watches_only(command: Command) -> bool:
    """Does `watch` leave what runs as it is, until a file changes?"""
    return command.path[-1] == "watch" and command.on("no-up")


def belongs(container: Container, model: Model) -> bool:
    """Is it a container of the project's services, and none that `run` made?"""
    return container.project == model.project and not one_off(container)


def service_of(container: Container) -> str:
    """The service that the container says it is of."""
    return container.labels.get(COMPOSE_SERVICE, "")


def means_all(command: Command, facts: Facts) -> bool:
    """Does Compose read all services of its files, whichever are named?"""
    if command.path[-1] == "watch":
        return (facts.compose or ()) < WATCHES_SOME_SINCE
    return command.path[-1] == "restart"


def selected(command: Command, model: Model, facts: Facts) -> frozenset[str]:
    """The services that the command brings up: those named with what they depend on, or all that
    are enabled."""
    named = services_named(command)
    if not named or (command.path[-1] == "watch" and means_all(command, facts)):
        return enabled(model)
    if command.on("no-deps") or (of_v1(facts) and command.path[-1] == "scale"):
        return frozenset(named)
    return with_dependencies(named, model)


def enabled(model: Model) -> frozenset[str]:
    """The services that v1 brings up when none is named: v1 tells a hash for those alone."""
    hashed = frozenset(one.name for one in model.definitions if one.hash)
    return hashed or frozenset(model.services)


def with_dependencies(names: Iterable[str], model: Model) -> frozenset[str]:
    """The services and all that they depend on."""
    found: dict[str, None] = {}
    queue = list(names)
    while queue:
        name = queue.pop()
        service = model.definition(name)
        if name not in found and service is not None:
            found[name] = None
            queue += service.depends
    return frozenset(found)


def with_dependents(names: Iterable[str], model: Model) -> frozenset[str]:
    """The services and all that are restarted with them."""
    found = set(names)
    while more := {
        one.name
        for one in model.definitions
        if one.name not in found and not found.isdisjoint(one.restarts_with)
    }:
        found |= more
    return frozenset(found)


def scale(service: ModelService, command: Command) -> int:
    """How many containers of a service the command aims at."""
    asked = command.operands if command.path[-1] == "scale" else command.values("scale")
    for word in reversed(asked):
        name, _, number = word.partition("=")
        if name == service.name and number.isdecimal():
            return int(number)
    return service.replicas
