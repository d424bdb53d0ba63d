"""What a form takes from an engine in a given state: Command + Form + Facts -> Plan. Pure.

Which containers and volumes a Compose command means is compose.py's and recreate.py's; what goes
with a removed container is removal.py's; services, secrets and the like are swarm.py's. What is
done about a loss is policy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from safedocker.command.parse import Command
from safedocker.errors import WouldFail
from safedocker.loss import (
    compose,
    contexts,
    copying,
    images,
    nearby,
    operands,
    prune,
    recreate,
    signals,
    starts,
    swarm,
)
from safedocker.loss.facts import TASK, Container, Facts, Holds, HostPath, Look
from safedocker.loss.forms import Form, Reach
from safedocker.loss.plan import Kind, Loss, Plan, Stays
from safedocker.loss.removal import (
    Gone,
    Removed,
    bind_mounts,
    gone_with,
    named_mounts,
    names,
    self_removing,
    users_of,
    volume_loss,
    without,
)

STABLE_DATES = 26  # the first engine whose volumes were seen to keep their date of creation


def reach(command: Command, form: Form, facts: Facts) -> Plan:
    """Given a form that matched and what the engine holds, return every loss, by kind and name.

    The losses' sizes and contents are not known yet: `describe` adds them after a look inside.
    Containers that `to_inspect` names must have been inspected.
    """
    match form.reach:
        case Reach.NAMED:
            plan = _named(command, form, facts)
        case Reach.UNUSED_VOLUMES:
            plan = _of_gone(command, form, facts, prune.unused_volumes(command, facts))
        case Reach.STOPPED_CONTAINERS | Reach.STOPPED_CONTAINERS_THEN_VOLUMES:
            plan = _of_gone(command, form, facts, prune.stopped_and_unused(command, facts))
        case Reach.IMAGES:
            plan = _plan(command, form, facts, images.removed(command, facts), ())
        case Reach.BUILD_CACHE:
            plan = _plan(command, form, facts, images.build_cache(), ())
        case Reach.ENDED_CONTAINERS:
            ended = ended_containers(command, facts)
            gone = gone_with(facts, Removed(ended), disposable=True)
            plan = _of_gone(command, form, facts, gone, stops=ended)
        case Reach.HOST_PATHS | Reach.HOST_PATHS_OF_CONTAINERS:
            plan = _plan(command, form, facts, missing_paths(facts), (), gaps=unseen_paths(facts))
        case Reach.STACKS | Reach.SURPLUS_TASKS | Reach.SWARM:
            plan = _of_swarm(command, form, facts)
        case Reach.CONTEXTS:
            plan = _plan(command, form, facts, contexts.removed(command, facts), ())
        case Reach.OVERWRITTEN:
            written = copying.losses(facts.overwritten)
            made = missing_paths(facts)
            plan = _plan(command, form, facts, (*made, *written), (), gaps=unseen_paths(facts))
        case Reach.PROJECT_RM:
            plan = _project_rm(command, form, facts)
        case Reach.PROJECT_DOWN:
            plan = _project_down(command, form, facts)
        case Reach.PROJECT_UP:
            plan = _project_up(command, form, facts)
        case Reach.PROJECT_ENDED:
            plan = _project_ended(command, form, facts)
        case _:
            assert_never(form.reach)
    return replace(plan, gaps=facts.gaps + plan.gaps, disputes=disputes(plan, facts))


def to_inspect(command: Command, form: Form, facts: Facts) -> tuple[Container, ...]:
    """The containers whose anonymous mounts, or whose --rm, decide what this form takes."""
    match form.reach:
        case Reach.NAMED:
            tasks = swarm.taken(command, form, facts).removed.all
            return (*named_containers(command, facts), *tasks)
        case Reach.STACKS | Reach.SURPLUS_TASKS | Reach.SWARM:
            return swarm.taken(command, form, facts).removed.all
        case Reach.STOPPED_CONTAINERS | Reach.STOPPED_CONTAINERS_THEN_VOLUMES:
            return prune.stopped_containers(command, facts)
        case Reach.ENDED_CONTAINERS | Reach.HOST_PATHS_OF_CONTAINERS:
            return addressed_containers(command, facts)
        case Reach.PROJECT_RM:
            return compose.removed_by_rm(command, facts)
        case Reach.PROJECT_DOWN:
            return compose.removed_by_down(command, facts).all
        case Reach.PROJECT_UP:
            return starts.concerned(command, facts)
        case Reach.PROJECT_ENDED:
            return starts.ended(command, facts)
        case _:
            return ()


def describe(plan: Plan, looks: Mapping[str, Look]) -> Plan:
    """The plan with what a look inside said of each loss, by its name or its id; one that was not
    looked at stays UNKNOWN."""
    losses = []
    for loss in plan.losses:
        look = looks.get(loss.id or loss.name)
        if look is not None:
            beside = tuple(one for one in loss.beside if _is_empty(looks.get(one.name)))
            loss = replace(loss.seen(look), beside=beside)
        losses.append(loss)
    return replace(plan, losses=tuple(losses))


def _is_empty(look: Look | None) -> bool:
    """Is there nothing in it but folders? One is there for a volume that is mounted in it."""
    return look is not None and (look.holds is Holds.EMPTY or look.size == 0)


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
    for name in operands.containers(command, facts.docker):
        container = operands.find_container(name, facts.containers)
        if container is not None:
            found[container.id] = container
    return tuple(found.values())


def started_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers that start or restart starts: `start` leaves a running one alone and refuses a
    paused one, `restart` takes either (seen on 20.10 to 28.5)."""
    again = command.path[-1] == "restart"
    return tuple(
        container
        for container in addressed_containers(command, facts)
        if (again or not container.running) and container.state not in {"removing", "dead"}
    )


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
    if command.path[-1] == "kill" and signals.ends_nothing(command.value("signal") or "KILL"):
        return ()
    return tuple(
        container
        for container in addressed_containers(command, facts)
        if container.running and container.auto_remove is not False
    )


