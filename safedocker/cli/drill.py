"""safedocker drill: a backup is put back for a trial."""

from __future__ import annotations

import datetime
import json

import click

from safedocker.cli.opened import engine_of, find_backup, open_store
from safedocker.edge import process, terminal, wording_backup
from safedocker.errors import ExitCode, SafedockerError


@click.command(short_help="Try a backup out: put it back beside, start its databases.")
@click.argument("id_", metavar="[ID]", required=False)
@click.option(
    "--wait",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long a database may take to come up.",
)
@click.option(
    "--image",
    default="",
    metavar="IMAGE",
    help="For a database whose container was gone before its volume was backed up.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("-H", "--host", metavar="HOST", help="The engine to try it on, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
@click.option("--any-engine", is_flag=True, help="Also one that the backup does not come from.")
def drill(
    id_: str | None,
    wait: float,
    image: str,
    as_json: bool,
    host: str | None,
    context: str | None,
    any_engine: bool,
) -> int:
    """Try a backup out, the last one or that of an ID: its volumes are put back into scratch
    volumes and compared, each database is started on them by its own image, without a network, and
    counted; then all of it is taken away again. Ends with 1 if anything failed.

    It needs as much room on the engine's disk as the volumes take, and the databases' images there.
    """
    from safedocker.backup import notes
    from safedocker.backup.drill import drill as try_out
    from safedocker.backup.undo import check_engine

    store = open_store()
    screen = terminal.Terminal()
    backup = find_backup(store, id_)
    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    with (
        process.EndingSignals(),
        engine_of(backup, given, any_engine) as engine,
        screen.progress() as progress,
    ):
        if engine is None:
            raise SafedockerError(
                f"the backup {backup.id} is of no engine: nothing can be tried",
                f"read it again instead: safedocker verify {backup.id}",
            )
        if not any_engine:
            check_engine(backup, engine.identity)
        engine.sweep()
        now = datetime.datetime.now(datetime.UTC)
        done = try_out(backup, engine, store, progress, now, wait, image)
    try:
        notes.write_drill(store, backup.id, done)
    except OSError as fault:
        screen.note(f"the result can't be written down in {store.where}: {fault.strerror}")
    if as_json:
        told = {
            "id": backup.id,
            "well": done.well,
            "at": done.at.isoformat(),
            "engine": done.engine,
            "parts": [
                {**vars(part), "outcome": part.outcome.value, "well": part.well}
                for part in done.parts
            ],
        }
        terminal.say(json.dumps(told, indent=1))
    else:
        for line in wording_backup.drilled(backup, done):
            terminal.say(line)
    return 0 if done.well else int(ExitCode.ERROR)
