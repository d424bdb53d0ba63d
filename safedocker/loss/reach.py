"""What a form takes from an engine in a given state: Command + Form + Facts -> Plan. Pure.

Which containers and volumes a Compose command means is compose.py's; what is done about a loss is
policy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from safedocker.command.parse import Command
from safedocker.loss import compose, operands
from safedocker.loss.facts import (
    ANONYMOUS,
    HELPER,
    Container,
    Facts,
    Holds,
    Look,
    Volume,
)
from safedocker.loss.forms import Form, Reach
from safedocker.loss.plan import Kind, Loss, Plan, Stays

STABLE_DATES = 26  # the first engine whose volumes were seen to keep their date of creation
ANONYMOUS_PRUNE_API = (1, 42)  # from here on `volume prune` spares named volumes (engine 23.0)


def reach(command: Command, form: Form, facts: Facts) -> Plan:
    """Given a form that matched and what the engine holds, return every loss, by name.

    The losses' sizes and contents are not known yet: `describe` adds them after a look inside.
    Containers that `to_inspect` names must have been inspected.
    """
    match form.reach:
        case Reach.NAMED:
            plan = _named(command, form, facts)
        case Reach.UNUSED_VOLUMES:
            plan = _unused_volumes(command, form, facts, gone=())
        case Reach.UNUSED_VOLUMES_AFTER_CONTAINERS:
            gone = prunable_containers(command, facts)
            plan = _unused_volumes(command, form, facts, gone=gone)
        case Reach.ANONYMOUS_OF_PROJECT:
            plan = _anonymous_of(command, form, facts, compose.removed_by_rm(command, facts))
        case Reach.PROJECT_VOLUMES:
            plan = _project_volumes(command, form, facts)
        case _:
            assert_never(form.reach)
    return replace(plan, gaps=facts.gaps + plan.gaps)


def to_inspect(command: Command, form: Form, facts: Facts) -> tuple[Container, ...]:
    """The containers whose anonymous mounts decide what this form takes."""
    if form.reach is Reach.NAMED:
        return named_containers(command, facts)
    if form.reach is Reach.ANONYMOUS_OF_PROJECT:
        return compose.removed_by_rm(command, facts)
    if form.reach is Reach.PROJECT_VOLUMES:
        return compose.removed_by_down(command, facts).with_volumes
    return ()


def describe(plan: Plan, looks: Mapping[str, Look]) -> Plan:
    """The plan with what a look inside said of each loss; a volume not looked at stays UNKNOWN."""
    losses = []
    for loss in plan.losses:
        look = looks.get(loss.name)
        if look is not None:
            loss = replace(
                loss,
                holds=look.holds,
                size=look.size,
                at_least=look.at_least,
                content=look.content,
                last_write=look.last_write,
            )
        losses.append(loss)
    return replace(plan, losses=tuple(losses))


def grown(before: Plan, after: Plan) -> bool:
    """Would the command take something now that it would not have taken before?

    A volume is told from a later one of the same name by its date of creation, where the engine
    keeps that.
    """
    stable = after.engine is not None and _major(after.engine.version) >= STABLE_DATES
    seen = {(loss.name, loss.volume.created_at if stable else "") for loss in before.losses}
    now = {(loss.name, loss.volume.created_at if stable else "") for loss in after.losses}
    return not now <= seen or not set(after.gaps) <= set(before.gaps)


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0


def named_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers a removing command removes: those its operands address and its flags allow."""
    found: dict[str, Container] = {}
    for target in operands.targets(command, facts.docker):
        if target.collection != "containers":
            continue
        container = operands.find_container(target.name, facts.containers)
        if container is not None and (command.on("force") or not container.running):
            found[container.id] = container
    return tuple(found.values())


def prunable_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers a `system prune` removes before it looks for unused volumes."""
    return tuple(
        c for c in facts.containers if not c.running and _passes(_filters(command, facts), c.labels)
    )


def _filters(command: Command, facts: Facts) -> tuple[tuple[str, str], ...]:
    """The prune filters in force: the command's own, then the configuration's that this client
    sends. The command's label supersedes the configuration's opposite of it.

    Source: docker/cli cli/command/utils.go PruneFilters.
    """
    given = [_split(value) for value in command.values("filter")]
    merged = list(given)
    for key, value in facts.prune_filters:
        opposite = {"label": "label!", "label!": "label"}.get(key)
        if (opposite, value) not in given:
            merged.append((key, value))
    return tuple(merged)


def _split(filter_: str) -> tuple[str, str]:
    """`label!=x` is the key `label!` with the value `x`, as Docker's own option type splits it."""
    key, _, value = filter_.partition("=")
    return key.strip().lower(), value.strip()


