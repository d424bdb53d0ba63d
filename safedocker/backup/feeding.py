"""Feeds a dump of a backup into a database that runs, and compares. Nothing that stands there is
replaced unless that was said, and then it is dumped into a backup of its own first.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import zstandard

import safedocker
from safedocker.backup import dumping, dumps, restores
from safedocker.backup.dumping import NoAnswer, Server
from safedocker.backup.dumps import Database, section_name
from safedocker.backup.manifest import Backup, Consistency, CrossCheck, Dump, Part
from safedocker.backup.restores import Journal, Restore
from safedocker.backup.sqltext import There
from safedocker.backup.store import Claim, FolderStore
from safedocker.backup.take import Occasion, Progress, Stage, origin
from safedocker.backup.ways import DUMP_ONLY, Engine
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import Container
from safedocker.loss.plan import Kind

_STARTING = 60.0  # seconds that a server which starts is waited for
_SILENCE = 600.0  # seconds that an index over much data may take to be built


@dataclass(frozen=True)
class Fed:
    """What a server was given. `compared` is a sentence, `saved` holds what was replaced."""

    dump: Dump
    container: str
    compared: str
    saved: Backup | None
    upgrade: str  # a program to be run in a server of a later version; "" for none
    notes: tuple[str, ...]  # sentences for the person


def feed(
    backup: Backup,
    only: Sequence[str],
    into: str,
    engine: Engine,
    store: FolderStore,
    *,
    overwrite: bool,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
) -> Fed:
    """Feed the dump of a backup into the database that runs in the container `into`.

    `only` names the volume whose dump it is, where there are several. Databases of the same names
    that hold anything are left alone, and SafedockerError raised, unless `overwrite`; then they are
    dumped into a backup first. Raise SafedockerError too when the server is another kind or an
    older version, does not answer in time, refuses a line, or does not hold what the dump holds.
    What a feed left half done, the next one of the same dump replaces, after a dump of it too.
    """
    made = _choose(backup, only)
    row = dumps.by_name(made.database)
    container = _find(into, engine)
    with store.hold(backup.id):
        _check(backup, made, store)
        server = _wait(row, container, engine)
        if _major(server.version) < _major(made.version) or (
            ("MariaDB" in server.version) != ("MariaDB" in made.version)  # MySQL is of its row too
        ):
            raise SafedockerError(
                f"the dump is of {row.name} {made.version}, and {container.name} runs "
                f"{server.version}: nothing was changed",
                "feed it into a server of that kind, of that version or a later one",
            )
        there = _in_the_way(made, server)
        saved = None
        journal = Journal(store, backup.id, engine.identity.id)
        entry = restores.feed(made.file.name, container.id)
        of = next(part.name for part in backup.parts if made in part.dumps)
        line = Restore(engine.identity.id, entry, done=False, part=of)
        if there:
            if not (overwrite or journal.began(entry)):
                raise SafedockerError(
                    f"{row.name} in {container.name} holds {', '.join(there)} already: nothing was "
                    "changed",
                    "feed it into an empty server; or replace what is there, after a dump of it: "
                    "--overwrite",
                )
            saved = _save(server, engine, store, occasion, progress, now)
            _clear(server, there, engine, saved)
            server = _wait(row, container, engine)
        journal.write(line)
        try:
            late: list[bytes] = []
            told, parts = _feed(backup, made, server, engine, store, progress, late)
            try:
                compared = _compare_now(made, server, parts, told, engine, progress)
            finally:
                _settle(server, late, engine)
                journal.write(replace(line, done=True))
        except SafedockerError as fault:
            kept = f"; what was there is in the backup {saved.id}" if saved else ""
            fault.hint = f"{fault.hint}{kept}".removeprefix("; ")
            raise
    later = _major(server.version) != _major(made.version)
    upgrade = row.upgrade if later else ""
    notes = (*journal.notes, *_shut_out(server, late, engine))
    return Fed(made, container.name, compared, saved, upgrade, notes)


def _choose(backup: Backup, only: Sequence[str]) -> Dump:
    held = {part.name: part.dumps for part in backup.parts if part.dumps}
    found = [one for name, made in held.items() for one in made if not only or name in only]
    if not found:
        why = "; ".join(part.no_dump for part in backup.parts if part.no_dump)
        raise SafedockerError(
            f"the backup {backup.id} holds no such dump{f' ({why})' if why else ''}",
            f"it has dumps of: {', '.join(held)}" if held else "put the volume back instead",
        )
    if len(found) > 1:
        raise SafedockerError(
            f"the backup {backup.id} holds {len(found)} dumps",
            f"say which with --volume: {', '.join(held)}",
        )
    return found[0]


def _find(into: str, engine: Engine) -> Container:
    _volumes, containers = engine.snapshot()
    for one in containers:
        if one.name == into or (into and one.id.startswith(into)):
            return one
    raise SafedockerError(f"there is no container {into}", "see which there are: docker ps")


def _check(backup: Backup, made: Dump, store: FolderStore) -> None:
    try:
        dumping.read_back(made, store.open(backup.id, made.file.name))
    except (OSError, zstandard.ZstdError, SafedockerError) as fault:
        raise SafedockerError(
            f"the dump {made.file.name} of the backup {backup.id} is damaged ({fault}): nothing "
            "was changed",
            "put it back from a copy of the backup's folder, or undo the volume without it",
        ) from fault


def _wait(row: Database, container: Container, engine: Engine) -> Server:
    deadline = time.monotonic() + _STARTING
    while True:
        try:
            return dumping.probe(row, container, engine)
        except NoAnswer as fault:
            if fault.never or container.state != "running" or time.monotonic() > deadline:
                raise SafedockerError(
                    f"{row.name} in {container.name} can't be asked: {fault.message}: nothing was "
                    "changed",
                    f"name the container of a {row.name} that runs",
                ) from fault
            time.sleep(0.5)


def _major(version: str) -> tuple[int, ...]:
    """What has to match: 15 of PostgreSQL 15.4, 10.11 of MariaDB 10.11.6."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return tuple(numbers[:1] if numbers and numbers[0] > 10 else numbers)