def _named(command: Command, form: Form, facts: Facts) -> Plan:
    """What operands address: containers with what goes with them, volumes, plugins, and what a
    swarm keeps."""
    removed = named_containers(command, facts)
    takes_volumes = command.path == ("container", "rm") and command.on("volumes")
    gone = gone_with(facts, Removed(removed) if takes_volumes else Removed((), removed))
    taken = swarm.taken(command, form, facts)
    of_swarm = swarm.losses(taken, facts)
    told = (*of_swarm.losses, *gone.losses, *named_plugins(command, facts))
    losses = {(loss.kind, loss.name): loss for loss in told}
    stays = [*gone.stays, *of_swarm.stays]
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
            # Only an experimental engine is asked to remove a checkpoint.
            lost = replace(lost, certain=command.path != operands.CHECKPOINT)
            losses = {key: loss for key, loss in losses.items() if key[1] != volume.name}
            losses[lost.kind, lost.name] = lost
    stops = (*removed, *taken.removed.with_volumes)
    gaps = gone.gaps + of_swarm.gaps
    return _plan(command, form, facts, losses.values(), stays, stops=stops, gaps=gaps)


def _of_swarm(command: Command, form: Form, facts: Facts) -> Plan:
    taken = swarm.taken(command, form, facts)
    return _of_gone(
        command, form, facts, swarm.losses(taken, facts), stops=taken.removed.with_volumes
    )


def named_plugins(command: Command, facts: Facts) -> list[Loss]:
    """The plugins that operands address. One that is enabled goes only by force.

    Source: moby plugin/backend_linux.go Remove.
    """
    found: dict[str, Loss] = {}
    for target in operands.targets(command, facts.docker):
        if target.collection != "plugins":
            continue
        plugin = operands.find_plugin(target.name, facts.plugins)
        if plugin is None or (plugin.enabled and not command.on("force")):
            continue
        drivers = {plugin.name, plugin.name.removesuffix(":latest")}
        users = tuple(v.name for v in facts.volumes.values() if v.driver in drivers)
        why = "its volumes are out of reach without it" if users else "named in the command"
        found[plugin.id] = Loss(Kind.PLUGIN, plugin.name, None, why, id=plugin.id, used_by=users)
    return list(found.values())


def missing_paths(facts: Facts) -> list[Loss]:
    """The host paths that Docker would make, as losses: nothing goes, but what the container
    writes, and what a person meant to give it, are two different places from then on."""
    found: dict[str, list[HostPath]] = {}
    for path in facts.paths:
        if facts.missing.get(path.source) or facts.unlooked:
            found.setdefault(path.source, []).append(path)
    losses = []
    for source, mounts in found.items():
        first = mounts[0]
        of = f"{first.of} mounts it" if first.of else "it is to be mounted"
        users = tuple(dict.fromkeys(path.of for path in mounts if path.of))
        in_image = any(path.file for path in mounts)
        why = f"{of} at {first.target}" + (", a file in the image" if in_image else "")
        if first.near:
            why += f"; did you mean {' or '.join(first.near)}?"
        file = in_image or nearby.looks_like_file(source, first.target)
        losses.append(
            Loss(
                Kind.BIND_SOURCE,
                source,
                None,
                why,
                used_by=users,
                file=file,
                certain=not facts.unlooked,
            )
        )
    return losses


