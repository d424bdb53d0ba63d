"""What our own commands work with: the store, a backup by its ID, the engine it belongs to."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safedocker import auditing, inforce
from safedocker.command.parse import Command, parse
from safedocker.edge import process, terminal, wording
from safedocker.errors import BadPolicy, NoEngine, SafedockerError

if TYPE_CHECKING:
    from safedocker.backup.manifest import Backup
    from safedocker.backup.notes import Notes
    from safedocker.backup.store import FolderStore
    from safedocker.edge.address import Address
    from safedocker.edge.engine import Engine
    from safedocker.policy.options import Caller

DAILY = "backup"  # the form of a backup that nothing was removed after
PROGRAMS = ("docker", "docker-compose")


def open_store() -> FolderStore:
    """The store of this user."""
    from safedocker.backup.store import FolderStore
    from safedocker.policy.options import STORE

    store = ""
    try:
        policy, _who = inforce.in_force(can_ask=False)
        store = policy[STORE]
    except BadPolicy as fault:  # nobody who wants data back is sent to mend a file first
        terminal.Terminal().note(f"{fault.message}; the backups are looked for in your home")
    return FolderStore(Path(process.backups_folder(store)))


def read_notes(store: FolderStore, id_: str) -> Notes:
    """What is known of a backup beside its manifest."""
    from safedocker.backup import notes

    return notes.read(store, id_)


def find_backup(store: FolderStore, given: str | None) -> Backup:
    """The backup of an ID or of the beginning of one; of None the last before a command, as one of
    an ordinary day is nothing to undo.

    A damaged one is never passed over for an older one without a word.
    """
    listing = store.list()
    ids = [one.id for one in listing.backups] + [one.id for one in listing.damaged]
    ids.sort(reverse=True)
    if given is None:
        daily = {one.id for one in listing.backups if one.form == DAILY}
        ids = [id_ for id_ in ids if id_ not in daily]
        if not ids:
            raise SafedockerError(
                f"there is no backup in {store.where}"
                + (" that was taken before a command" if daily else ""),
                "to put one of another day back: safedocker restore ID"
                if daily
                else "they are made before docker removes data",
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


def full_name(backup: Backup, given: str) -> str:
    """A volume's name by itself, or by the beginning that we show of an anonymous one."""
    held = [part.name for part in backup.parts]
    starts = [name for name in held if given and wording.to_type(name) == given[:12]]
    fits = [name for name in starts if name.startswith(given)]
    return fits[0] if given not in held and len(fits) == 1 else given


@contextlib.contextmanager
def engine_of(
    backup: Backup, given: Mapping[str, str], any_engine: bool
) -> Iterator[Engine | None]:
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


@contextlib.contextmanager
def engine_here(host: str | None, context: str | None) -> Iterator[Engine]:
    """The engine that docker would go to with these options, what a killed run of ours left there
    cleared away."""
    from safedocker.edge import address
    from safedocker.edge.engine import Engine

    options = {"host": host, "context": context}
    given = {key: value for key, value in options.items() if value is not None}
    with Engine(address.resolve(given, os.environ)) as engine:
        engine.sweep()
        yield engine


def _addresses(
    backup: Backup, host: str, given: Mapping[str, str], any_engine: bool, faults: list[NoEngine]
) -> Iterator[Address]:
    from safedocker.edge import address

    wanted: list[Mapping[str, str]] = [given]
    if not given and not any_engine:
        command = command_of(backup)
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


def command_of(backup: Backup) -> Command | None:
    """The docker command before which a backup was taken."""
    program, *words = backup.argv or ("",)
    return parse(program, words)[0] if program in PROGRAMS else None


def note(ids: tuple[str, ...], form: str, who: Caller, outcome: str) -> None:
    """Write the audit's line of what one of our own commands does to backups. Raise Refused."""
    auditing.note(ids, form, who, outcome, sys.argv, inforce.journal())