def _in_the_way(made: Dump, server: Server) -> tuple[str, ...]:
    names = {*made.holds, *(server.row.own if server.row.clear else ())}
    replaces_all = not server.row.clear
    return tuple(
        one.name for one in server.databases if one.count and (replaces_all or one.name in names)
    )


def _save(
    server: Server,
    engine: Engine,
    store: FolderStore,
    occasion: Occasion,
    progress: Progress,
    now: datetime.datetime,
) -> Backup:
    """Dump what is about to be replaced into a backup of its own."""
    name = server.volume
    volume = engine.volume(name) if name else None
    if volume is None:
        raise NoBackup(
            f"what {server.container.name} holds lies in no volume, so there is nothing that a "
            "backup of it could belong to: nothing was changed",
            "feed the dump into an empty server",
        )
    draft = store.begin(Claim(now, occasion.argv, occasion.caller))
    try:
        made = dumping.dump(
            *(server, engine, draft, "volume-1"),
            lambda done: progress(Stage.DUMP, server.container.name, done, None),
        )
        part = Part(
            kind=Kind.NAMED_VOLUME,
            name=name,
            driver=volume.driver,
            options=dict(volume.options),
            labels=dict(volume.labels),
            used_by=(),
            content=f"{server.row.name} {server.version}",
            way=DUMP_ONLY,
            file=None,
            inventory=None,
            consistency=Consistency.DUMPED,
            reached=f"by {made.tool}",
            cross_check=CrossCheck.NONE,
            not_kept=(
                "its files: the dump is fed into a server, with --dump-into",
                *(f"the database {name}, which lets nobody connect" for name in made.lacks),
            ),
            dumps=(made,),
        )
        saved = Backup(
            id=draft.id,
            taken_at=now.astimezone(datetime.UTC),
            verified_at=datetime.datetime.now(datetime.UTC),
            safedocker=safedocker.__version__,
            argv=occasion.argv,
            cwd=occasion.cwd,
            caller=occasion.caller,
            engine=origin(engine),
            form=occasion.form,
            project=occasion.project,
            stopped=(),
            parts=(part,),
        )
        draft.commit(saved)
    except BaseException as fault:
        with contextlib.suppress(OSError):
            draft.discard()
        if isinstance(fault, OSError):
            raise NoBackup(
                f"what is there can't be backed up ({fault.strerror or fault}): nothing was "
                "changed",
                f"see that {store.where} can be written",
            ) from fault
        raise
    return saved


