"""What Compose's up, create, run, scale, watch, start and restart replace, drop and make, in the
meaning of that Compose version. Pure; the model and the dry run were asked of Compose itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from safedocker.command.parse import Clients, Command, parse
from safedocker.loss import converge
from safedocker.loss.compose import DRY_RUN_SINCE, PLAIN, one_off
from safedocker.loss.facts import (
    COMPOSE_HASH,
    Container,
    DryRun,
    Facts,
    Model,
    ModelService,
)
from safedocker.loss.removal import users_of, without
from safedocker.loss.services import (
    WATCHES_SOME_SINCE,
    belongs,
    of_v1,
    selected,
    service_of,
    services_named,
    touches_nothing,
    watches_only,
)

ASKS_SINCE = (2, 32)  # from here on Compose offers to remove a volume whose definition changed
# From here on the containers that have such a volume by volumes_from are removed for it too.
# Source: docker-semantics 9.4.
HEIRS_TOO_SINCE = (5, 4)


def rehearsal(command: Command, versions: Clients) -> tuple[str, ...] | None:
    """The words that make Compose rehearse what the command replaces and drops; else None.

    It is always `up --no-start` or `create`: a dry run of what starts containers waits for their
    health, and fails where they are not really started (seen on 2.26 and 2.40). Given only when
    reading the words as Compose will proves that they are a rehearsal.
    """
    if versions.compose is None or versions.compose < DRY_RUN_SINCE:
        return None
    told = any(word.startswith("--dry-run") for word in (*command.prefix, *command.rest))
    if told or "--" in command.prefix:
        return None
    verb = command.path[-1]
    if verb in {"up", "create"}:
        rest: tuple[str, ...] = command.rest
    else:
        orphans = "true" if verb == "run" and command.on("remove-orphans") else "false"
        rest = (f"--remove-orphans={orphans}", *_scales(command))
        if command.on("no-deps"):
            rest = (*rest, "--no-deps")
        # 2.26 brings up all services, whichever are watched.
        all_of_them = verb == "watch" and versions.compose < WATCHES_SOME_SINCE
        rest = (*rest, "--", *(() if all_of_them else services_named(command)))
    added = ("--dry-run",) if verb == "create" else ("--dry-run", "--no-start")
    words = (*command.prefix, PLAIN, "create" if verb == "create" else "up", *added, *rest)
    (reading,) = parse(command.program, words, versions)
    safe = reading.on("dry-run") and not reading.error and not reading.helps
    if verb in {"up", "create"}:
        safe = safe and reading.operands == command.operands
    if verb != "create":
        safe = safe and reading.on("no-start")
    return words if safe and reading.path == ("compose", words[len(command.prefix) + 1]) else None


def _scales(command: Command) -> Iterable[str]:
    return (f"--scale={word}" for word in command.operands if command.path[-1] == "scale")


@dataclass(frozen=True)
class Change:
    """What a command does to the containers and volumes of a project."""

    replaced: tuple[Container, ...] = ()  # removed, and made anew
    removed: tuple[Container, ...] = ()
    carried: frozenset[str] = frozenset()  # anonymous volumes that are handed on
    volumes: tuple[str, ...] = ()  # named ones, removed and made anew
    offered: tuple[str, ...] = ()  # those whose removal Compose offers, and nobody can say yes

    @property
    def gone(self) -> tuple[Container, ...]:
        """All containers that are no more, the removed ones first."""
        return self.removed + self.replaced


def change(command: Command, facts: Facts) -> Change:
    """Given a command of the `up` family and the facts, return what it replaces and drops.

    Source: docker/compose pkg/compose/convergence.go (2.26, 2.40); compose/project.py up (1.29).
    """
    model = facts.model
    if model is None or touches_nothing(command) or watches_only(command):
        return Change()
    if of_v1(facts):
        replaced, removed = converge.plan(command, facts, model)
    elif model.dry_run is not None:
        replaced, removed = _rehearsed(command, facts, model, model.dry_run)
    else:
        replaced, removed = _worst(command, facts, model)
    replaced = _with_renewed(command, facts, model, replaced, removed)
    diverged = diverged_volumes(facts, model)
    if not diverged:
        return _handing_on(command, facts, model, Change(replaced, removed))
    if not (command.on("yes") or facts.can_answer):
        bare = _handing_on(command, facts, model, Change(replaced, removed))
        return Change(bare.replaced, bare.removed, bare.carried, (), diverged)
    emptied = _using(diverged, command, facts, model)
    removed = _union(removed, emptied)
    replaced = without(_union(replaced, _referring(emptied, command, facts, model)), removed)
    remaining = without(facts.containers, removed)
    volumes = tuple(name for name in diverged if not users_of(name, remaining))
    return _handing_on(command, facts, model, Change(replaced, removed, volumes=volumes))


def _rehearsed(
    command: Command, facts: Facts, model: Model, dry_run: DryRun
) -> tuple[tuple[Container, ...], tuple[Container, ...]]:
    """What the rehearsal names, but for what only its stand-in would do: `run` leaves the
    containers of its own service alone, and `watch` does not replace those of dependencies."""
    of_project = [c for c in facts.containers if c.project == model.project]
    replaced = [c for c in of_project if c.name in dry_run.replaced]
    removed = [c for c in of_project if c.name in dry_run.containers]
    named = services_named(command)
    match command.path[-1]:
        case "run":
            replaced = [c for c in replaced if service_of(c) not in named]
            removed = [c for c in removed if service_of(c) not in named or one_off(c)]
        case "watch" if named:
            replaced = [c for c in replaced if service_of(c) in named]
        case _:
            pass
    return without(replaced, removed), tuple(removed)


def _worst(
    command: Command, facts: Facts, model: Model
) -> tuple[tuple[Container, ...], tuple[Container, ...]]:
    """Without a rehearsal every container of a selected service may be replaced, and with
    --remove-orphans every other one of the project removed."""
    chosen = selected(command, model, facts)
    mine = [c for c in facts.containers if belongs(c, model)]
    replaced = [c for c in mine if service_of(c) in chosen]
    if command.on("no-recreate"):
        replaced = []
    orphans = command.on("remove-orphans") or (
        facts.remove_orphans and command.path[-1] in {"up", "create"}
    )
    known = {*model.services, *model.disabled}
    removed = [
        c
        for c in facts.containers
        if orphans
        and c.project == model.project
        and (service_of(c) not in known or (one_off(c) and not c.running))
    ]
    return without(replaced, removed), tuple(removed)


def _with_renewed(
    command: Command,
    facts: Facts,
    model: Model,
    replaced: tuple[Container, ...],
    removed: tuple[Container, ...],
) -> tuple[Container, ...]:
    """Also the containers whose image is built or pulled first, or whenever a watched file changes:
    whether that gives another image, and so another container, nobody can say before."""
    if command.on("no-recreate"):
        return replaced
    pulls = command.value("pull") in {"always", "build"}
    chosen = selected(command, model, facts)
    own = services_named(command) if command.path[-1] == "run" else ()
    renewed = {
        one.name
        for one in model.definitions
        if one.name in chosen
        and one.name not in own
        and (
            (one.built and (command.on("build") or pulls or one.renewed or _watches(command, one)))
            or (not one.built and (pulls or one.renewed))
        )
    }
    if of_v1(facts):
        renewed = {
            one.name
            for one in model.definitions
            if one.name in chosen and one.built and command.on("build")
        }
    more = [c for c in facts.containers if belongs(c, model) and service_of(c) in renewed]
    return without(_union(replaced, more), removed)


def _watches(command: Command, service: ModelService) -> bool:
    return service.watched and (command.path[-1] == "watch" or command.on("watch"))


def diverged_volumes(facts: Facts, model: Model) -> tuple[str, ...]:
    """The volumes whose definition is not that of the files any more, so that Compose offers to
    remove them. Where it says yes to itself it asks nothing, and is seen to make them."""
    if facts.compose is None or facts.compose < ASKS_SINCE or model.dry_run is None:
        return ()
    made = (name for name in model.dry_run.made if name in facts.volumes)
    return tuple(dict.fromkeys((*model.dry_run.asked, *made)))


def unsure(command: Command, facts: Facts) -> tuple[str, ...]:
    """What only a rehearsal could have told, as gaps: whether a volume's definition changed."""
    model = facts.model
    if model is None or model.dry_run is not None or touches_nothing(command):
        return ()
    if facts.compose is not None and facts.compose < ASKS_SINCE:
        return ()
    if watches_only(command) or not (command.on("yes") or facts.can_answer):
        return ()
    return tuple(
        f"whether Compose would make the volume {volume.name} anew"
        for volume in model.volumes
        if not volume.external
        and volume.name in facts.volumes
        and COMPOSE_HASH in facts.volumes[volume.name].labels
    )


