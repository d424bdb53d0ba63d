"""Where data lies: asks the engine, this machine, the store and the audit. What is made of the
answers is loss/'s; nothing is changed."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from safedocker.backup.manifest import Part
from safedocker.command.parse import parse
from safedocker.edge import audit, clients, folder, process
from safedocker.errors import NoDocker, NoEngine, SafedockerError, WouldFail
from safedocker.loss import compose, orphans, places, storage
from safedocker.loss.facts import HELPER, Container, Facts, Holds, Look
from safedocker.loss.orphans import Origin, Trace
from safedocker.loss.places import Place, Sort
from safedocker.loss.plan import Kind
from safedocker.loss.storage import Saved, Spot, Storage
from safedocker.survey import downs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safedocker.backup.store import FolderStore
    from safedocker.edge.engine import Engine

SECONDS = (
    10.0  # for the volumes' contents; half of it for the layers, a third for the host's folders
)
INSPECT_SECONDS = 5.0
_AT_ONCE = 4
UNSEEN = Look(Holds.UNKNOWN, None, 0, "", None)


def facts_of(engine: Engine) -> Facts:
    """The engine's state, its containers inspected as far as there is time, and what the client at
    hand makes of it."""
    volumes, containers = engine.snapshot()
    deadline = time.monotonic() + INSPECT_SECONDS

    def inspected(container: Container) -> Container:
        if time.monotonic() > deadline:
            return container
        try:
            return engine.inspect(container)
        except NoEngine:  # it went away meanwhile
            return container

    own = [one for one in containers if HELPER not in one.labels]
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = tuple(pool.map(inspected, own))
    facts = Facts(engine.identity, engine.identity.api, volumes, seen, now=engine.now)
    return _as_the_client_sees(facts)


def bare_facts(engine: Engine) -> Facts:
    """The engine's state without a closer look: enough to see what no container has."""
    volumes, containers = engine.snapshot()
    return Facts(engine.identity, engine.identity.api, volumes, containers)


def _as_the_client_sees(facts: Facts) -> Facts:
    """The API that `docker` speaks here, its filters, and which Compose there is."""
    (command,) = parse("docker", ["volume", "prune"])
    try:
        real = clients.RealClient(
            process.find_real("docker", "", ""), "docker", process.Streams(())
        )
        versions = real.versions(command)
        facts = replace(
            facts,
            api=real.effective_api(command) or facts.api,
            docker=versions.docker,
            prune_filters=clients.prune_filters(command, versions, os.environ),
        )
    except (NoDocker, WouldFail):
        return facts
    if not any(map(compose.one_off, facts.containers)):
        return facts  # only for those the Composes differ
    try:
        version = real.versions(parse("docker", ["compose", "ps"])[0]).compose
    except WouldFail:
        version = _standalone()
    return replace(facts, compose=version)


def _standalone() -> tuple[int, ...] | None:
    """The version of docker-compose; None where there is none."""
    try:
        real = process.find_real("docker-compose", "", "")
    except NoDocker:
        return None
    client = clients.RealClient(real, "docker-compose", process.Streams(()))
    return client.versions(parse("docker-compose", ["ps"])[0]).compose


def look_at(
    engine: Engine, store: FolderStore, asked: str = "", seconds: float = SECONDS
) -> tuple[Storage, dict[places.Ending, places.Taken]]:
    """Every place on the engine, or those of a container, a service, a project; and what the prunes
    would take of the whole engine. Raise SafedockerError when there is nothing of that name."""
    facts = facts_of(engine)
    wanted = storage.chosen(facts.containers, asked) if asked else facts.containers
    left: tuple[Place, ...] = ()
    if not asked or not wanted or all(one.project == asked for one in wanted):
        left = tuple(
            place
            for place in places.unused(facts)
            if not asked or (place.volume and place.volume.project == asked)
        )
    if asked and not wanted and not left:
        raise SafedockerError(
            f"there is no container, service or project {asked}",
            "see which there are: docker ps --all",
        )
    found = [place for one in wanted for place in places.of_container(one, facts.volumes)]
    found += left
    told, late = downs.taken(engine, wanted, seconds if asked else seconds / 2)
    endings = places.Endings(facts, told)
    looks = _look_into(engine, found, seconds)
    saved = _saved(store, engine.identity.id)
    spots = tuple(
        Spot(place, look, saved.get(_kept_as(place)), endings.fates(place))
        for place, look in zip(found, looks, strict=True)
    )
    gaps = [f"a volume driver gave no answer: {warning}" for warning in engine.warnings]
    if any(not one.inspected for one in wanted):
        gaps.append("not every container was inspected in time: what `rm -v` takes is not known")
    gaps += [f"what Compose makes of {one}'s files: `down` is by its labels" for one in late]
    made = Storage(engine.identity, facts.api, spots, asked, gaps=tuple(gaps))
    if not asked:
        made = replace(made, weights=engine.weigh(seconds / 2))
    return made, {ending: endings.taken(ending) for ending in places.PRUNES}


