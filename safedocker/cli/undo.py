"""safedocker undo."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from safedocker import handover, inforce
from safedocker.cli.opened import command_of, engine_of, find_backup, full_name, note, open_store
from safedocker.edge import process, terminal, wording, wording_backup
from safedocker.errors import Refused, SafedockerError

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.store import FolderStore
    from safedocker.edge.engine import Engine


@click.command(short_help="Put a backup back, the last one or another.")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--volume", "only", multiple=True, metavar="NAME", help="Only this one. Repeatable.")
@click.option(
    "--as",
    "renamed",
    multiple=True,
    metavar="NEW",
    help="Put it back under a new name, beside what is there. OLD=NEW where there are several.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace what the volumes hold now, after a backup of that."
)
@click.option(
    "--dump-into",
    "into",
    metavar="CONTAINER",
    help="Feed the dump of a database into the server that runs there; no volume is touched.",
)
@click.option("-H", "--host", metavar="HOST", help="The engine to put it on, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
@click.option("--any-engine", is_flag=True, help="Also onto an engine that it does not come from.")
def undo(
    id_: str | None,
    only: tuple[str, ...],
    renamed: tuple[str, ...],
    overwrite: bool,
    into: str | None,
    host: str | None,
    context: str | None,
    any_engine: bool,
) -> None:
    """Put a backup back: the last before a command, or that of an ID or of the beginning of one.

    It goes to the engine it comes from. A volume that holds other data now is left alone unless
    --overwrite or --as says what to do, and so is another container of the name. Everything is
    compared after it was written. A container that can't be made or does not start stops no other;
    then it ends with 1 and says which, and typed again it does what is left.

    With --dump-into what a database wrote of itself, before it was stopped for the backup, goes
    into a running server of its kind: another version, another disk. Databases of the same names
    that hold something are left alone unless --overwrite is said; then they are dumped first.
    """
    from safedocker.backup.undo import undo as put_back
    from safedocker.edge.contexts import Contexts

    store = open_store()
    screen = terminal.Terminal()
    backup = meant(store, id_)
    names = tuple(full_name(backup, name) for name in only)
    rename = _renamed(backup, names, renamed)
    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    who = inforce.caller(can_ask=screen.can_ask)
    if into is not None:
        if rename:
            raise click.UsageError("--as is for volumes: a dump keeps its databases' names")
        for line in _feed(backup, names, into, given, any_engine, overwrite, who.text):
            terminal.say(line)
        return
    with (
        process.EndingSignals(),
        _reached(backup, given, any_engine, store, screen) as engine,
        screen.progress() as progress,
    ):
        if backup.id not in {one.id for one in store.list().backups}:
            terminal.say(f"nothing is left to put back: {backup.id} held what is in place again")
            return
        restored = put_back(
            backup,
            engine,
            store,
            only=names,
            rename=rename,
            overwrite=overwrite,
            any_engine=any_engine,
            argv=tuple(sys.argv),
            cwd=process.working_directory(),
            caller=who.text,
            progress=progress,
            now=datetime.datetime.now(datetime.UTC),
            contexts=Contexts,
        )
    with contextlib.suppress(Refused):  # what is back is back, written down or not
        note((backup.id,), "undo", who, "put back " + ", ".join(one.name for one in restored.parts))
    for line in wording_backup.done(backup, restored):
        terminal.say(line)
    for line in wording_backup.start_again(
        backup, restored, command_of(backup), here=_is_here(backup.cwd)
    ):
        terminal.say(line)
    if restored.failed:
        raise wording_backup.not_back(backup, restored.failed)


def meant(store: FolderStore, id_: str | None) -> Backup:
    """The backup to be put back. Where an undo was broken off that had backed up what it replaces,
    the newest is that, and who types `undo` once more means the one before."""
    from safedocker.backup import restores

    backup = find_backup(store, id_)
    if id_ is None and backup.form == "undo":
        held = {part.name for part in backup.parts}
        for older in store.list().backups:
            lines = restores.read(store, older.id)
            if held & {line.volume for line in lines if not line.done}:
                return older
    return backup


@contextlib.contextmanager
def _reached(
    backup: Backup,
    given: dict[str, str],
    any_engine: bool,
    store: FolderStore,
    screen: terminal.Terminal,
) -> Iterator[Engine | None]:
    """The engine of a backup, once what killed runs left there is put right where it can be."""
    with contextlib.ExitStack() as stack:
        engine = None
        try:
            engine = stack.enter_context(engine_of(backup, given, any_engine))
        finally:
            with contextlib.suppress(OSError):  # a store that can only be read is enough
                handover.put_right(store, engine, screen)
        yield engine


def _feed(
    backup: Backup,
    only: tuple[str, ...],
    into: str,
    given: dict[str, str],
    any_engine: bool,
    overwrite: bool,
    caller: str,
) -> Iterator[str]:
    from safedocker.backup.feeding import feed
    from safedocker.backup.take import Occasion
    from safedocker.backup.undo import check_engine

    occasion = Occasion(
        tuple(sys.argv), process.working_directory(), caller, "undo", backup.project
    )
    with (
        process.EndingSignals(),
        engine_of(backup, given, any_engine) as engine,
        terminal.Terminal().progress() as progress,
    ):
        if engine is None:
            raise SafedockerError(f"the backup {backup.id} holds no dump of a database")
        if not any_engine:
            check_engine(backup, engine.identity)
        fed = feed(
            *(backup, only, into, engine, open_store()),
            overwrite=overwrite,
            occasion=occasion,
            progress=progress,
            now=datetime.datetime.now(datetime.UTC),
        )
    yield from wording_backup.fed(backup, fed)


def _renamed(backup: Backup, only: Sequence[str], given: Iterable[str]) -> dict[str, str]:
    chosen = only or [part.name for part in backup.parts]
    rename = {}
    for one in given:
        old, equals, new = one.rpartition("=")
        if not equals and len(chosen) != 1:
            raise click.UsageError(
                f"--as {new}: {backup.id} holds {wording.count(len(chosen), 'part')}; say which "
                f"with --volume, or --as {chosen[0]}={new}"
            )
        rename[full_name(backup, old) if equals else chosen[0]] = new
    return rename


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, ".")
    except OSError:
        return False
