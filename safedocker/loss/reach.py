"""What a form takes from an engine in a given state: Command + Form + Facts -> Plan. Pure.

Which containers and volumes a Compose command means is compose.py's and recreate.py's; what goes
with a removed container is removal.py's; services, secrets and the like are swarm.py's. What is
done about a loss is policy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from safedocker.command.parse import Command
from safedocker.loss import compose, operands
from safedocker.loss.facts import ANONYMOUS, HELPER, Container, Facts, HostPath, Look
from safedocker.loss.forms import Form, Reach
from safedocker.loss.plan import Kind, Loss, Plan, Stays
from safedocker.loss.removal import (
    Gone,
    Removed,
    bind_mounts,
    gone_with,
    named_mounts,
    names,
    users_of,
    volume_loss,
    without,
)

STABLE_DATES = 26  # the first engine whose volumes were seen to keep their date of creation
ANONYMOUS_PRUNE_API = (1, 42)  # from here on `volume prune` spares named volumes (engine 23.0)
# Signals that end no program, whatever it makes of the others. Source: signal(7).
MILD_SIGNALS = {"CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"}
MILD_NUMBERS = {17, 18, 19, 20, 21, 22, 23, 28}  # the same on Linux


def reach(command: Command, form: Form, facts: Facts) -> Plan:
    """Given a form that matched and what the engine holds, return every loss, by kind and name.

    The losses' sizes and contents are not known yet: `describe` adds them after a look inside.
    Containers that `to_inspect` names must have been inspected.
    """
    match form.reach:
        case Reach.NAMED:
            plan = _named(command, form, facts)
        case Reach.UNUSED_VOLUMES:
            plan = _plan(command, form, facts, *_unused_volumes(command, form, facts, gone=()))
        case Reach.STOPPED_CONTAINERS:
            plan = _stopped(command, form, facts)
        case Reach.STOPPED_CONTAINERS_THEN_VOLUMES:
            plan = _stopped_then_volumes(command, form, facts)
        case Reach.ENDED_CONTAINERS:
            gone = gone_with(facts, Removed(ended_containers(command, facts)), disposable=True)
            plan = _of_gone(command, form, facts, gone)
        case Reach.HOST_PATHS | Reach.HOST_PATHS_OF_CONTAINERS:
            plan = _plan(command, form, facts, missing_paths(facts), (), gaps=unseen_paths(facts))
        case Reach.PROJECT_RM:
            plan = _project_rm(command, form, facts)
        case Reach.PROJECT_DOWN:
            plan = _project_down(command, form, facts)
        case _:
            raise NotImplementedError(form.reach)
    return replace(plan, gaps=facts.gaps + plan.gaps, disputes=disputes(plan, facts))


def to_inspect(command: Command, form: Form, facts: Facts) -> tuple[Container, ...]:
    """The containers whose anonymous mounts, or whose --rm, decide what this form takes."""
    match form.reach:
        case Reach.NAMED:
            return named_containers(command, facts)
        case Reach.STOPPED_CONTAINERS | Reach.STOPPED_CONTAINERS_THEN_VOLUMES:
            return stopped_containers(command, facts)
        case Reach.ENDED_CONTAINERS | Reach.HOST_PATHS_OF_CONTAINERS:
            return addressed_containers(command, facts)
        case Reach.PROJECT_RM:
            return compose.removed_by_rm(command, facts)
        case Reach.PROJECT_DOWN:
            return compose.removed_by_down(command, facts).all
        case _:
            return ()


def describe(plan: Plan, looks: Mapping[str, Look]) -> Plan:
    """The plan with what a look inside said of each loss, by its name or its id; one that was not
    looked at stays UNKNOWN."""
    losses = []
    for loss in plan.losses:
        look = looks.get(loss.id or loss.name)
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
    keeps that; a container, a secret and the like by their ids.
    """
    stable = after.engine is not None and _major(after.engine.version) >= STABLE_DATES

    def identities(plan: Plan) -> set[tuple[Kind, str, str, str]]:
        return {
            (
                loss.kind,
                loss.name,
                loss.id,
                loss.volume.created_at if loss.volume and stable else "",
            )
            for loss in plan.losses
        }

    return (
        not identities(after) <= identities(before)
        or not set(after.gaps) <= set(before.gaps)
        or not set(after.disputes) <= set(before.disputes)
    )


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0