def _passes(filters: Iterable[tuple[str, str]], labels: Mapping[str, str]) -> bool:
    """Do the label filters select something with these labels?

    Every `label=` must match; a thing is spared by `label!=` only when it carries *all* the labels
    so named (docker/cli#6918; engines 20.10 to 29.7).
    """
    wanted = [value for key, value in filters if key == "label"]
    spared = [value for key, value in filters if key == "label!"]
    if not all(_has(labels, value) for value in wanted):
        return False
    return not spared or not all(_has(labels, value) for value in spared)


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _named(command: Command, form: Form, facts: Facts) -> Plan:
    """What operands address: volumes, and containers, with their anonymous volumes under -v."""
    removed = named_containers(command, facts)
    remaining = _without(facts.containers, removed)
    losses: dict[str, Loss] = {}
    stays: list[Stays] = []
    gaps: tuple[str, ...] = ()
    if command.path == ("container", "rm") and command.on("volumes"):
        anonymous, stays, gaps = _anonymous_losses(facts, removed, removed)
        losses = {loss.name: loss for loss in anonymous}
        stays += _named_mounts(removed)
    for target in operands.targets(command, facts.docker):
        volume = facts.volumes.get(target.name)
        if target.collection != "volumes" or volume is None:
            continue  # Docker says so itself, and goes on with the others
        users = users_of(volume.name, remaining)
        if users:
            stays.append(
                Stays(volume.name, f"in use by {_names(users)}: Docker refuses to remove it")
            )
        else:
            losses[volume.name] = _loss(volume, "named in the command", facts)
    return _plan(command, form, facts, losses.values(), stays, stops=removed, gaps=gaps)


def _unused_volumes(
    command: Command, form: Form, facts: Facts, gone: tuple[Container, ...]
) -> Plan:
    """The prune rule: unused, local, without driver options, selected by the filters, and, from
    API 1.42 on, anonymous unless `all` is asked for.

    Source: moby volume/service/service.go Prune, daemon/volumes.go (the API switch).
    """
    filters = _filters(command, facts)
    everything = (
        facts.api < ANONYMOUS_PRUNE_API
        or (command.on("all") and form.reach is Reach.UNUSED_VOLUMES)
        or any(key == "all" and value.lower() in {"1", "true", "t"} for key, value in filters)
    )
    gone_ids = {container.id for container in gone}
    remaining = [c for c in facts.containers if c.id not in gone_ids]
    used = {m.volume for c in remaining if HELPER not in c.labels for m in c.mounts if m.volume}
    losses = []
    stays = []
    for volume in facts.volumes.values():
        if volume.name in used:
            continue
        if volume.driver != "local" or volume.options:
            stays.append(Stays(volume.name, "a prune spares volumes with options or other drivers"))
        elif not _passes(filters, volume.labels):
            stays.append(Stays(volume.name, "spared by the filters"))
        elif not everything and ANONYMOUS not in volume.labels:
            stays.append(Stays(volume.name, "a named volume; this prune takes anonymous ones only"))
        else:
            users = users_of(volume.name, gone)
            why = f"unused once {_names(users)} is removed" if users else "unused"
            losses.append(_loss(volume, why, facts))
    return _plan(command, form, facts, losses, stays)


def _anonymous_of(
    command: Command, form: Form, facts: Facts, removed: tuple[Container, ...]
) -> Plan:
    losses, stays, gaps = _anonymous_losses(facts, removed, removed)
    stays += _named_mounts(removed)
    return _plan(command, form, facts, losses, stays, stops=removed, gaps=gaps)


