"""safedocker aside: what stands aside on an engine."""

from __future__ import annotations

import json
import os

import click

from safedocker.cli.opened import open_store
from safedocker.edge import address, terminal
from safedocker.loss.facts import Bytes


@click.command(short_help="List what was moved aside on an engine.")
@click.option("-H", "--host", metavar="HOST", help="The engine, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def aside(host: str | None, context: str | None, as_json: bool) -> None:
    """List what was moved aside on an engine, whoever did it, with its size.

    It stands in the engine's data directory, where no docker command reaches. `safedocker undo`
    puts it back, `safedocker delete` removes it with its backup.
    """
    from safedocker.edge.engine import Engine

    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    own = {one.id for one in open_store().list().backups}
    with Engine(address.resolve(given, os.environ)) as engine:
        found = engine.mover.listed(engine.data_directory)
        rows = []
        for one in found:
            id_, _, _number = one.folder.partition("/")
            rows.append((one.folder, one.volume, one.size, "yours" if id_ in own else "not yours"))
    if as_json:
        keys = ("folder", "volume", "bytes", "backup")
        terminal.say(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
    elif not rows:
        terminal.say(f"nothing stands aside on {engine.identity.name}")
    else:
        shown = [(folder, volume, str(Bytes(size)), whose) for folder, volume, size, whose in rows]
        terminal.table(("FOLDER", "VOLUME", "SIZE", "BACKUP"), shown)