def _look_into(engine: Engine, found: list[Place], seconds: float) -> list[Look]:
    volumes = {place.source: place.volume for place in found if place.volume}
    inside = engine.look(tuple(volumes.values()), seconds) if volumes else {}
    layers = {
        place.container.id
        for place in found
        if place.sort is Sort.LAYER and place.container and place.container.state != "created"
    }
    looked = engine.look_into_layers(tuple(layers), seconds / 2) if layers else {}
    sources = sorted({place.source for place in found if place.sort is Sort.BIND})
    here: dict[str, Look] = {}
    if not engine.identity.remote:  # a folder of another host can't be looked into from here
        each = seconds / 3 / max(1.0, len(sources) / _AT_ONCE)
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            each_look = pool.map(lambda path: folder.look_into(path, each), sources)
            here = dict(zip(sources, each_look, strict=True))

    def look(place: Place) -> Look:
        if place.volume:
            return inside.get(place.source, UNSEEN)
        if place.sort is Sort.LAYER and place.container:
            never = Look(Holds.EMPTY, 0, 0, "", None)
            return looked.get(place.container.id, never)
        return here.get(place.source, UNSEEN) if place.sort is Sort.BIND else UNSEEN

    return [look(place) for place in found]


def _kept_as(place: Place) -> tuple[str, str]:
    if place.sort is Sort.LAYER and place.container:
        return "layer", place.container.name
    return ("volume", place.source) if place.volume else ("", "")


def _saved(store: FolderStore, engine_id: str) -> dict[tuple[str, str], Saved]:
    """The last backup of each volume and each layer of this engine."""
    found: dict[tuple[str, str], Saved] = {}
    for part, saved, of in _parts(store):
        if of == engine_id and part.kind in {*_VOLUMES, Kind.LAYER}:
            found["layer" if part.kind is Kind.LAYER else "volume", part.name] = saved
    return found


_VOLUMES = (Kind.NAMED_VOLUME, Kind.ANONYMOUS_VOLUME)


def _parts(store: FolderStore) -> Iterable[tuple[Part, Saved, str]]:
    """Every part that is kept, its backup, and its engine's id; the oldest first."""
    for backup in sorted(store.list().backups, key=lambda one: one.taken_at):
        for part in backup.parts:
            if backup.engine is not None:
                yield part, Saved(backup.id, backup.taken_at), backup.engine.id


def traces(engine: Engine, store: FolderStore) -> orphans.Traces:
    """Where volumes come from, as far as anything tells; asked before anything is looked into, as
    looking leaves events of its own."""
    file = pathlib.Path(process.state_folder(), "audit.jsonl")
    backups = {
        part.name: Origin(
            Trace.BACKUP,
            part.used_by[0].container,
            part.used_by[0].image,
            part.used_by[0].target,
            at=saved.taken_at.timestamp(),
        )
        for part, saved, of in _parts(store)
        if of == engine.identity.id and part.kind in _VOLUMES and part.used_by
    }
    told = audit.traces(file, engine.identity.id)
    return orphans.Traces(told, backups, engine.traces.of_volumes(engine.now))


def images_for(engine: Engine, contents: Iterable[str]) -> dict[str, frozenset[str]]:
    """The images that are here and could hold one of these contents, and where they declare
    volumes."""
    likely = orphans.likely(engine.images(), contents)
    return {name: engine.image_volumes(name, built=False) for name in likely[:20]}
