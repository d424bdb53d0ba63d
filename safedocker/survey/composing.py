"""Part of step 2: what Compose makes of its files, and what its own rehearsal says, for commands
that bring a project up, start it or end it. The rules are loss/recreate.py's and loss/starts.py's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from safedocker.edge import process, stdin
from safedocker.errors import WouldFail
from safedocker.loss import recreate, services, starts
from safedocker.loss.facts import Container, Facts, HostPath, Model
from safedocker.loss.forms import Reach
from safedocker.survey import hostpaths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safedocker.command.parse import Command
    from safedocker.edge.engine import Engine
    from safedocker.shim import Settled

# What a dry run fails with where the command itself fails too, before it has changed anything.
# Others may be the dry run's own trouble: a registry that only the engine can reach.
_FAILS_ITSELF = re.compile(
    r"no such service|no service selected|external volume .* not found|could not be found"
    r"|network \S+ not found|are incompatible|cannot combine|cannot be combined|invalid"
    r"|can't be used|must be unique|no configuration file|unknown flag"
)


def of_up(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with the model, and with what the rehearsal says where anything is there that could
    be replaced. Raise WouldFail where Compose would refuse by itself."""
    command, versions, client = settled.command, settled.versions, settled.client
    starts_only = services.touches_nothing(command)
    if starts_only and not _any_missing(starts.started(command, facts), engine):
        return facts  # whichever of them is meant: nothing is missing
    named = () if services.means_all(command, facts) else services.services_named(command)
    model = client.project(command, versions, named, or_name=starts_only)
    if model is None:
        return _gap(facts)
    if not (starts_only or services.watches_only(command)):
        _check_external(command, facts, model)
    if services.of_v1(facts):
        _check_services(services.services_named(command), model)
        gated = any(one.gated for one in model.definitions)  # a hash tells that it is enabled, too
        if not starts_only and (gated or recreate.has_history(facts, model)):
            model = _hashed(model, client.hashes(command))
        return replace(facts, model=model)
    if command.path[-1] == "restart" and not model.by_name_only:
        _check_services(command.operands, model)
    facts = replace(
        facts,
        model=model,
        folder=process.logical_directory(),
        can_answer=not client.streams.stdin and _may_say_yes(facts, model),
    )
    if starts_only or services.watches_only(command) or not recreate.has_history(facts, model):
        return facts
    return _rehearsed(settled, facts, model)


def _may_say_yes(facts: Facts, model: Model) -> bool:
    """May stdin answer yes to one of Compose's questions about changed volumes?"""
    yes = stdin.yes(("compose", "up"), facts.compose)
    return stdin.says(yes, max(1, len(model.volumes))) is not stdin.Says.NO


def _rehearsed(settled: Settled, facts: Facts, model: Model) -> Facts:
    words = recreate.rehearsal(settled.command, settled.versions)
    if words is None:
        return facts
    said, fault = settled.client.rehearse(words)
    if not fault:
        return replace(facts, model=replace(model, dry_run=said))
    if not (said.containers or said.replaced) and _FAILS_ITSELF.search(fault):
        raise WouldFail(fault)
    return facts  # then all that could be replaced counts


def of_end(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with the model, where a container that removes itself could be meant."""
    command = settled.command
    if not any(engine.inspect(one).auto_remove for one in starts.ended(command, facts)):
        return facts
    model = settled.client.project(command, settled.versions, command.operands, or_name=True)
    return _gap(facts) if model is None else replace(facts, model=model)


def with_paths(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts, with their containers inspected, and the host paths that the command would have
    made and the image volumes that are handed on."""
    command = settled.command
    images = recreate.images_of_interest(command, facts)
    built = services.of_v1(facts)
    declared = {name: engine.image_volumes(name, built=built) for name in images}
    facts = replace(facts, image_volumes=declared)
    new = starts.new_paths(command, facts)
    needed = starts.needed_paths(command, facts)
    missing = hostpaths.look([path.source for path in needed], engine) if needed else {}
    broken = {path.of for path in needed if missing[path.source]}
    starts_all_the_same = starts.unbroken(command, facts, broken)
    paths = [path for path in new if starts_all_the_same(path.of)]
    if not engine.host.looks:  # what is there already was started once, with all that it mounts
        return replace(facts, paths=tuple(paths), unlooked=True)
    for container in starts.started(command, facts):
        if starts_all_the_same(services.service_of(container)):
            paths += container.binds
    return _looked_at(paths, engine, facts)


def _looked_at(paths: list[HostPath], engine: Engine, facts: Facts) -> Facts:
    missing = hostpaths.look([path.source for path in paths], engine)
    return hostpaths.described(replace(facts, paths=tuple(paths), missing=missing), engine)


def _any_missing(containers: Iterable[Container], engine: Engine) -> bool:
    if not engine.host.looks:
        return False
    inspected = [engine.inspect(one) for one in containers]
    sources = [path.source for one in inspected for path in one.binds]
    return any(gone is not False for gone in hostpaths.look(sources, engine).values())


def _check_services(named: Iterable[str], model: Model) -> None:
    if not set(named) <= set(model.services):
        raise WouldFail("Compose knows no such service")


def _check_external(command: Command, facts: Facts, model: Model) -> None:
    """Raise WouldFail where an external volume is missing, which is what Compose looks for first.

    v1's `scale` alone does not. Source: docker/compose pkg/compose/create.go ensureVolume;
    docker-compose 1.29.2 compose/volume.py initialize.
    """
    if services.of_v1(facts) and command.path[-1] == "scale":
        return
    for volume in model.volumes:
        if volume.external and volume.name not in facts.volumes:
            raise WouldFail(f"external volume {volume.name} not found")


def _hashed(model: Model, hashes: dict[str, str]) -> Model:
    definitions = tuple(replace(one, hash=hashes.get(one.name, "")) for one in model.definitions)
    return replace(model, definitions=definitions)


def _gap(facts: Facts) -> Facts:
    return replace(facts, gaps=(*facts.gaps, "what Compose makes of its files"))


def of_compose(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with what Compose says, for the two reaches that are this module's."""
    if settled.form.reach is Reach.PROJECT_UP:
        return of_up(settled, engine, facts)
    return of_end(settled, engine, facts)
