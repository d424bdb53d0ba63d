"""safedocker rescue: finds data that no container has any more, and gives it back."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import engine_here, open_store
from safedocker.cli.volumes import full_name, on_engine, opened
from safedocker.edge import process, terminal, wording_rescue, wording_volumes
from safedocker.edge.wording_rescue import Ended, Found
from safedocker.errors import NoEngine, SafedockerError

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Container, Volume
    from safedocker.loss.orphans import Traces

LOOK_SECONDS = 10.0
TABLES_SECONDS = 3.0
TABLES_UP_TO = 50 << 20  # bytes of a volume that is read for its SQLite tables


@click.command(short_help="Find data that no container has any more, and give it back.")
@click.argument("volume", metavar="[VOLUME|CONTAINER]", default="")
@click.option("--all", "everything", is_flag=True, help="Empty volumes too.")
@click.option("--name", "new", metavar="NEW", help="Copy the volume under this name, compared.")
@click.option("--attach", is_flag=True, help="Run the command that starts a container on it.")
@click.option("--remove", is_flag=True, help="Remove the volume, after a backup of it.")
@click.option("--back-up", is_flag=True, help="Back up what a stopped CONTAINER wrote.")
@click.option("--json", "as_json", is_flag=True, help="The list, for programs.")
@on_engine
def rescue(
    volume: str,
    everything: bool,
    new: str | None,
    attach: bool,
    remove: bool,
    back_up: bool,
    as_json: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Find the volumes that no container has, and stopped containers that hold data; with what is
    in them, which container, image and project they were of, and what can be done.

    Where they come from is told by safedocker's audit and backups, the engine's last events,
    labels, and at last the content. Tables are told of small SQLite files alone: others need their
    server.

    `safedocker rescue --name NEW VOLUME` gives a volume a name: the data is copied, compared, and
    the old one stays. `safedocker rescue --attach VOLUME` starts a container on it, of the image
    and at the place that it was of. `safedocker rescue --remove VOLUME` backs it up and removes it.
    `safedocker rescue --back-up CONTAINER` keeps what a stopped container wrote outside its
    volumes.
    """
    verbs = sum((new is not None, attach, remove, back_up))
    if verbs and not volume:
        raise click.UsageError("name the VOLUME, or for --back-up the CONTAINER")
    if verbs + as_json > 1:
        raise click.UsageError("--name, --attach, --remove, --back-up, --json: choose one")
    address = wording_rescue.address(host, context)
    if new is not None:
        _name(volume, new, host, context, address)
    elif attach:
        _attach(volume, host, context, address)
    elif remove:
        _remove(volume, host, context)
    elif back_up:
        _back_up(volume, host, context)
    else:
        _list(volume, host, context, address, everything=everything, as_json=as_json)


