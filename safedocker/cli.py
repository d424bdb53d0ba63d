"""safedocker's own commands: what is asked for, and what is told. What they do is the rooms'."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

import safedocker
from safedocker import doctor, shim
from safedocker.command.parse import Command, parse
from safedocker.edge import process, terminal, wording, wording_backup
from safedocker.errors import ExitCode, Interrupted, NoEngine, SafedockerError
from safedocker.loss.facts import Bytes

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.store import FolderStore
    from safedocker.edge.address import Address
    from safedocker.edge.engine import Engine

PROGRAMS = ("docker", "docker-compose")


def main() -> NoReturn:
    """Run one of our own commands, and end with its exit code. The one handler."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: an odd locale is no bug
    try:
        code: int = commands.main(prog_name="safedocker", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.ClickException as fault:
        terminal.tell(SafedockerError(fault.format_message(), _usage(fault)))
        code = fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = _tell(Interrupted("interrupted"))
    except SafedockerError as fault:
        code = _tell(fault)
    except BrokenPipeError:  # `safedocker backups | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.ERROR
    except Exception as fault:  # noqa: BLE001 - the one handler: a bug of ours is told as one
        code = shim.report(fault, sys.argv)
    sys.exit(int(code))


def _tell(fault: SafedockerError) -> int:
    terminal.tell(fault)
    return int(fault.exit_code)


def _usage(fault: click.ClickException) -> str:
    context = getattr(fault, "ctx", None)
    return f"see: {context.command_path} --help" if context else "see: safedocker --help"


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(safedocker.__version__)
@click.pass_context
def commands(context: click.Context) -> None:
    """Nothing that docker removes is gone for good: see what was backed up, and put it back.

    The backups are made by the shims that stand before docker and docker-compose; `safedocker
    install` puts them there.
    """
    if context.invoked_subcommand is None:
        terminal.say(context.get_help())


# undo


@commands.command(short_help="Put a backup back, the last one or another.")
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
@click.option("-H", "--host", metavar="HOST", help="The engine to put it on, as docker takes it.")
@click.option("-c", "--context", metavar="NAME", help="The same, by the name of a Docker context.")
@click.option("--any-engine", is_flag=True, help="Also onto an engine that it does not come from.")
def undo(
    id_: str | None,
    only: tuple[str, ...],
    renamed: tuple[str, ...],
    overwrite: bool,
    host: str | None,
    context: str | None,
    any_engine: bool,
) -> None:
    """Put a backup back: the last one, or that of an ID or of the beginning of an ID.

    It goes to the engine it comes from. A volume that holds other data now is left alone unless
    --overwrite or --as says what to do. Everything is compared after it was written.
    """
    from safedocker.backup.undo import undo as put_back
    from safedocker.edge.contexts import Contexts
    from safedocker.policy import decide

    store = _store()
    screen = terminal.Terminal()
    with contextlib.suppress(OSError):  # a store that can only be read is enough
        for found in store.sweep():
            screen.interrupted_backup(found)
    backup = _named(store, id_)
    names = tuple(_full_name(backup, name) for name in only)
    rename = _renamed(backup, names, renamed)
    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    who = decide.caller(os.environ, screen.can_ask, process.parent_command())
    with (
        process.EndingSignals(),
        _engine(backup, given, any_engine) as engine,
        screen.progress() as progress,
    ):
        if engine is not None:
            engine.sweep()
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
    for line in wording_backup.done(backup, restored):
        terminal.say(line)
    for line in wording_backup.start_again(
        backup, restored, _command(backup), here=_is_here(backup.cwd)
    ):
        terminal.say(line)


def _full_name(backup: Backup, given: str) -> str:
    """A volume's name by itself, or by the beginning that we show of an anonymous one."""
    held = [part.name for part in backup.parts]
    starts = [name for name in held if given and wording.to_type(name) == given[:12]]
    fits = [name for name in starts if name.startswith(given)]
    return fits[0] if given not in held and len(fits) == 1 else given


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
        rename[_full_name(backup, old) if equals else chosen[0]] = new
    return rename


@contextlib.contextmanager
def _engine(backup: Backup, given: Mapping[str, str], any_engine: bool) -> Iterator[Engine | None]:
    """The engine a backup goes to: the one given, else the one it comes from, told by its id; None
    for one that is of no engine.

    That one is looked for where the command went, where the backup says it was, and where docker
    would go now. Where none of these is it, backup/undo.py says so.
    """
    from safedocker.edge.engine import Engine

    origin = backup.engine
    if origin is None:
        yield None
        return
    faults: list[NoEngine] = []
    reached: Engine | None = None
    try:
        for address in _addresses(backup, origin.host, given, any_engine, faults):
            try:
                engine = Engine(address)
            except NoEngine as fault:
                faults.append(fault)
                continue
            if reached is not None:
                reached.close()
            reached = engine
            if engine.identity.id == origin.id:
                break
        if reached is None:
            raise faults[0]
        yield reached
    finally:
        if reached is not None:
            reached.close()


def _addresses(
    backup: Backup, host: str, given: Mapping[str, str], any_engine: bool, faults: list[NoEngine]
) -> Iterator[Address]:
    from safedocker.edge import address

    wanted: list[Mapping[str, str]] = [given]
    if not given and not any_engine:
        command = _command(backup)
        wanted = [dict(command.globals) if command else {}, {"host": host}, {}]
    tried = []
    for options in wanted:
        try:
            found = address.resolve(options, os.environ)
        except NoEngine as fault:
            faults.append(fault)
            continue
        if (found.host, found.tls) not in tried:
            tried.append((found.host, found.tls))
            yield found


def _command(backup: Backup) -> Command | None:
    """The docker command before which a backup was taken."""
    program, *words = backup.argv or ("",)
    return parse(program, words)[0] if program in PROGRAMS else None


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, ".")
    except OSError:
        return False