def _project_volumes(command: Command, form: Form, facts: Facts) -> Plan:
    removed = compose.removed_by_down(command, facts)
    losses, stays, gaps = _anonymous_losses(facts, removed.with_volumes, removed.all)
    remaining = _without(facts.containers, removed.all)
    by_name = {loss.name: loss for loss in losses}
    for candidate in compose.volumes_of_down(command, facts):
        volume = facts.volumes.get(candidate.name)
        if volume is None:
            continue
        if candidate.external:
            stays.append(Stays(candidate.name, "external: Compose leaves it alone"))
            continue
        users = users_of(candidate.name, remaining)
        if users:
            stays.append(Stays(candidate.name, f"in use by {_names(users)}"))
            continue
        by_name[candidate.name] = _loss(volume, candidate.why, facts)
    stays += _bind_mounts(removed.all)
    project = facts.model.project if facts.model else None
    plan = _plan(
        command, form, facts, by_name.values(), stays, stops=removed.all, gaps=gaps, project=project
    )
    return replace(plan, safer=compose.safer_down(command))


def _anonymous_losses(
    facts: Facts, with_volumes: tuple[Container, ...], removed: tuple[Container, ...]
) -> tuple[list[Loss], list[Stays], tuple[str, ...]]:
    """The anonymous volumes that go with containers removed with their volumes, unless a container
    that stays, or one removed without its volumes, refers to them at that moment."""
    remaining = _without(facts.containers, removed)
    losses: dict[str, Loss] = {}
    stays = []
    gaps = []
    for container in with_volumes:
        if not container.inspected:
            gaps.append(f"container {container.name} could not be inspected")
        for mount in container.mounts:
            if not mount.volume or mount.anonymous is False:
                continue
            volume = facts.volumes.get(mount.volume)
            if volume is None:
                continue
            users = users_of(mount.volume, remaining)
            if users:
                stays.append(Stays(mount.volume, f"anonymous, but in use by {_names(users)}"))
            else:
                why = f"anonymous volume of {container.name} at {mount.target}"
                loss = _loss(volume, why, facts, anonymous=True)
                losses[volume.name] = replace(loss, disposable=container.auto_remove is True)
    return list(losses.values()), stays, tuple(gaps)


def users_of(volume: str, containers: Iterable[Container]) -> tuple[Container, ...]:
    """The containers, running or not, that mount the volume. A helper of another run of ours is
    gone in a moment, so it keeps nothing alive."""
    return tuple(
        c
        for c in containers
        if HELPER not in c.labels and any(m.volume == volume for m in c.mounts)
    )


def _without(
    containers: Iterable[Container], removed: Iterable[Container]
) -> tuple[Container, ...]:
    gone = {container.id for container in removed}
    return tuple(c for c in containers if c.id not in gone)


def _named_mounts(containers: Iterable[Container]) -> list[Stays]:
    return [
        Stays(mount.volume, f"a named volume of {container.name}: -v takes anonymous ones only")
        for container in containers
        for mount in container.mounts
        if mount.volume and mount.anonymous is False
    ]


def _bind_mounts(containers: Iterable[Container]) -> list[Stays]:
    return [
        Stays(mount.source, f"bind mount of {container.name}: a folder of the host")
        for container in containers
        for mount in container.mounts
        if mount.kind == "bind"
    ]


def _loss(volume: Volume, why: str, facts: Facts, *, anonymous: bool | None = None) -> Loss:
    if anonymous is None:
        anonymous = ANONYMOUS in volume.labels
    return Loss(
        kind=Kind.ANONYMOUS_VOLUME if anonymous else Kind.NAMED_VOLUME,
        name=volume.name,
        volume=volume,
        why=why,
        used_by=tuple(c.name for c in users_of(volume.name, facts.containers)),
        project=volume.project,
        holds=Holds.ELSEWHERE if volume.elsewhere else Holds.UNKNOWN,
    )


def _plan(
    command: Command,
    form: Form,
    facts: Facts,
    losses: Iterable[Loss],
    stays: Iterable[Stays],
    *,
    stops: Iterable[Container] = (),
    gaps: tuple[str, ...] = (),
    project: str | None = None,
) -> Plan:
    ordered = tuple(sorted(losses, key=lambda loss: (loss.kind.value, loss.name)))
    lost = {loss.name for loss in ordered}
    return Plan(
        command=command,
        form=form,
        engine=facts.engine,
        losses=ordered,
        stays=tuple(dict.fromkeys(stays)),
        gaps=gaps,
        stops=tuple(c.id for c in stops if c.running and any(m.volume in lost for m in c.mounts)),
        project=project,
    )


def _names(containers: Iterable[Container]) -> str:
    return ", ".join(container.name for container in containers)