def disputes(plan: Plan, facts: Facts) -> tuple[str, ...]:
    """Where a container mounts a volume that would go, and the engine says that nobody uses it.

    An engine that lost count removes volumes in use (moby#37706, for-linux#1237). What a prune
    takes is by the engine's count alone, so there every volume is looked at.
    """
    if facts.dangling is None:
        return ()
    lost = {loss.name for loss in plan.volumes}
    return tuple(
        f"the engine says that nobody uses the volume {name}, and lists {names(users)} with it"
        for name in sorted(facts.volumes if plan.form.reach.prunes else lost)
        if name in facts.dangling and (users := users_of(name, facts.containers))
    )


def addressed_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers that the operands of stop, kill, start or restart stand for."""
    found: dict[str, Container] = {}
    for operand in command.operands:
        container = operands.find_container(operand.strip("/"), facts.containers)
        if container is not None:
            found[container.id] = container
    return tuple(found.values())


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


def ended_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The running containers that a stop or kill ends and that the engine removes then.

    Source: moby daemon/monitor.go: the exit of a container with AutoRemove removes it, and its
    anonymous volumes.
    """
    if command.path[-1] == "kill" and _is_mild(command.value("signal") or "KILL"):
        return ()
    return tuple(
        container
        for container in addressed_containers(command, facts)
        if container.running and container.auto_remove is not False
    )


def _is_mild(signal: str) -> bool:
    if signal.isdecimal():
        return int(signal) in MILD_NUMBERS
    return signal.upper().removeprefix("SIG") in MILD_SIGNALS