def _using(
    diverged: Collection[str], command: Command, facts: Facts, model: Model
) -> tuple[Container, ...]:
    """The containers that Compose removes to remove a volume: those of the services that mount it,
    and those of the whole project when none of the services brought up does.

    Source: docker/compose pkg/compose/create.go removeDivergedVolume (2.40): an empty list of
    services means all.
    """
    found: list[Container] = []
    chosen = selected(command, model, facts)
    if command.path[-1] == "run":
        chosen = chosen - set(services_named(command))
    for volume in model.volumes:
        if volume.name not in diverged:
            continue
        users = {s.name for s in model.definitions if volume.key in s.volumes and s.name in chosen}
        if facts.compose is not None and facts.compose >= HEIRS_TOO_SINCE:
            users |= {s.name for s in model.definitions if not users.isdisjoint(s.shares)}
        found += [
            c
            for c in facts.containers
            if belongs(c, model) and (not users or service_of(c) in users)
        ]
    return _union((), found)


def _referring(
    emptied: Iterable[Container], command: Command, facts: Facts, model: Model
) -> tuple[Container, ...]:
    """The containers that refer to a removed one by its id, and so are replaced."""
    names = {service_of(container) for container in emptied}
    while more := {
        s.name for s in model.definitions if s.name not in names and not names.isdisjoint(s.shares)
    }:
        names |= more
    names &= selected(command, model, facts)
    return tuple(c for c in facts.containers if belongs(c, model) and service_of(c) in names)