def _clear(server: Server, names: Sequence[str], engine: Engine, saved: Backup) -> None:
    row, container = server.row, server.container
    if not row.clear:
        return
    if wrong := sorted(row.own.intersection(names)):
        raise SafedockerError(
            f"{', '.join(wrong)} of {container.name} can't be replaced: nothing was changed",
            "feed the dump into an empty server",
        )
    argv = row.argv(row.clear, *names)
    with engine.execute(container.id, argv, server.settings, None, _SILENCE) as ran:
        for _piece in ran:
            pass
    if ran.exit_code:
        raise SafedockerError(
            f"{', '.join(names)} could not be removed from {container.name}: "
            f"{dumping.last_words(ran.said)}",
            f"what was there is in the backup {saved.id}",
        )


def _feed(
    backup: Backup,
    made: Dump,
    server: Server,
    engine: Engine,
    store: FolderStore,
    progress: Progress,
    late: list[bytes],
) -> tuple[tuple[dumping.Held, ...], Parts]:
    """Write the dump into the server, but for what is to come `late`; return what its program told,
    and what the dump held."""
    row, container = server.row, server.container
    parts = Parts(row)
    done = 0

    def sent() -> Iterator[bytes]:
        nonlocal done
        pieces = dumping.opened(made, store.open(backup.id, made.file.name))
        databases = frozenset(one.name for one in server.databases)
        there = There(server.roles, databases, server.login)
        for piece in row.adapt(parts.watched(pieces), there, late):
            yield piece
            done += len(piece)
            progress(Stage.WRITE, container.name, done, made.bytes)

    argv = row.argv(row.restore, str(made.bytes))
    try:
        with engine.execute(container.id, argv, server.settings, sent(), _SILENCE) as ran:
            said = b"".join(ran).decode("utf-8", "replace")
        reason = ran.exit_code and (dumping.last_words(ran.said) or f"exit code {ran.exit_code}")
    except (OSError, SafedockerError) as fault:  # the server, or the engine, went away
        reason = fault.message if isinstance(fault, SafedockerError) else str(fault)
    if reason:
        raise SafedockerError(
            f"{row.name} in {container.name} did not take the dump: {reason.removesuffix('.')}; it "
            "may hold a part of it now",
            f"the backup is whole. See what the server says: docker logs {container.name}\n"
            f"then type it again: safedocker undo {backup.id} --dump-into {container.name} (what "
            "is there by then is dumped first)",
        )
    return _told(said), parts


def _compare_now(
    made: Dump,
    server: Server,
    parts: Parts,
    told: tuple[dumping.Held, ...],
    engine: Engine,
    progress: Progress,
) -> str:
    """Return a sentence on how the server compares with the dump that it took."""
    row, container = server.row, server.container
    try:
        now = dumping.probe(row, container, engine)
        return _compare(made, now, parts, told, engine, progress)
    except NoAnswer as fault:
        raise SafedockerError(
            f"{row.name} in {container.name} took the dump without an error, but can't be compared "
            f"with it: {fault.message}",
            f"the backup is whole; see what the server says: docker logs {container.name}",
        ) from fault