def _list(
    asked: str,
    host: str | None,
    context: str | None,
    address: tuple[str, ...],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    from safedocker import whereabouts
    from safedocker.loss.facts import Holds

    now = datetime.datetime.now(datetime.UTC)
    with engine_here(host, context) as engine:
        traces = whereabouts.traces(engine, open_store())  # looking leaves events of its own
        volumes, containers = engine.snapshot()
        orphans = _orphans(engine, volumes)
        ended = _ended(containers)
        if asked:
            ended = [one for one in ended if one.name == asked]
            orphans = [] if ended else [_one(full_name(asked, volumes), orphans, volumes)]
        found = list(_found(engine, orphans, traces))
        if not everything and not asked:
            found = [one for one in found if one.look.holds in {Holds.DATA, Holds.UNKNOWN}]
        offers = _offers(engine, address, volumes, containers)
        stopped = _stopped(engine, ended)
    if as_json:
        told = wording_rescue.as_json(found, stopped, offers, engine.identity)
        terminal.say(json.dumps(told, indent=1))
        return
    for line in () if asked and ended else wording_rescue.listed(found, offers, now):
        terminal.say(line)
    for line in wording_rescue.stopped(stopped, offers):
        terminal.say(line)


def _offers(
    engine: Engine,
    address: tuple[str, ...],
    volumes: dict[str, Volume],
    containers: tuple[Container, ...],
) -> wording_rescue.Offers:
    images = frozenset(name for image in engine.images() for name in (*image.names, image.id))
    taken = frozenset(one.name for one in containers)
    return wording_rescue.Offers(address, frozenset(volumes), taken, images)


def _orphans(engine: Engine, volumes: dict[str, Volume]) -> list[Volume]:
    """The volumes that no container has, by the engine's own word too."""
    from safedocker import whereabouts
    from safedocker.loss import places

    dangling = engine.dangling()
    unused = places.unused(whereabouts.bare_facts(engine))
    return [volumes[one.source] for one in unused if one.source in dangling & set(volumes)]


def _one(name: str, orphans: list[Volume], volumes: dict[str, Volume]) -> Volume:
    for volume in orphans:
        if volume.name == name:
            return volume
    if name in volumes:
        raise SafedockerError(
            f"the volume {name} has a container: it is not lost",
            f"see which: docker ps --all --filter volume={name}",
        )
    raise SafedockerError(f"there is no volume {name}", "see which there are: docker volume ls")


def _found(engine: Engine, orphans: list[Volume], traces: Traces) -> Iterator[Found]:
    from dataclasses import replace

    from safedocker import whereabouts
    from safedocker.loss import orphans as origins
    from safedocker.loss import places

    looks = engine.look(orphans, LOOK_SECONDS) if orphans else {}
    contents = {looks[one.name].content for one in orphans}
    traces = replace(traces, images=whereabouts.images_for(engine, contents))
    deadline = time.monotonic() + TABLES_SECONDS
    for volume in orphans:
        look = looks[volume.name]
        small = look.size is not None and look.size <= TABLES_UP_TO
        left = deadline - time.monotonic()
        sqlite = look.content in {"SQLite files", "Grafana"} and small and left > 0
        yield Found(
            volume,
            look,
            origins.origin(volume, look.content, traces),
            anonymous=places.is_anonymous(volume),
            tables=engine.traces.tables(volume.name, left) if sqlite else {},
        )


def _ended(containers: tuple[Container, ...]) -> list[Container]:
    """The containers that ran and do not run now."""
    from safedocker.loss.facts import HELPER

    return [
        one
        for one in containers
        if not one.running and one.state != "created" and HELPER not in one.labels
    ]


def _stopped(engine: Engine, ended: list[Container]) -> list[Ended]:
    """Those that hold something of weight outside their volumes, the largest first."""
    looks = engine.look_into_layers([one.id for one in ended], LOOK_SECONDS / 2) if ended else {}
    held = [one for one in ended if looks[one.id].at_least]
    held.sort(key=lambda one: -looks[one.id].at_least)
    return [Ended(one, looks[one.id], _places(engine, one)) for one in held]


def _places(engine: Engine, container: Container) -> tuple[str, ...]:
    try:
        return engine.changed(container.id)
    except NoEngine:  # it went away meanwhile
        return ()


def _name(
    given: str, new: str, host: str | None, context: str | None, address: tuple[str, ...]
) -> None:
    from safedocker import whereabouts
    from safedocker.backup import clone as cloning
    from safedocker.backup.rest import Rest

    with opened("rescue", host, context) as room:
        engine = room.engine
        traces = whereabouts.traces(engine, room.store)
        volumes, containers = engine.snapshot()
        volume = cloning.find(full_name(given, volumes), engine)
        (found,) = _found(engine, [volume], traces)
        done = cloning.clone(
            volume, new, Rest.REFUSE, engine, room.store, room.claim, room.progress
        )
        offers = _offers(engine, address, volumes, containers)
    for line in wording_volumes.cloned(done):
        terminal.say(line)
    for line in wording_rescue.named(found, new, offers):
        terminal.say(line)


def _attach(given: str, host: str | None, context: str | None, address: tuple[str, ...]) -> None:
    """Become the `docker run` that the list prints."""
    from safedocker import whereabouts

    with engine_here(host, context) as engine:
        traces = whereabouts.traces(engine, open_store())
        volumes, containers = engine.snapshot()
        volume = _one(full_name(given, volumes), _orphans(engine, volumes), volumes)
        (found,) = _found(engine, [volume], traces)
        words = _offers(engine, address, volumes, containers).run(volume.name, found.origin)
    if not words:
        raise SafedockerError(
            f"nothing tells of which image, and where, the volume {given} was mounted",
            f"say it yourself: docker run -d -v {volume.name}:/PLACE IMAGE",
        )
    terminal.Terminal().note(f"docker {shlex.join(words)}")
    process.become(process.find_real("docker", "", ""), list(words))


def _back_up(given: str, host: str | None, context: str | None) -> None:
    from safedocker.backup.take import Calm, keep
    from safedocker.loss.plan import Kind, Loss

    with opened("rescue", host, context) as room:
        _volumes, containers = room.engine.snapshot()
        named = [one for one in containers if given in {one.name, one.id, one.id[:12]}]
        if not named:
            raise SafedockerError(
                f"there is no container {given}", "see which there are: docker ps --all"
            )
        (one,) = named
        look = room.engine.look_into_layers([one.id], LOOK_SECONDS)[one.id]
        loss = Loss(Kind.LAYER, one.name, None, "asked for", id=one.id, project=one.project).seen(
            look
        )
        occasion = room.occasion(one.project)
        saved = keep((loss,), Calm(), room.engine, room.store, occasion, room.progress, room.now)
    for line in wording_rescue.backed_up(one, saved):
        terminal.say(line)


def _remove(given: str, host: str | None, context: str | None) -> None:
    from safedocker.backup.clone import find
    from safedocker.backup.discard import discard
    from safedocker.cli.volumes import loss_of
    from safedocker.cli.whose import may_remove

    with opened("rescue", host, context) as room:
        volumes, _containers = room.engine.snapshot()
        volume = find(full_name(given, volumes), room.engine)
        look = room.engine.look([volume], LOOK_SECONDS)[volume.name]
        may_remove(volume, room.engine, "rescue")
        saved = discard(
            loss_of(volume, look),
            room.engine,
            room.store,
            room.occasion(volume.project),
            room.progress,
            room.now,
        )
    for line in wording_rescue.removed(volume, saved):
        terminal.say(line)