def unseen_paths(facts: Facts) -> tuple[str, ...]:
    """The host paths of which nobody could say whether they are there, as gaps."""
    if facts.unlooked:
        return ()
    unseen = (path.source for path in facts.paths if facts.missing.get(path.source) is None)
    return tuple(
        f"whether {source} is there on the engine's host" for source in dict.fromkeys(unseen)
    )


def _project_rm(command: Command, form: Form, facts: Facts) -> Plan:
    removed = compose.removed_by_rm(command, facts)
    takes_volumes = command.on("volumes")
    gone = gone_with(facts, Removed(removed) if takes_volumes else self_removing(removed))
    stays = named_mounts(removed) if takes_volumes else []
    project = facts.model.project if facts.model else None
    plan = _of_gone(command, form, facts, gone, project=project, stops=removed)
    return replace(plan, stays=plan.stays + tuple(dict.fromkeys(stays)))


def _project_down(command: Command, form: Form, facts: Facts) -> Plan:
    if command.value("rmi") not in {None, "", "all", "local"}:
        raise WouldFail("--rmi takes all or local")
    removed = compose.removed_by_down(command, facts)
    takes_volumes = command.on("volumes")
    without_volumes = removed.without_volumes if takes_volumes else removed.all
    ending = self_removing(without_volumes)
    with_volumes = (*ending.with_volumes, *(removed.with_volumes if takes_volumes else ()))
    gone = gone_with(facts, Removed(with_volumes, ending.without_volumes))
    losses = {(loss.kind, loss.name): loss for loss in gone.losses}
    stays = list(gone.stays)
    remaining = without(facts.containers, removed.all)
    listed: set[str] = set()
    stuck = False  # v1 gives up at the first volume in use, in the order of a file we don't read
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
            stuck = True
            continue
        lost = volume_loss(volume, candidate.why, facts)
        losses = {key: loss for key, loss in losses.items() if key[1] != volume.name}
        losses[lost.kind, lost.name] = lost
        listed.add(lost.name)
    if stuck and compose.first_generation(facts):
        losses = {
            key: replace(loss, certain=loss.name not in listed) for key, loss in losses.items()
        }
    stays += bind_mounts(removed.all)
    project = facts.model.project if facts.model else None
    dropped = images.of_down(compose.images_of_down(command, facts), facts, removed.all)
    plan = _plan(
        command,
        form,
        facts,
        (*losses.values(), *dropped),
        stays,
        stops=() if compose.waits(command) else removed.all,
        gaps=gone.gaps,
        project=project,
    )
    return replace(plan, safer=compose.safer_down(command)) if takes_volumes else plan


def _project_up(command: Command, form: Form, facts: Facts) -> Plan:
    changed = recreate.change(command, facts)
    project = facts.model.project if facts.model else None
    gone = gone_with(facts, self_removing(changed.removed, also=changed.replaced))
    losses = [
        loss
        for loss in gone.losses
        if loss.kind is not Kind.DETACHED_VOLUME or loss.name not in changed.carried
    ]
    stays = list(gone.stays)
    stays += [Stays(name, "handed on to the new container") for name in sorted(changed.carried)]
    stays += [
        Stays(name, "its definition changed: Compose asks, and nobody is there to say yes")
        for name in changed.offered
    ]
    for name in changed.volumes:
        volume = facts.volumes.get(name)
        if volume is not None:
            why = "its definition in the Compose file changed: Compose makes it anew"
            losses.append(replace(volume_loss(volume, why, facts), kind=Kind.NAMED_VOLUME))
    losses += missing_paths(facts)
    gaps = (*gone.gaps, *unseen_paths(facts), *recreate.unsure(command, facts))
    return _plan(
        command, form, facts, losses, stays, stops=changed.gone, gaps=gaps, project=project
    )


def _project_ended(command: Command, form: Form, facts: Facts) -> Plan:
    if facts.model is None:
        return _plan(command, form, facts, (), ())
    if command.path[-1] == "kill" and signals.ends_nothing(command.value("signal") or "KILL"):
        return _plan(command, form, facts, (), (), project=facts.model.project)
    ended = tuple(one for one in starts.ended(command, facts) if one.auto_remove is not False)
    gone = gone_with(facts, Removed(ended), disposable=True)
    return _of_gone(command, form, facts, gone, stops=ended, project=facts.model.project)


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


def _stops_for_good(container: Container) -> bool:
    """Can nobody start it again? With --rm it is gone then; a swarm puts another in its place."""
    return container.auto_remove is True or TASK in container.labels


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
    held = [container for container in stops if container.running]
    return Plan(
        command=command,
        form=form,
        engine=facts.engine,
        losses=ordered,
        stays=tuple(dict.fromkeys(stays)),
        gaps=gaps,
        stops=tuple(c.id for c in held if not _stops_for_good(c)),
        pauses=tuple(c.id for c in held if _stops_for_good(c)),
        project=project,
    )
