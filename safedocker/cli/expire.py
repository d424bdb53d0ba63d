"""safedocker delete, expire: backups go, but never without somebody who says so."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from safedocker import inforce
from safedocker.cli.opened import engine_of, find_backup, note, open_store
from safedocker.edge import stamp, terminal, wording, wording_backup
from safedocker.errors import ExitCode, Refused, SafedockerError
from safedocker.loss.facts import Bytes
from safedocker.policy.options import EXPIRE_FREE, EXPIRE_KEEP, EXPIRE_OLDER, CallerKind
from safedocker.policy.values import AGE, SIZE, Type

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.store import FolderStore
    from safedocker.policy.options import Caller


def read_as(
    kind: Type[Any],
) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that reads an option as a policy's file would."""

    def read(_context: click.Context, _option: click.Parameter, told: str | None) -> Any:
        try:
            return None if told is None else kind.parse(told)
        except ValueError as fault:
            raise click.BadParameter(str(fault)) from fault

    return read


@click.command(short_help="Delete backups for good.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def delete(ids: tuple[str, ...]) -> int:
    """Delete backups for good: shows what they hold, and wants it typed.

    Only a person at a terminal can. One that is kept stays: `safedocker keep --off` first.
    """
    from safedocker.backup import expire as rules

    store = open_store()
    damaged = {one.id: one.error for one in store.list().damaged}
    broken = tuple(dict.fromkeys(id_ for id_ in ids if id_ in damaged))
    found = {one.id: one for one in (find_backup(store, id_) for id_ in ids if id_ not in broken)}
    backups = tuple(found.values())
    for backup in backups:
        why = rules.reason_to_stay(store, backup, _lives)
        if why == rules.KEPT:
            hint = f"let it go first: safedocker keep --off {backup.id}"
            raise SafedockerError(f"{backup.id} stays: {why}", hint)
        if why and why != rules.HALF_UNDONE:
            raise SafedockerError(f"{backup.id} stays: {why}", "wait until it has")
    _preview(store, backups)
    for id_ in broken:
        terminal.say(f"{id_}: {damaged[id_].message}")
    return _remove(store, {**found, **dict.fromkeys(broken)}, "delete", yes=False)


@click.command(short_help="Delete old backups by age, count or free space.")
@click.option(
    "--older-than", callback=read_as(AGE), metavar="AGE", help="Older ones go: 12h, 30d, 8w."
)
@click.option(
    "--keep-last",
    type=click.IntRange(min=1),
    metavar="N",
    help="The last N stay. Alone: all others go; with another rule: that rule spares them.",
)
@click.option(
    "--free",
    callback=read_as(SIZE),
    metavar="SIZE",
    help="The oldest go until that is free: 10GB, 8GiB.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and end.")
@click.option("--yes", is_flag=True, help="Do not ask. For a timer's script.")
def expire(
    older_than: datetime.timedelta | None,
    keep_last: int | None,
    free: int | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Delete old backups. Shows what goes, and wants it typed unless --yes. Without a rule those of
    the policy count: expire.older_than, expire.keep_last, expire.free.

    The newest backup always stays, and so do those that are kept, or undone only in part.
    """
    from safedocker.backup import expire as rules

    if older_than is None and keep_last is None and free is None:
        policy, _who = inforce.in_force(can_ask=False)
        older_than, keep_last, free = policy[EXPIRE_OLDER], policy[EXPIRE_KEEP], policy[EXPIRE_FREE]
    if older_than is None and keep_last is None and free is None:
        raise click.UsageError(
            "say what may go: --older-than, --keep-last or --free, or `expire` in a policy"
        )
    store = open_store()
    rule = rules.Rule(older_than, keep_last, free)
    choice = rules.choose(store, rule, datetime.datetime.now(datetime.UTC), _lives)
    _preview(store, choice.going)
    for one in choice.spared:
        terminal.say(f"{one.backup.id} stays: {one.why}")
    if free is not None and not choice.enough:
        terminal.say(f"even so, less than {Bytes(free)} will be free in {store.where}")
    if not choice.going:
        terminal.say("nothing to expire")
    if dry_run or not choice.going:
        return 0
    return _remove(store, {backup.id: backup for backup in choice.going}, "expire", yes=yes)


def _preview(store: FolderStore, going: Sequence[Backup]) -> None:
    """Show what goes, and of which volumes nothing would be left."""
    from safedocker.backup import expire as rules

    if not going:
        return
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        (
            one.id,
            wording.ago(one.taken_at, now),
            str(Bytes(one.data_bytes)),
            _frees(one),
            ", ".join(wording_backup.held(part) for part in one.parts),
        )
        for one in going
    ]
    terminal.table(("ID", "TAKEN", "HOLDS", "FREES", "WHAT"), rows)
    leaving = {one.id for one in going}
    staying = [one for one in store.list().backups if one.id not in leaving]
    there: dict[str, frozenset[str] | None] = {}

    def is_gone(backup: Backup, volume: str) -> bool | None:
        engine = backup.engine.id if backup.engine else ""
        if engine not in there:
            there[engine] = _volumes_there(backup)
        names = there[engine]
        return None if names is None else volume not in names

    for backup, volume in rules.last_copies(going, staying):
        told = f"{backup.id} is the only backup of {wording.short(volume)}"
        match is_gone(backup, volume):
            case True:
                terminal.say(f"{told}, which is gone from its engine")
            case None:
                terminal.say(f"{told}; whether that is still there can't be found out")


def _frees(backup: Backup) -> str:
    """What it takes in the store, and on its engine."""
    told = [str(Bytes(backup.stored_bytes))]
    if backup.moved:
        sizes = [part.size for part in backup.moved]
        known = sum(size for size in sizes if size is not None)
        least = "" if None not in sizes else "more than "
        told.append(f"{least}{Bytes(known)} on its engine")
    return ", ".join(told)


def _lives(mark: str) -> bool:
    return bool(mark) and stamp.lives(mark) is not False


def _volumes_there(backup: Backup) -> frozenset[str] | None:
    """The volumes of a backup's engine; None where it can't be asked."""
    with contextlib.suppress(SafedockerError), engine_of(backup, {}, any_engine=False) as engine:
        if engine is not None and backup.engine and engine.identity.id == backup.engine.id:
            return frozenset(engine.snapshot()[0])
    return None


def _remove(store: FolderStore, going: Mapping[str, Backup | None], form: str, *, yes: bool) -> int:
    """Ask, write it down, and delete. None is a backup that can't be read."""
    names = tuple(going)
    screen = terminal.Terminal()
    policy, who = inforce.in_force(can_ask=screen.can_ask)
    if policy.frozen is not None:
        note(names, form, who, "refused")
        raise Refused(
            f"refused: {policy.frozen.told}. Nothing was deleted",
            "to end it sooner: a person types `safedocker unfreeze`",
        )
    _ask(names, form, who, screen, yes=yes)
    note(names, form, who, "deleted")
    left = 0
    for id_, backup in going.items():
        try:
            if backup is not None and backup.moved:
                _remove_aside(store, backup)
            store.delete(id_)
        except SafedockerError as fault:
            left += 1
            screen.note(f"{fault.message}; {fault.hint}")
        else:
            terminal.say(f"{id_} is deleted")
    return int(ExitCode.ERROR) if left else 0


def _remove_aside(store: FolderStore, backup: Backup) -> None:
    """Remove what stands aside on the engine. Raise SafedockerError when it can't be: then the
    backup stays, as nobody else would know of it."""
    from safedocker.backup import aside, notes

    with store.hold(backup.id), engine_of(backup, {}, any_engine=False) as engine:
        if engine is None or not backup.engine or engine.identity.id != backup.engine.id:
            name = backup.engine.name if backup.engine else "?"
            raise SafedockerError(
                f"{backup.id} stays: what it holds stands aside on the engine {name}, which can't "
                "be asked",
                "delete it where that engine can be reached",
            )
        if notes.read(store, backup.id).kept:
            return  # the store says so
        aside.remove(engine, backup.places)


def _ask(
    ids: tuple[str, ...], form: str, who: Caller, screen: terminal.Terminal, *, yes: bool
) -> None:
    """Raise Refused unless somebody who may says so."""
    if who.kind is CallerKind.AGENT:
        note(ids, form, who, "refused")
        raise Refused(
            f"refused: an agent ({who.mark}) deletes no backups. Nothing was deleted",
            "a person does that, at a terminal",
        )
    if yes:
        return
    if not who.can_be_asked:
        note(ids, form, who, "refused")
        ways = "" if form == "delete" else ", or says --yes in a script"
        raise Refused(
            f"refused: nobody can be asked ({who.kind.value}: {who.mark}). Nothing was deleted",
            f"a person does that, at a terminal{ways}",
        )
    challenge = f"delete {wording.count(len(ids), 'backup')}"
    if not screen.confirm(challenge, "go on, for good,"):
        note(ids, form, who, "cancelled")
        raise Refused("cancelled: nothing was deleted")
