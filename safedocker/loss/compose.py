"""What belongs to a Compose project: which containers and volumes its `down` and `rm` mean, in the
meaning of that Compose version. Pure; the model and the dry run were asked of Compose itself."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from safedocker.command.parse import Clients, Command, parse
from safedocker.loss.facts import COMPOSE_ONEOFF, COMPOSE_SERVICE, Container, DryRun, Facts, Model
from safedocker.loss.removal import Removed

PLAIN = "--progress=plain"  # a rehearsal with the person's --progress=quiet would say nothing
DRY_RUN_SINCE = (2, 26)  # the first Compose whose --dry-run was seen to change nothing


@dataclass(frozen=True)
class Candidate:
    """A volume that `down -v` will try to remove, unless something still uses it."""

    name: str
    external: bool
    why: str


def removed_by_down(command: Command, facts: Facts) -> Removed:
    """The containers `compose down` removes. Orphans go without their anonymous volumes.

    v1 takes one-off containers too; v2 only with --remove-orphans. Where Compose's own dry run is
    at hand, it decides. Source: docker-semantics 3.4; docker/compose pkg/compose/down.go.
    """
    model = facts.model
    if model is None:
        return Removed((), ())
    if waits(command):
        every = _of_project(facts, model)
        waited = [
            c for c in every if c.running and c.labels.get(COMPOSE_SERVICE) in command.operands
        ]
        return Removed((), every if waited else ())
    known = set(model.services) | set(model.disabled)
    orphans_too = command.on("remove-orphans") or facts.remove_orphans
    with_volumes: list[Container] = []
    without_volumes: list[Container] = []
    rehearsed = model.dry_run is not None
    for container in facts.containers if rehearsed else _of_project(facts, model):
        service = container.labels.get(COMPOSE_SERVICE, "")
        orphan = not model.by_name_only and service not in known
        if model.dry_run is not None:
            goes = container.name in model.dry_run.containers
            # A service named is none, though the profiles in force leave it out of the model.
            orphan = orphan and orphans_too and service not in command.operands
        elif orphan:
            goes = orphans_too
        elif one_off(container) and not first_generation(facts):
            goes = orphans_too and _selected(service, command, model)
        else:
            goes = _selected(service, command, model)
        if goes:
            (without_volumes if orphan else with_volumes).append(container)
    return Removed(tuple(with_volumes), tuple(without_volumes))


def volumes_of_down(command: Command, facts: Facts) -> tuple[Candidate, ...]:
    """The named volumes `compose down -v` tries to remove, external ones marked.

    With a file loaded Compose goes by the names in the model and never looks at labels; by name
    only it goes by the project label. Source: docker-semantics 3.4, rules 4 and 10.
    """
    model = facts.model
    if model is None:
        return ()
    externals = tuple(Candidate(v.name, True, "external") for v in model.volumes if v.external)
    if model.dry_run is not None and (command.operands or model.by_name_only):
        return _listed(model.dry_run) + externals  # narrowed to services, or found by label
    if model.by_name_only:
        return tuple(
            Candidate(volume.name, False, f"labelled with project {model.project}")
            for volume in facts.volumes.values()
            if volume.project == model.project
        )
    labelled = tuple(
        Candidate(volume.name, False, f"labelled with project {model.project}")
        for volume in facts.volumes.values()
        if volume.project == model.project and command.operands
    )
    declared = tuple(
        Candidate(v.name, False, f"volume {v.key} of project {model.project}")
        for v in model.volumes
        if not v.external
    )
    return (_listed(model.dry_run) if model.dry_run else labelled) + declared + externals


def images_of_down(command: Command, facts: Facts) -> tuple[str, ...]:
    """The names of images that `compose down --rmi` tries to remove: those of the services, or,
    with `local`, those that Compose named. Source: docker/compose pkg/compose/image_pruner.go;
    compose/service.py remove_image (1.29.2).
    """
    which, model = command.value("rmi"), facts.model
    if which not in {"all", "local"} or model is None:
        return ()
    if model.dry_run is not None:
        return model.dry_run.images
    return tuple(
        one.image
        for one in model.definitions
        if one.image
        and (
            which == "all"
            or one.image in {f"{model.project}-{one.name}", f"{model.project}_{one.name}"}
        )
    )


def _listed(dry_run: DryRun) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(name, False, "Compose's own dry run removes it") for name in dry_run.volumes
    )


def removed_by_rm(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers `compose rm` removes: stopped ones, or with --stop all, of the services named.

    v1 takes one-off containers too. Source: docker/compose pkg/compose/remove.go;
    compose/cli/main.py rm (1.29.2).
    """
    model = facts.model
    if model is None:
        return ()
    if model.by_name_only and model.dry_run is not None:
        return tuple(c for c in facts.containers if c.name in model.dry_run.containers)
    return tuple(
        container
        for container in _of_project(facts, model)
        if (command.on("stop") or not container.running)
        and (first_generation(facts) or not one_off(container))
        and _selected(container.labels.get(COMPOSE_SERVICE, ""), command, model)
    )


def one_off(container: Container) -> bool:
    """Was the container made by `compose run`?"""
    return container.labels.get(COMPOSE_ONEOFF, "").lower() == "true"


def rehearsal(command: Command, versions: Clients) -> tuple[str, ...] | None:
    """The words that make Compose rehearse the command with its own --dry-run; else None.

    Given only when this Compose has one, and when reading the words as it will proves that the
    added flag wins: a rehearsal that were none would do what we are here to prevent.
    """
    if versions.compose is None or versions.compose < DRY_RUN_SINCE or waits(command):
        return None
    if any(word.startswith("--dry-run") for word in (*command.prefix, *command.rest)):
        return None
    words = (*command.prefix, PLAIN, command.path[-1], "--dry-run", *command.rest)
    (reading,) = parse(command.program, words, versions)
    same = reading.path == command.path and reading.operands == command.operands
    return words if same and reading.on("dry-run") and not reading.error else None


def waits(command: Command) -> bool:
    """Does it remove the project only when a service has ended, which nothing may hasten?"""
    return command.path[-1] == "wait"


def safer_down(command: Command) -> str:
    """The same command line without the volumes, as a person would type it."""
    kept = []
    for name, value in command.flags:
        if name == "volumes":
            continue
        if value == "true":
            kept.append(f"--{name}")
        elif value != "false":
            kept += [f"--{name}", value]
    return shlex.join((command.program, *command.prefix, "down", *kept, *command.operands))


def _of_project(facts: Facts, model: Model) -> tuple[Container, ...]:
    return tuple(c for c in facts.containers if c.project == model.project)


def _selected(service: str, command: Command, model: Model) -> bool:
    """Does the command mean this service? Without a rehearsal nothing tells which others `down`
    takes with those named (2.26 by name only takes all for a typing error): then it is the worst.
    """
    if command.operands and command.path[-1] == "down":
        return True
    if command.operands:
        return service in command.operands
    return model.by_name_only or service in model.services


def first_generation(facts: Facts) -> bool:
    """Is it Compose v1?"""
    return facts.compose is not None and facts.compose[0] == 1
