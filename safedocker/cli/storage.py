"""safedocker storage: where containers write, and what of it survives."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safedocker.cli.opened import engine_here, open_store
from safedocker.edge import terminal, wording_places
from safedocker.errors import SafedockerError

if TYPE_CHECKING:
    from safedocker.loss.places import Ending, Taken
    from safedocker.loss.storage import Storage


@click.command(short_help="Show every place that containers write to, and what survives.")
@click.argument("asked", metavar="[CONTAINER|SERVICE|PROJECT]", default="")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one page with pictures, which a browser shows without a network.",
)
@click.option("-H", "--host", metavar="HOST", help="The engine, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
def storage(
    asked: str, as_json: bool, page: Path | None, host: str | None, context: str | None
) -> None:
    """Show every place that a container, a service or a project writes to: volumes, bind mounts,
    memory, and the container's own writable layer; with size, content, owner, last write and last
    backup, and what is left of it after rm, rm -v, down, down -v and the prunes.

    Without an argument the whole engine by project, with what could be freed and what that would
    cost. It takes half a minute at most; what could not be seen by then is said to be unknown.
    """
    from safedocker import whereabouts

    with engine_here(host, context) as engine:
        found, prunes = whereabouts.look_at(engine, open_store(), asked)
    if page is not None:
        _write(page, found, prunes)
    if as_json:
        from safedocker.loss.storage import reclaimable

        told = wording_places.as_json(found, reclaimable(found, prunes))
        terminal.say(json.dumps(told, indent=1))
    elif page is None:
        _tell(found, prunes)


def _tell(found: Storage, prunes: Mapping[Ending, Taken]) -> None:
    from safedocker.loss.storage import amounts, reclaimable

    now = datetime.datetime.now(datetime.UTC)
    if found.asked:
        _tell_of_some(found, now)
    else:
        for line in wording_places.tree(found, now):
            terminal.say(line)
        if not found.spots:
            terminal.say("there are no containers and no volumes")
            return
        terminal.say("in all, each counted once")
        terminal.details(wording_places.totals(amounts(found.spots), found))
        freeable = reclaimable(found, prunes)
        if freeable:
            terminal.say("\nwhat could be freed, and what that would cost")
        for one in freeable:
            for line in wording_places.freed(one):
                terminal.say(f"  {line}")
    for gap in found.gaps:
        terminal.say(f"not known: {gap}")


def _tell_of_some(found: Storage, now: datetime.datetime) -> None:
    from safedocker.loss.storage import by_container

    for spots in by_container(found.spots).values():
        container = spots[0].container
        terminal.say(wording_places.of(container) if container else wording_places.UNUSED)
        rows = [wording_places.narrow(wording_places.row(spot, now)) for spot in spots]
        terminal.table(wording_places.TITLES, rows)
        terminal.say("")
        titles = wording_places.fate_titles(spots)
        fates = [wording_places.narrow(wording_places.fate_row(spot, titles)) for spot in spots]
        terminal.table(titles, fates)
        terminal.say("")
    for note in wording_places.notes(found.spots):
        terminal.say(note)


def _write(page: Path, found: Storage, prunes: Mapping[Ending, Taken]) -> None:
    """Write the page beside its place, and move it there: a half one is none."""
    from safedocker.edge.page import html
    from safedocker.loss.storage import amounts, reclaimable

    now = datetime.datetime.now(datetime.UTC)
    text = html(found, amounts(found.spots), reclaimable(found, prunes), now)
    draft = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        draft.replace(page)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise SafedockerError(
            f"{page} could not be written: {fault.strerror}", "give a place that can be written"
        ) from fault
    terminal.Terminal().note(f"{page} shows what there is; open it in a browser")
