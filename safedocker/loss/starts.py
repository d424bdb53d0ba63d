"""Which containers of a Compose project start or end, and which host paths that makes. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Sequence

from safedocker.command.parse import Command
from safedocker.loss.compose import one_off
from safedocker.loss.facts import Container, Facts, HostPath, Model, ModelService
from safedocker.loss.recreate import Change, change
from safedocker.loss.services import (
    belongs,
    of_v1,
    scale,
    selected,
    service_of,
    services_named,
    starts_nothing,
    touches_nothing,
    watches_only,
    with_dependents,
)

_VOLUME_NAME = re.compile("[a-zA-Z0-9][a-zA-Z0-9_.-]+")  # moby volume/local
RELATIVE_SINCE = (2, 27)  # `run -v ./x:/y` is an error on 2.26, and a path on 2.40


def concerned(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers whose mounts decide what goes, or what a start would make."""
    gone = change(command, facts).gone
    return tuple({c.id: c for c in (*gone, *started(command, facts))}.values())


def started(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers that are there, stay, and are started: their own mounts count.

    `start` and `restart` without a model give all that could be meant.
    Source: docker/compose pkg/compose/start.go, restart.go; compose/project.py (1.29).
    """
    if starts_nothing(command) or watches_only(command):
        return ()
    restarts = command.path[-1] == "restart"
    candidates = [
        c
        for c in facts.containers
        if c.project is not None and not one_off(c) and (restarts or not c.running)
    ]
    model = facts.model
    if model is None:
        return tuple(candidates) if touches_nothing(command) else ()
    gone = {container.id for container in change(command, facts).gone}
    chosen = _started_services(command, facts, model)
    return tuple(
        c
        for c in candidates
        if c.id not in gone
        and c.project == model.project
        and (chosen is None or service_of(c) in chosen)
    )


def _started_services(command: Command, facts: Facts, model: Model) -> frozenset[str] | None:
    """The services whose containers are started; None: all of the project."""
    first = of_v1(facts)
    named = services_named(command)
    match command.path[-1]:
        case "start" | "restart" if model.by_name_only or first:
            return frozenset(named) if named else None
        case "restart" if named:
            if command.on("no-deps"):
                return frozenset(named)
            return with_dependents(named, model)
        case "run":
            return selected(command, model, facts) - set(named)
        case _:
            return selected(command, model, facts)


def new_paths(command: Command, facts: Facts) -> tuple[HostPath, ...]:
    """The host paths that containers which the command makes would have made."""
    model = facts.model
    if model is None or starts_nothing(command) or touches_nothing(command):
        return ()
    if watches_only(command):
        return ()
    chosen = selected(command, model, facts)
    changed = change(command, facts)
    paths: list[HostPath] = []
    for service in model.definitions:
        if service.name not in chosen:
            continue
        runs = _is_run(service, command)
        if runs or _gets_new_container(service, command, facts, model, changed):
            paths += _run_paths(command, service, facts) if runs else service.binds
    return tuple(paths)


def needed_paths(command: Command, facts: Facts) -> tuple[HostPath, ...]:
    """The host paths without which a container that the command makes can't be made."""
    model = facts.model
    if model is None or touches_nothing(command) or watches_only(command):
        return ()
    chosen = selected(command, model, facts)
    changed = change(command, facts)
    return tuple(
        HostPath(source, "", service.name)
        for service in model.definitions
        if service.name in chosen
        and (
            _is_run(service, command)
            or _gets_new_container(service, command, facts, model, changed)
        )
        for source in service.needs
    )


def unbroken(command: Command, facts: Facts, broken: Collection[str]) -> Callable[[str], bool]:
    """Given the services whose containers can't be made, tell of a service whether its containers
    are started all the same.

    v2 makes all containers before it starts one, but for that of `run`, which comes last; v1 goes
    on with the services that do not depend on a broken one.
    """
    model = facts.model
    if model is None or not broken:
        return lambda _service: True
    if not of_v1(facts):
        own = set(services_named(command)) if command.path[-1] == "run" else set()
        return lambda service: set(broken) <= own and service not in broken
    failing = set(broken)
    while more := {
        one.name
        for one in model.definitions
        if one.name not in failing and not failing.isdisjoint(one.depends)
    }:
        failing |= more
    return lambda service: service not in failing


def _is_run(service: ModelService, command: Command) -> bool:
    return command.path[-1] == "run" and service.name in services_named(command)


def _gets_new_container(
    service: ModelService, command: Command, facts: Facts, model: Model, changed: Change
) -> bool:
    if any(service_of(c) == service.name for c in changed.replaced):
        return True
    gone = {container.id for container in changed.removed}
    there = [
        c
        for c in facts.containers
        if belongs(c, model) and service_of(c) == service.name and c.id not in gone
    ]
    return len(there) < scale(service, command)


def _run_paths(command: Command, service: ModelService, facts: Facts) -> list[HostPath]:
    """The host paths of a one-off container: the service's, and those of `run -v`.

    Of two paths for one target 2.26 mounts the first and 2.40 the last (seen); v1 takes one or the
    other, by the chance of a set's order (compose/service.py 1.29.2), and so all of them count.
    """
    version = facts.compose or ()
    by_target: dict[str, list[HostPath]] = {}
    for path in service.binds:
        by_target.setdefault(path.target, []).append(path)
    for spec in command.values("volume"):
        source, colon, rest = spec.partition(":")
        target = rest.partition(":")[0] if colon else source
        asked = source_of_run(source, facts.folder, version) if colon else ""
        if asked is None:
            return []  # the container can't be made
        known = by_target.setdefault(target, [])
        if not asked:
            if not of_v1(facts):
                known.clear()  # a volume takes the place
            continue
        told = HostPath(asked, target, service.name, service.image)
        if version >= _LAST_BIND_WINS:
            known[:] = [told]
        elif of_v1(facts) or version >= _FIRST_BIND_WON or not known:
            known.append(told)
    return [path for paths in by_target.values() for path in paths]


_FIRST_BIND_WON = (2, 27)  # 2.26 was seen to mount the first; from here to 2.40 nobody looked
_LAST_BIND_WINS = (2, 40)


def ended(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The running containers that `stop` and `kill` end; without a model all that could be meant.

    v2's `kill` means one-off containers too, no other does. With --remove-orphans it means those
    of every service. Source: docker/compose pkg/compose/kill.go, stop.go; compose/project.py.
    """
    first = of_v1(facts)
    kills = command.path[-1] == "kill" and not first
    model = facts.model
    orphans = kills and (command.on("remove-orphans") or facts.remove_orphans)
    found = []
    for container in facts.containers:
        if container.project is None or not container.running:
            continue
        if one_off(container) and not kills:
            continue
        if model is not None:
            service = service_of(container)
            if container.project != model.project:
                continue
            if command.operands and service not in command.operands:
                continue
            if not (orphans or model.by_name_only or service in model.services):
                continue
        found.append(container)
    return tuple(found)


def source_of_run(source: str, folder: str, version: Sequence[int]) -> str | None:
    """The host path that `run -v SOURCE:...` stands for, "" for a volume, None for an error.

    Seen on 1.29, 2.26 and 2.40: only 2.40 takes a relative path, and takes ~ for a name; v1 takes
    `./x` for the volume x.
    """
    if source.startswith("/"):
        return posixpath.normpath(source)
    if tuple(version) >= RELATIVE_SINCE and source.startswith((".", "~")):
        return posixpath.normpath(posixpath.join(folder, source))
    if tuple(version[:1]) == (1,):
        source = posixpath.normpath(source)
    return "" if _VOLUME_NAME.fullmatch(source) else None