def stopped_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers that a prune removes."""
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
    """What operands address: containers with what goes with them, and volumes."""
    removed = named_containers(command, facts)
    takes_volumes = command.path == ("container", "rm") and command.on("volumes")
    gone = gone_with(facts, Removed(removed) if takes_volumes else Removed((), removed))
    losses = {(loss.kind, loss.name): loss for loss in gone.losses}
    stays = list(gone.stays)
    if takes_volumes:
        stays += named_mounts(removed)
    remaining = without(facts.containers, removed)
    for target in operands.targets(command, facts.docker):
        volume = facts.volumes.get(target.name)
        if target.collection != "volumes" or volume is None:
            continue  # Docker says so itself, and goes on with the others
        users = users_of(volume.name, remaining)
        if users:
            stays.append(
                Stays(volume.name, f"in use by {names(users)}: Docker refuses to remove it")
            )
        else:
            lost = volume_loss(volume, "named in the command", facts)
            losses = {key: loss for key, loss in losses.items() if key[1] != volume.name}
            losses[lost.kind, lost.name] = lost
    return _plan(command, form, facts, losses.values(), stays, stops=removed, gaps=gone.gaps)


def _stopped(command: Command, form: Form, facts: Facts) -> Plan:
    gone = gone_with(facts, Removed((), stopped_containers(command, facts)))
    return _of_gone(command, form, facts, gone)


def _stopped_then_volumes(command: Command, form: Form, facts: Facts) -> Plan:
    """Anonymous volumes of the containers are unused by then: they go, or are left behind."""
    stopped = stopped_containers(command, facts)
    gone = gone_with(facts, Removed((), stopped))
    losses, stays = _unused_volumes(command, form, facts, gone=stopped)
    taken = {loss.name for loss in losses}
    rest = [loss for loss in gone.losses if loss.name not in taken or loss.kind is Kind.LAYER]
    return _plan(command, form, facts, (*losses, *rest), (*gone.stays, *stays), gaps=gone.gaps)


def _unused_volumes(
    command: Command, form: Form, facts: Facts, gone: tuple[Container, ...]
) -> tuple[list[Loss], list[Stays]]:
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
    remaining = without(facts.containers, gone)
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
            why = f"unused once {names(users)} is removed" if users else "unused"
            losses.append(volume_loss(volume, why, facts))
    return losses, stays


def missing_paths(facts: Facts) -> list[Loss]:
    """The host paths that Docker would make, as losses: nothing goes, but what the container
    writes, and what a person meant to give it, are two different places from then on."""
    found: dict[str, list[HostPath]] = {}
    for path in facts.paths:
        if facts.missing.get(path.source):
            found.setdefault(path.source, []).append(path)
    losses = []
    for source, mounts in found.items():
        first = mounts[0]
        of = f"{first.of} mounts it" if first.of else "it is to be mounted"
        users = tuple(dict.fromkeys(path.of for path in mounts if path.of))
        why = f"{of} at {first.target}"
        losses.append(Loss(Kind.BIND_SOURCE, source, None, why, used_by=users))
    return losses


def unseen_paths(facts: Facts) -> tuple[str, ...]:
    """The host paths of which nobody could say whether they are there, as gaps."""
    unseen = (path.source for path in facts.paths if facts.missing.get(path.source) is None)
    return tuple(
        f"whether {source} is there on the engine's host" for source in dict.fromkeys(unseen)
    )


def _project_rm(command: Command, form: Form, facts: Facts) -> Plan:
    removed = compose.removed_by_rm(command, facts)
    takes_volumes = command.on("volumes")
    gone = gone_with(facts, Removed(removed) if takes_volumes else Removed((), removed))
    stays = named_mounts(removed) if takes_volumes else []
    project = facts.model.project if facts.model else None
    plan = _of_gone(command, form, facts, gone, project=project, stops=removed)
    return replace(plan, stays=plan.stays + tuple(dict.fromkeys(stays)))


def _project_down(command: Command, form: Form, facts: Facts) -> Plan:
    removed = compose.removed_by_down(command, facts)
    takes_volumes = command.on("volumes")
    gone = gone_with(facts, removed if takes_volumes else Removed((), removed.all))
    losses = {(loss.kind, loss.name): loss for loss in gone.losses}
    stays = list(gone.stays)
    remaining = without(facts.containers, removed.all)
    for candidate in compose.volumes_of_down(command, facts) if takes_volumes else ():
        volume = facts.volumes.get(candidate.name)
        if volume is None:
            continue
        if candidate.external:
            stays.append(Stays(candidate.name, "external: Compose leaves it alone"))
            continue
        users = users_of(candidate.name, remaining)
        if users:
            stays.append(Stays(candidate.name, f"in use by {names(users)}"))
            continue
        lost = volume_loss(volume, candidate.why, facts)
        losses = {key: loss for key, loss in losses.items() if key[1] != volume.name}
        losses[lost.kind, lost.name] = lost
    stays += bind_mounts(removed.all)
    project = facts.model.project if facts.model else None
    plan = _plan(
        command,
        form,
        facts,
        losses.values(),
        stays,
        stops=removed.all,
        gaps=gone.gaps,
        project=project,
    )
    return replace(plan, safer=compose.safer_down(command)) if takes_volumes else plan


def _of_gone(
    command: Command,
    form: Form,
    facts: Facts,
    gone: Gone,
    *,
    stops: Iterable[Container] = (),
    project: str | None = None,
) -> Plan:
    return _plan(
        command,
        form,
        facts,
        gone.losses,
        gone.stays,
        stops=stops,
        gaps=gone.gaps,
        project=project,
    )


_ORDER = {kind: place for place, kind in enumerate(Kind)}


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
    ordered = tuple(sorted(losses, key=lambda loss: (_ORDER[loss.kind], loss.name)))
    lost = {loss.name for loss in ordered if loss.kind.is_volume}
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