def _handing_on(command: Command, facts: Facts, model: Model, change_: Change) -> Change:
    """The change with the anonymous volumes that a new container takes over from the old one.

    v1 and v2 hand on what the service, or the image, declares at the same place, unless the service
    mounts something else there. `scale`, the dependencies of v2's `run`, and -V hand on nothing.
    Sources: docker/compose pkg/compose/create.go buildContainerMountOptions, scale.go, run.go;
    compose/service.py get_container_data_volumes (1.29).
    """
    if command.on("renew-anon-volumes") or command.path[-1] in {"scale", "run"}:
        return change_
    carried = set()
    for container in change_.replaced:
        service = model.definition(service_of(container))
        if service is None:
            continue
        of_image = facts.image_volumes.get(service.image, frozenset()) - service.taken
        for mount in container.mounts:
            if mount.volume and mount.target in service.anonymous | of_image:
                carried.add(mount.volume)
    return Change(
        change_.replaced, change_.removed, frozenset(carried), change_.volumes, change_.offered
    )


def images_of_interest(command: Command, facts: Facts) -> tuple[str, ...]:
    """The images whose declared volumes decide whether an anonymous volume is handed on."""
    model = facts.model
    if model is None:
        return ()
    found = []
    for container in change(command, facts).replaced:
        service = model.definition(service_of(container))
        if service is not None and any(
            m.volume and m.anonymous is not False and m.target not in service.anonymous
            for m in container.mounts
        ):
            found.append(service.image)
    return tuple(dict.fromkeys(found))


def has_history(facts: Facts, model: Model) -> bool:
    """Is there anything of the project that a command could replace or drop?"""
    if any(container.project == model.project for container in facts.containers):
        return True
    held = (facts.volumes.get(volume.name) for volume in model.volumes)
    return any(volume is not None and COMPOSE_HASH in volume.labels for volume in held)


def _union(first: Iterable[Container], second: Iterable[Container]) -> tuple[Container, ...]:
    return tuple({container.id: container for container in (*first, *second)}.values())
