"""Step 2: asks the engine, Compose and this machine what a form needs, and reckons what would go.

What is asked hangs on what the form reaches; what follows from the answers is loss/'s.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from safedocker.edge import clients, contexts, people
from safedocker.errors import WouldFail
from safedocker.loss import compose, operands, owners, reach, swarm
from safedocker.loss.facts import Facts
from safedocker.loss.forms import Reach
from safedocker.loss.plan import Kind
from safedocker.survey import composing, hostpaths

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Look
    from safedocker.loss.plan import Plan
    from safedocker.shim import Settled

LOOK_SECONDS = 3.0  # how long the preview may look into volumes, and as long into layers


def survey(settled: Settled, engine: Engine | None) -> Plan:
    """Given a command under a form, return what it would take as things stand. `engine` is None
    for a form that needs none.

    Raise WouldFail where the real command would fail by itself, NoEngine where the engine can't
    say.
    """
    if engine is None:
        return reach.reach(settled.command, settled.form, _without_engine(settled))
    plan = _survey_once(settled, engine)
    if plan.disputes:  # perhaps a container went between two questions: only a lasting one counts
        plan = _survey_once(settled, engine)
    return plan


def _survey_once(settled: Settled, engine: Engine) -> Plan:
    command, form = settled.command, settled.form
    facts = _of_form(settled, engine, _of_engine(settled, engine))
    wanted = {container.id for container in reach.to_inspect(command, form, facts)}
    inspected = tuple(engine.inspect(c) if c.id in wanted else c for c in facts.containers)
    facts = replace(facts, containers=inspected)
    if form.reach is Reach.HOST_PATHS_OF_CONTAINERS:
        facts = hostpaths.of_containers(settled, engine, facts)
    if form.reach is Reach.PROJECT_UP:
        facts = composing.with_paths(settled, engine, facts)
    plan = reach.reach(command, form, facts)
    if form.reach.prunes or any(loss.used_by for loss in plan.volumes):
        facts = replace(facts, dangling=engine.dangling())
        plan = replace(plan, disputes=reach.disputes(plan, facts))
    return _with_owners(plan, facts, engine)


def _with_owners(plan: Plan, facts: Facts, engine: Engine) -> Plan:
    """The plan with whose each thing is, on an engine that this machine's people share."""
    concerned = any(loss.volume or loss.kind is Kind.LAYER for loss in plan.losses)
    if not concerned or engine.identity.remote:
        return plan
    return owners.attach(plan, facts, people.signs(facts, owners.folders(facts)))


def _without_engine(settled: Settled) -> Facts:
    """What the client's configuration says, of the contexts that the command names."""
    command, docker = settled.command, settled.versions.docker
    named = contexts.named(command.operands, dict(command.globals), os.environ, docker)
    return Facts(None, (0, 0), {}, (), docker=docker, contexts=named)


_PRUNE_SINCE = (1, 25)  # docker/cli refuses to send one before it


def _check_api(settled: Settled, engine: Engine) -> None:
    """Raise WouldFail where the client is told to speak an API that the engine does not know yet:
    it refuses every request. Source: moby api/server/middleware/version.go."""
    told = re.fullmatch(r"(\d+)\.(\d+)", os.environ.get("DOCKER_API_VERSION", ""))
    first_generation = (settled.versions.compose or (2,))[0] == 1  # reads another variable
    if not told or first_generation:
        return
    version = int(told[1]), int(told[2])
    if version > engine.identity.api:
        raise WouldFail(f"client version {told[0]} is too new")
    if settled.command.path[-1:] == ("prune",) and version < _PRUNE_SINCE:
        raise WouldFail(f"a prune requires API version 1.25, and {told[0]} is spoken")


def _of_engine(settled: Settled, engine: Engine) -> Facts:
    _check_api(settled, engine)
    volumes, containers = engine.snapshot()
    containers = engine.tell_heirs(containers)
    return Facts(
        engine=engine.identity,
        api=engine.identity.api,
        volumes=volumes,
        containers=containers,
        now=engine.now,
        zone=engine.zone,
        docker=settled.versions.docker,
        compose=settled.versions.compose,
        prune_filters=clients.prune_filters(settled.command, settled.versions, os.environ),
        remove_orphans=clients.removes_orphans(settled.versions, os.environ),
        gaps=tuple(f"what a volume driver holds: {warning}" for warning in engine.warnings),
    )


def _of_form(settled: Settled, engine: Engine, facts: Facts) -> Facts:
    """The facts with what this form needs besides volumes and containers."""
    command, form, client, versions, _ = settled
    if form.reach.prunes:
        api = client.effective_api(command)
        if api is None:  # the oldest meaning takes the most
            gap = "which API version the client speaks with this engine"
            facts = replace(facts, api=(0, 0), gaps=(*facts.gaps, gap))
        else:
            facts = replace(facts, api=api)
    if swarm.concerns(command, form, versions.docker):
        facts = replace(facts, swarm=engine.swarm())
    targets = operands.targets(command, versions.docker)
    if any(target.collection == "plugins" for target in targets):
        facts = replace(facts, plugins=engine.plugins())
    of_down = form.reach is Reach.PROJECT_DOWN and command.value("rmi")
    if form.reach.replaceable or command.path == ("system", "prune") or of_down:
        facts = replace(facts, images=engine.images())
    if form.reach is Reach.HOST_PATHS:
        facts = hostpaths.of_run(settled, engine, facts)
    if form.reach is Reach.OVERWRITTEN:
        facts = hostpaths.of_copy(settled, engine, facts)
    if form.reach in {Reach.PROJECT_UP, Reach.PROJECT_ENDED}:
        facts = composing.of_compose(settled, engine, facts)
    elif form.reach.of_compose:
        model = client.model(command, versions, compose.rehearsal(command, versions))
        facts = replace(facts, model=model)
        if model is None:
            facts = replace(facts, gaps=(*facts.gaps, "what Compose makes of its files"))
    return facts


def look_inside(plan: Plan, engine: Engine | None, *, weigh: bool) -> Plan:
    """The plan with sizes and contents, as far as they can be seen in LOOK_SECONDS.

    `weigh`: also what containers hold outside their volumes, and what they leave behind.
    """
    if engine is None:
        return plan
    kinds = {Kind.NAMED_VOLUME, Kind.ANONYMOUS_VOLUME} | (
        {Kind.DETACHED_VOLUME} if weigh else set()
    )
    volumes = [loss.volume for loss in plan.losses if loss.volume and loss.kind in kinds]
    volumes += [one for loss in plan.losses if loss.kind in kinds for one in loss.beside]
    each = list({one.name: one for one in volumes}.values())
    looks: dict[str, Look] = engine.look(each, LOOK_SECONDS) if each else {}
    layers = [loss.id for loss in plan.losses if loss.kind is Kind.LAYER]
    if weigh and layers:
        looks |= engine.look_into_layers(layers, LOOK_SECONDS)
    return reach.describe(plan, looks)
