"""What a prune takes: which containers and volumes are unused. Pure.

What its filters select is filters.py's, which images are unused images.py's.
"""

from __future__ import annotations

from safedocker.command.parse import Command
from safedocker.errors import WouldFail
from safedocker.loss import filters, images
from safedocker.loss.facts import ANONYMOUS, HELPER, Container, Facts
from safedocker.loss.filters import Filters
from safedocker.loss.plan import Kind, Loss, Stays
from safedocker.loss.removal import Gone, Removed, gone_with, names, users_of, volume_loss, without

ANONYMOUS_PRUNE_API = (1, 42)  # from here on `volume prune` spares named volumes (engine 23.0)
# The keys that each step of a prune knows; another one makes it fail. Seen on 20.10, 26.1, 28.5.
_LABELS = frozenset(("label", "label!"))
CONTAINER_KEYS = _LABELS | {"until"}


def stopped_containers(command: Command, facts: Facts) -> tuple[Container, ...]:
    """The containers that a prune removes. Raise WouldFail where the engine refuses its filters."""
    chosen = filters.in_force(command, facts)
    filters.check(chosen, CONTAINER_KEYS)
    before = filters.until(chosen, facts)
    return tuple(
        container
        for container in facts.containers
        if not container.running
        and (before is None or container.created < before)
        and filters.passes(chosen, container.labels)
    )


def stopped_and_unused(command: Command, facts: Facts) -> Gone:
    """What container prune and system prune take, step by step as the client goes: containers,
    then under --volumes the volumes that are unused by then, then images and build cache.

    Source: docker/cli cli/command/system/prune.go; all but the last on engines 20.10 to 28.5.
    """
    chosen = filters.in_force(command, facts)
    stopped = stopped_containers(command, facts)
    gone = gone_with(facts, Removed((), stopped))
    if command.path != ("system", "prune"):
        return gone
    losses, stays = list(gone.losses), list(gone.stays)
    if command.on("volumes"):
        if any(key == "until" for key, _ in filters.given(command)):
            raise WouldFail("the until filter is not supported with --volumes")
        if any(key == "until" for key, _ in chosen):
            return gone  # the configuration's: containers are gone before the volumes' step fails
        unused = _unused_volumes(chosen, facts, stopped, everything=_old_api(facts))
        taken = {loss.name for loss in unused.losses}
        kept = [one for one in losses if one.kind is Kind.LAYER or one.name not in taken]
        losses = [*unused.losses, *kept]
        stays += unused.stays
    losses += images.unused(facts, stopped, chosen, filters.until(chosen, facts), command.on("all"))
    losses += images.build_cache()
    return Gone(tuple(losses), tuple(stays), gone.gaps)


def unused_volumes(command: Command, facts: Facts) -> Gone:
    """What `volume prune` takes. Raise WouldFail where the engine refuses its filters."""
    chosen = filters.in_force(command, facts)
    old = _old_api(facts) and facts.api > (0, 0)
    if old and command.value("all") is not None:
        raise WouldFail("--all requires API version 1.42")
    knows_all = facts.engine is not None and facts.engine.api >= ANONYMOUS_PRUNE_API
    filters.check(chosen, _LABELS | {"all"} if knows_all else _LABELS)
    said = {value for key, value in chosen if key == "all"}
    if len(said) > 1 or (said and command.on("all")):
        raise WouldFail("the filter all is given twice, or besides --all")
    if any(value not in filters.TRUE | filters.FALSE for value in said):
        raise WouldFail("the filter all is true or false")
    everything = (
        _old_api(facts) or command.on("all") or any(value in filters.TRUE for value in said)
    )
    return _unused_volumes(chosen, facts, (), everything=everything)


def _old_api(facts: Facts) -> bool:
    return facts.api < ANONYMOUS_PRUNE_API


def _unused_volumes(
    chosen: Filters, facts: Facts, gone: tuple[Container, ...], *, everything: bool
) -> Gone:
    """The prune rule: unused, local, without driver options, selected by the filters, and, from
    API 1.42 on, anonymous unless `all` is asked for.

    Source: moby volume/service/service.go Prune, daemon/volumes.go (the API switch).
    """
    remaining = without(facts.containers, gone)
    used = {m.volume for c in remaining if HELPER not in c.labels for m in c.mounts if m.held}
    losses: list[Loss] = []
    stays: list[Stays] = []
    for volume in facts.volumes.values():
        if volume.name in used:
            continue
        if volume.driver != "local" or volume.options:
            stays.append(Stays(volume.name, "a prune spares volumes with options or other drivers"))
        elif not filters.passes(chosen, volume.labels):
            stays.append(Stays(volume.name, "spared by the filters"))
        elif not everything and ANONYMOUS not in volume.labels:
            stays.append(Stays(volume.name, "a named volume; this prune takes anonymous ones only"))
        else:
            users = users_of(volume.name, gone)
            why = f"unused once {names(users)} is removed" if users else "unused"
            losses.append(volume_loss(volume, why, facts))
    return Gone(tuple(losses), tuple(stays), ())
