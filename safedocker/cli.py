"""safedocker's own commands. What they do is the rooms'; here is what is asked for and told.

`explain` lives in explain.py's place below: it walks as shim.py does, and runs nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

import safedocker
from safedocker import shim
from safedocker.command.parse import Command, parse
from safedocker.edge import process, terminal, wording
from safedocker.errors import ExitCode, Interrupted, NoDocker, NoEngine, SafedockerError, WouldFail
from safedocker.loss import forms

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup, Part
    from safedocker.backup.store import FolderStore
    from safedocker.backup.undo import Restored
    from safedocker.edge.address import Address
    from safedocker.edge.engine import Engine
    from safedocker.loss.plan import Plan
    from safedocker.policy.decide import Decision

PROGRAMS = ("docker", "docker-compose")


def main() -> NoReturn:
    """Run one of our own commands, and end with its exit code. The one handler."""
    try:
        commands.main(standalone_mode=False)
        sys.stdout.flush()
        code: int = 0
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(safedocker.__version__, prog_name="safedocker")
def commands() -> None:
    """Nothing that docker removes is gone for good: see what was backed up, and put it back.

    The backups are made by the shims that stand before docker and docker-compose; `safedocker
    install` puts them there.
    """


# undo


@commands.command()
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
    with process.EndingSignals(), _engine(backup, given, any_engine) as engine:
        with screen.progress() as progress:
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
            )
    for line in (*_done(backup, restored), *_start_again(backup, restored)):
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
                f"--as {new}: {backup.id} holds {wording.count(len(chosen), 'volume')}; say which "
                f"with --volume, or --as {chosen[0]}={new}"
            )
        rename[_full_name(backup, old) if equals else chosen[0]] = new
    return rename


@contextlib.contextmanager
def _engine(backup: Backup, given: Mapping[str, str], any_engine: bool) -> Iterator[Engine]:
    """The engine a backup goes to: the one given, else the one it comes from, told by its id.

    That one is looked for where the command went, where the backup says it was, and where docker
    would go now. Where none of these is it, backup/undo.py says so.
    """
    from safedocker.edge.engine import Engine

    faults: list[NoEngine] = []
    reached: Engine | None = None
    try:
        for address in _addresses(backup, given, any_engine, faults):
            try:
                engine = Engine(address)
            except NoEngine as fault:
                faults.append(fault)
                continue
            if reached is not None:
                reached.close()
            reached = engine
            if engine.identity.id == backup.engine.id:
                break
        if reached is None:
            raise faults[0]
        yield reached
    finally:
        if reached is not None:
            reached.close()


def _addresses(
    backup: Backup, given: Mapping[str, str], any_engine: bool, faults: list[NoEngine]
) -> Iterator[Address]:
    from safedocker.edge import address

    wanted: list[Mapping[str, str]] = [given]
    if not given and not any_engine:
        command = _command(backup)
        wanted = [dict(command.globals) if command else {}, {"host": backup.engine.host}, {}]
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


def _done(backup: Backup, restored: Restored) -> Iterator[str]:
    yield f"put back {wording.count(len(restored.volumes), 'volume')} from {backup.id}:"
    for one in restored.volumes:
        name = one.name if one.name == one.part.name else f"{one.name} (was {one.part.name})"
        yield f"  {name}: {one.step.value}; {_holds(one.part)}"
    if restored.saved:
        yield f"what was replaced is in the backup {restored.saved.id}"
    yield from restored.notes


def _holds(part: Part) -> str:
    if part.inventory is None:
        return "the definition only: its data lies elsewhere"
    files = wording.count(part.inventory.files, "file")
    what = f"{part.content}, " if part.content else ""
    return f"{what}{wording.size(part.inventory.bytes)} in {files}, compared equal"


def _start_again(backup: Backup, restored: Restored) -> Iterator[str]:
    """What to type next: the project's `up`, and how to mount what no project will find."""
    command = _command(backup)
    if command is not None and command.path[:1] == ("compose",):
        up = shlex.join((command.program, *command.prefix, "up", "-d"))
        place = "" if _is_here(backup.cwd) else f"cd {shlex.quote(backup.cwd)} && "
        yield f"to start the project again: {place}{up}"
        if "-" in command.project_values("file"):
            yield "its Compose file came on standard input: give it there again"
        lone = [one for one in restored.volumes if _anonymous(one.part) or one.renamed]
    else:
        lone = list(restored.volumes)
    for one in lone:
        for use in one.part.used_by:
            yield f"to mount {wording.short(one.name)} as {use.container} had it: " + shlex.join(
                ("docker", "run", "-v", f"{one.name}:{use.target}", use.image)
            )
        if _anonymous(one.part) and one.name == one.part.name:
            yield (
                f"to give {wording.short(one.name)} a name of its own: {wording.own_command()} undo "
                f"{backup.id} --volume {wording.to_type(one.name)} --as NAME"
            )


def _anonymous(part: Part) -> bool:
    from safedocker.loss.plan import Kind

    return part.kind is Kind.ANONYMOUS_VOLUME


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, ".")
    except OSError:
        return False