def _settle(server: Server, late: Sequence[bytes], engine: Engine) -> None:
    """Have the server do what was to come late: from then on it lets in whom the dump says."""
    if not late:
        return
    row, container = server.row, server.container
    lines = b"".join(line + b"\n" for line in late)
    argv = row.argv(row.restore, str(len(lines)))
    with engine.execute(container.id, argv, server.settings, iter([lines]), _SILENCE) as ran:
        for _piece in ran:
            pass
    if ran.exit_code:
        raise SafedockerError(
            f"{row.name} in {container.name} took the dump, but its users and passwords are not "
            f"all the dump's: {dumping.last_words(ran.said)}",
            f"the backup is whole; see what the server says: docker logs {container.name}",
        )


def _shut_out(server: Server, late: Sequence[bytes], engine: Engine) -> tuple[str, ...]:
    """A sentence where what the container knows opens its server no more."""
    if not late:
        return ()
    try:
        dumping.probe(server.row, server.container, engine)
    except NoAnswer as fault:
        name = server.container.name
        return (
            f"the password in the environment of {name} opens the server no more ({fault.message}):"
            " what connects to it, and a container that you make of its volume, needs the one of "
            "the database that was dumped",
        )
    return ()


def _told(said: str) -> tuple[dumping.Held, ...]:
    lines = [line.partition("=") for line in said.splitlines()]
    return dumping.held(value for key, _, value in lines if key == "database")


def _compare(
    made: Dump,
    server: Server,
    parts: Parts,
    told: tuple[dumping.Held, ...],
    engine: Engine,
    progress: Progress,
) -> str:
    """Raise SafedockerError when the server does not hold what the dump holds."""
    row, name = server.row, server.container.name
    lacks = sorted({*made.holds} - {one.name for one in server.databases})
    if told and {*told} != {*server.databases}:
        lacks = lacks or ["some keys"]
    if lacks:
        raise SafedockerError(
            f"{row.name} in {name} took the dump, but lacks {', '.join(lacks)}",
            f"see what it says: docker logs {name}",
        )
    if told:
        return f"{sum(one.count for one in told)} keys, as in the dump"
    if not made.holds:
        return "the dump holds nothing"
    if row.ignored is None or made.tool != server.tool:
        return f"the databases are there: {', '.join(made.holds)}; what is in them was not compared"
    again = Parts(row)
    argv = row.argv(row.dump)
    done = 0
    with engine.execute(server.container.id, argv, server.settings, None, _SILENCE) as ran:
        for piece in again.watched(row.trim(ran)):
            done += len(piece)
            progress(Stage.COMPARE, name, done, made.bytes)
    wanted = {one: digest for one, digest in parts.digests().items() if one not in row.own}
    found = again.digests()
    differ = sorted(one for one, digest in wanted.items() if found.get(one) != digest)
    if ran.exit_code or differ:
        raise SafedockerError(
            f"{row.name} in {name} took the dump, but another dump of it differs in "
            f"{', '.join(differ) or dumping.last_words(ran.said)}",
            f"the server may have been written to meanwhile; see what it says: docker logs {name}",
        )
    return "another dump of it is the same, line by line"


class Parts:
    """The digest of each database's part of a dump, without the lines that two dumps differ in."""

    def __init__(self, row: Database) -> None:
        self._section, self._ignored = row.section, row.ignored
        self._digests: dict[str, hashlib._Hash] = {}
        self._name = ""  # "": what stands before the first, roles and passwords

    def watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a dump on."""
        rest = b"\n"
        for piece in pieces:
            held = rest + piece
            cut = held.rfind(b"\n")  # each line begins with the end of the last one
            self._take(held[:cut])
            rest = held[cut:]
            yield piece
        self._take(rest)

    def _take(self, lines: bytes) -> None:
        """Whole lines, each with the newline before it."""
        at = 0
        for found in self._section.finditer(lines + b"\n") if self._section else ():
            self._count(lines[at : found.start()])
            self._name = section_name(found)
            at = found.end()
        self._count(lines[at:])

    def _count(self, lines: bytes) -> None:
        if self._ignored is not None:
            digest = self._digests.setdefault(self._name, hashlib.sha256())
            digest.update(self._ignored.sub(b"", lines))

    def digests(self) -> dict[str, str]:
        """By database."""
        return {name: one.hexdigest() for name, one in self._digests.items() if name}
