"""safedocker rescue: finds data that no container has any more, and gives it back."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import engine_here, open_store
from safedocker.cli.volumes import full_name, on_engine, opened
from safedocker.edge import terminal, wording_rescue, wording_volumes
from safedocker.edge.wording_rescue import Found
from safedocker.errors import SafedockerError

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Container, Look, Volume
    from safedocker.loss.orphans import Traces

LOOK_SECONDS = 10.0
TABLES_SECONDS = 3.0
TABLES_UP_TO = 50 << 20  # bytes of a volume that is read for its SQLite tables


@click.command(short_help="Find data that no container has any more, and give it back.")
@click.argument("volume", metavar="[VOLUME]", default="")
@click.option("--all", "everything", is_flag=True, help="Empty volumes too.")
@click.option("--name", "new", metavar="NEW", help="Copy the volume under this name, compared.")
@click.option("--remove", is_flag=True, help="Remove the volume, after a backup of it.")
@on_engine
def rescue(
    volume: str,
    everything: bool,
    new: str | None,
    remove: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Find the volumes that no container has, and stopped containers that hold data; with what is
    in them, which container, image and project they were of, and what can be done.

    Where they come from is told by safedocker's audit and backups, the engine's last events,
    labels, and at last the content. Tables are told of small SQLite files alone: others need their
    server.

    `safedocker rescue --name NEW VOLUME` gives a volume a name: the data is copied, compared, and
    the old one stays. `safedocker rescue --remove VOLUME` backs it up and removes it.
    """
    if (new is not None or remove) and not volume:
        raise click.UsageError("name the VOLUME")
    if new is not None and remove:
        raise click.UsageError("--name, --remove: choose one")
    address = wording_rescue.address(host, context)
    if new is not None:
        _name(volume, new, host, context, address)
    elif remove:
        _remove(volume, host, context)
    else:
        _list(volume, host, context, address, everything=everything)


def _list(
    asked: str, host: str | None, context: str | None, address: tuple[str, ...], *, everything: bool
) -> None:
    from safedocker import whereabouts
    from safedocker.loss.facts import Holds

    now = datetime.datetime.now(datetime.UTC)
    with engine_here(host, context) as engine:
        traces = whereabouts.traces(engine, open_store())  # looking leaves events of its own
        volumes, containers = engine.snapshot()
        orphans = _orphans(engine, volumes)
        if asked:
            orphans = [_one(full_name(asked, volumes), orphans, volumes)]
        found = list(_found(engine, orphans, traces))
        if not everything and not asked:
            found = [one for one in found if one.look.holds in {Holds.DATA, Holds.UNKNOWN}]
        offers = _offers(engine, address, volumes, containers)
        stopped = [] if asked else _stopped(engine, containers)
    for line in wording_rescue.listed(found, offers, now):
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


def _stopped(engine: Engine, containers: tuple[Container, ...]) -> list[tuple[Container, Look]]:
    """The containers that do not run and hold something of weight outside their volumes."""
    from safedocker.loss.facts import HELPER

    ended = [
        one
        for one in containers
        if not one.running and one.state != "created" and HELPER not in one.labels
    ]
    looks = engine.look_into_layers([one.id for one in ended], LOOK_SECONDS / 2) if ended else {}
    held = [(one, looks[one.id]) for one in ended if looks[one.id].at_least]
    return sorted(held, key=lambda pair: -pair[1].at_least)


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