# backups, show


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backups(as_json: bool) -> None:
    """List the backups, newest first, those that can't be read too."""
    store = _store()
    listing = store.list()
    if as_json:
        whole = [{**_manifest(one), "state": _state(store, one)} for one in listing.backups]
        broken = [
            {"id": one.id, "state": "damaged", "error": one.error.message}
            for one in listing.damaged
        ]
        told = sorted([*whole, *broken], key=lambda one: str(one["id"]), reverse=True)
        terminal.say(json.dumps(told, indent=1))
        return
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        (
            one.id,
            wording.ago(one.taken_at, now),
            wording.size(one.data_bytes),
            ", ".join(_named_with_content(part) for part in one.parts),
            one.project or "-",
            one.engine.name or one.engine.host,
            _state(store, one),
        )
        for one in listing.backups
    ]
    rows += [
        (one.id, "?", "?", "?", "?", "?", f"damaged: {one.error.message}")
        for one in listing.damaged
    ]
    if not rows:
        terminal.say(f"no backups in {store.where}")
        return
    rows.sort(reverse=True)
    terminal.table(("ID", "TAKEN", "SIZE", "WHAT", "PROJECT", "ENGINE", "STATE"), rows)


def _named_with_content(part: Part) -> str:
    name = wording.short(part.name)
    return f"{name} ({part.content})" if part.content else name


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
    terminal.details(_facts(store, backup))
    for part in backup.parts:
        terminal.say("")
        terminal.details(_part_facts(part))
    terminal.say("")
    terminal.say(f"to put it back: {wording.own_command()} undo {backup.id}")


def _facts(store: FolderStore, backup: Backup) -> list[tuple[str, str]]:
    engine = backup.engine
    return [
        ("backup", backup.id),
        ("state", _state(store, backup)),
        ("taken", f"{backup.taken_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("verified", f"{backup.verified_at:%Y-%m-%d %H:%M:%S} UTC, read back and compared"),
        ("before", shlex.join(backup.argv)),
        ("in folder", backup.cwd),
        ("called by", backup.caller),
        ("engine", f"{engine.name} at {engine.host}, {engine.version}, id {engine.id}"),
        ("project", backup.project or "-"),
        ("stopped", ", ".join(one.name for one in backup.stopped) or "no container"),
        ("size", f"{wording.size(backup.data_bytes)}, stored {wording.size(backup.stored_bytes)}"),
        ("stored in", str(Path(store.where, backup.id))),
        ("written by", f"safedocker {backup.safedocker}, form {backup.form}"),
    ]


def _part_facts(part: Part) -> list[tuple[str, str]]:
    facts = [
        ("volume", part.name),
        ("kind", part.kind.value),
        ("content", part.content or "unknown"),
        ("driver", " ".join((part.driver, *(f"{k}={v}" for k, v in part.options.items())))),
        ("labels", ", ".join(f"{key}={value}" for key, value in part.labels.items()) or "none"),
        *(
            ("used by", f"{use.container} ({use.image}) at {use.target}" + _was(use.running))
            for use in part.used_by
        ),
        ("consistency", f"{part.consistency.sentence} ({part.reached})"),
    ]
    held = part.inventory
    if held is not None:
        facts += [
            (
                "holds",
                f"{held.bytes} bytes; {wording.count(held.files, 'file')}, "
                f"{held.directories} directories, {wording.count(held.links, 'link')}, "
                f"{wording.count(held.others, 'other')}",
            ),
            ("root", f"owner {held.root_uid}:{held.root_gid}, mode {held.root_mode:04o}"),
            ("compared", part.cross_check.sentence),
        ]
    if part.file is not None:
        facts.append(("file", f"{part.file.name}, {part.file.bytes} bytes, {part.file.sha256}"))
    facts.append(("not kept", ", ".join(part.not_kept) or "nothing"))
    return facts


def _was(running: bool) -> str:
    return ", was running" if running else ""


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
    ids = sorted([one.id for one in (*listing.backups, *listing.damaged)], reverse=True)
    if given is None:
        if not ids:
            raise SafedockerError(
                f"there is no backup in {store.where}", "they are made before docker removes data"
            )
        return store.get(ids[0])
    fits = [id_ for id_ in ids if id_.startswith(given)] if given else []
    if len(fits) > 1 and given not in fits:
        raise SafedockerError(
            f"{given} is the beginning of several backups: {', '.join(fits)}", "type more of it"
        )
    return store.get(fits[0] if len(fits) == 1 else given)


# explain


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("words", metavar="docker ...", nargs=-1, type=click.UNPROCESSED, required=True)
def explain(as_json: bool, words: tuple[str, ...]) -> None:
    """Show what a command would delete and what would be done about it. Nothing is run.

    safedocker explain -- docker compose down -v
    """
    program = os.path.basename(words[0])
    if program not in PROGRAMS:
        raise click.UsageError(f"{words[0]} is neither docker nor docker-compose")
    told = _Explanation(program, words[1:])
    with contextlib.ExitStack() as stack:
        told.find(stack)
    if as_json:
        terminal.say(json.dumps(told.as_json(), indent=1))
    else:
        told.tell()


class _Explanation:
    """What there is to say of a command, as far as it could be found out."""

    def __init__(self, program: str, words: Sequence[str]) -> None:
        self.words = [program, *words]
        self.command = parse(program, words)[0]
        self.plan: Plan | None = None
        self.decision: Decision | None = None
        self.fault: SafedockerError | None = None
        self.outcome = ""