# backups, show


@commands.command(short_help="List the backups.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backups(as_json: bool) -> None:
    """List the backups, newest first, those that can't be read too."""
    store = _store()
    listing = store.list()
    if as_json:
        told = {one.id: {**_manifest(one), "state": _state(store, one)} for one in listing.backups}
        for broken in listing.damaged:
            told[broken.id] = {"id": broken.id, "state": "damaged", "error": broken.error.message}
        terminal.say(json.dumps([told[id_] for id_ in sorted(told, reverse=True)], indent=1))
        return
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        (
            one.id,
            wording.ago(one.taken_at, now),
            str(Bytes(one.data_bytes)),
            ", ".join(wording_backup.held(part) for part in one.parts),
            one.project or "-",
            (one.engine.name or one.engine.host) if one.engine else "-",
            _state(store, one),
        )
        for one in listing.backups
    ]
    rows.extend(
        (broken.id, "?", "?", "?", "?", "?", f"damaged: {broken.error.message}")
        for broken in listing.damaged
    )
    if not rows:
        terminal.say(f"no backups in {store.where}")
        return
    rows.sort(reverse=True)
    terminal.table(("ID", "TAKEN", "SIZE", "WHAT", "PROJECT", "ENGINE", "STATE"), rows)


def _state(store: FolderStore, backup: Backup) -> str:
    restores = store.restores(backup.id)
    if not restores:
        return "ready"
    return "undone" if all(one.done for one in restores) else "undo was interrupted"


@commands.command()
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The manifest, for programs.")
def show(id_: str, as_json: bool) -> None:
    """Show everything that is known of a backup."""
    store = _store()
    backup = _named(store, id_)
    if as_json:
        terminal.say(json.dumps(_manifest(backup), indent=1))
        return
    where = str(Path(store.where, backup.id))
    terminal.details(
        (*wording_backup.facts(backup), ("state", _state(store, backup)), ("in", where))
    )
    for part in backup.parts:
        terminal.say("")
        terminal.details(wording_backup.part_facts(part))
    terminal.say("")
    terminal.say(f"to put it back: {wording.own_command()} undo {backup.id}")


def _manifest(backup: Backup) -> dict[str, object]:
    from safedocker.backup.manifest import dump

    body: dict[str, object] = json.loads(dump(backup))
    return body


def _store() -> FolderStore:
    from safedocker.backup.store import FolderStore

    return FolderStore(Path(process.backups_folder()))


def _named(store: FolderStore, given: str | None) -> Backup:
    """The backup of an ID or of the beginning of one; of None the last.

    A damaged one is never passed over for an older one without a word.
    """
    listing = store.list()
    ids = [one.id for one in listing.backups] + [one.id for one in listing.damaged]
    ids.sort(reverse=True)
    if given is None:
        if not ids:
            raise SafedockerError(
                f"there is no backup in {store.where}", "they are made before docker removes data"
            )
        taken = {one.id: one.taken_at for one in listing.backups}
        latest = datetime.datetime.max.replace(
            tzinfo=datetime.UTC
        )  # a damaged one is not passed over
        # An id tells the second; of two within one the later counts.
        return store.get(max(ids, key=lambda id_: (id_[:15], taken.get(id_, latest))))
    fits = [id_ for id_ in ids if id_.startswith(given)] if given else []
    if len(fits) > 1 and given not in fits:
        raise SafedockerError(
            f"{given} is the beginning of several backups: {', '.join(fits)}", "type more of it"
        )
    return store.get(fits[0] if len(fits) == 1 else given)


# explain


@commands.command(
    short_help="Show what a command would delete.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("words", metavar="docker ...", nargs=-1, type=click.UNPROCESSED, required=True)
def explain(as_json: bool, words: tuple[str, ...]) -> None:
    """Show what a command would delete and what would be done about it. Nothing is run.

    safedocker explain -- docker compose down -v
    """
    from safedocker import explain as explained

    program = os.path.basename(words[0])
    if program not in PROGRAMS:
        raise click.UsageError(f"{words[0]} is neither docker nor docker-compose")
    found = explained.explain(program, words[1:], can_ask=terminal.Terminal().can_ask)
    if as_json:
        terminal.say(json.dumps(explained.as_json(found), indent=1))
    else:
        explained.tell(found)


# doctor


commands.add_command(doctor.doctor)


# install, uninstall


_SHIMS = click.option(
    "--shims",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the shims, to stand first on PATH.",
)


@commands.command()
@_SHIMS
@click.option("--real", metavar="PATH", help="The real docker. Otherwise the first on PATH.")
@click.option("--real-compose", metavar="PATH", help="The same for docker-compose.")
def install(shims: Path, real: str | None, real_compose: str | None) -> None:
    """Write the shims that stand before docker and docker-compose."""
    from safedocker.install import install as write

    for line in write(shims, real, real_compose):
        terminal.say(line)


@commands.command()
@_SHIMS
def uninstall(shims: Path) -> None:
    """Take the shims away again. Backups stay."""
    from safedocker.install import uninstall as remove

    for line in remove(shims):
        terminal.say(line)
