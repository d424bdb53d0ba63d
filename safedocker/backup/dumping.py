"""Takes a logical dump of a database while it runs, reads it back and proves it whole. Beside the
cold copy, never instead of it. Which databases there are is dumps.py's, when it is done take.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from safedocker.backup import dumps
from safedocker.backup.contents import Meter, Sealed, metered
from safedocker.backup.dumps import Database, Watch
from safedocker.backup.inventory import BadArchive
from safedocker.backup.manifest import Dump, Stored
from safedocker.backup.store import Draft
from safedocker.backup.ways import Engine
from safedocker.backup.zst import pack, unpack
from safedocker.errors import NoBackup, SafedockerError
from safedocker.loss.facts import HELPER, Bytes, Container
from safedocker.loss.plan import Loss

_PATIENCE = 20.0  # seconds a database may take to answer a question
_SILENT = dict.fromkeys((126, 127), "its container has no sh")
_SILENCE = 120.0  # seconds a dump may stand still


@dataclass(frozen=True)
class Held:
    """A database of a server, and how many tables, keys or collections it holds."""

    name: str
    count: int


@dataclass(frozen=True)
class Server:
    """A database that answers: what a row's probe says of it."""

    container: Container
    row: Database
    version: str  # of the server
    tool: str  # what its client calls itself
    data: str  # the directory that it keeps its data in
    databases: tuple[Held, ...]
    roles: frozenset[str]
    login: str  # the role that asked; "" where there are none
    closed: tuple[str, ...]  # databases that let nobody connect: no dump has them
    settings: Mapping[str, str]

    @property
    def volume(self) -> str:
        """The volume that its data lies in; "" where it lies in none."""
        over = [
            mount
            for mount in self.container.mounts
            if f"{self.data.rstrip('/')}/".startswith(f"{mount.target.rstrip('/')}/")
        ]
        return max(over, key=lambda mount: len(mount.target)).volume if over else ""


class NoAnswer(SafedockerError):  # noqa: N818 - named for what is missing, as in errors.py
    """A database that can't be dumped as it stands. `never`: waiting will not help."""

    def __init__(self, message: str, *, never: bool) -> None:
        super().__init__(message, "")
        self.never = never


@dataclass(frozen=True)
class Taken:
    """The dump of what is in a volume, or why there is none; "" where no database runs with it."""

    dumps: tuple[Dump, ...] = ()
    why_none: str = ""


def take(
    losses: Iterable[Loss],
    containers: Iterable[Container],
    engine: Engine | None,
    draft: Draft,
    up_to: int | None,
    meter: Callable[[Loss], Meter],
    *,
    why_not: str = "",
) -> dict[str, Taken]:
    """Dump the databases that run with the volumes, while they run, into the draft; by volume.

    A database that can't be asked, as there is no client program in its container, no password
    that opens it, or as it is still starting, gets no dump, and the reason is returned: the cold
    copy is a whole backup. A dump that was begun and is not whole raises NoBackup. `up_to` are the
    bytes of a volume above which a dump would keep the person waiting; None for no such line.
    `why_not` says why none can be had at all; then none is tried.
    """
    return {
        loss.name: Taken()
        if up_to == 0 or engine is None
        else _take(loss, containers, engine, draft, f"volume-{number}", up_to, meter(loss), why_not)
        for number, loss in enumerate(losses, 1)
    }


def _take(
    loss: Loss,
    containers: Iterable[Container],
    engine: Engine,
    draft: Draft,
    stem: str,
    up_to: int | None,
    meter: Meter,
    why_not: str,
) -> Taken:
    reasons = []
    for one in containers:
        if HELPER in one.labels or not any(mount.volume == loss.name for mount in one.mounts):
            continue
        row = dumps.recognise(loss.content or loss.in_memory, one.image)
        if row is None or one.state not in {"running", "paused", "restarting"}:
            continue
        if why_not:
            return Taken(why_none=f"{row.name} in {one.name}: {why_not}")
        size = loss.size if loss.size is not None else loss.at_least
        if up_to is not None and (size > up_to or loss.size is None):
            known = "of unknown size" if loss.size is None else str(Bytes(size))
            return Taken(
                why_none=f"{row.name} in {one.name}: the volume is {known}, and a dump is taken by "
                f"itself of up to {Bytes(up_to)}"
            )
        try:
            server = probe(row, one, engine)
            if server.volume != loss.name:
                raise NoAnswer(f"it keeps its data elsewhere, in {server.data}", never=True)
        except NoAnswer as fault:
            if fault.never and loss.content in {"", "files"}:
                continue  # only the image's name spoke for it
            reasons.append(f"{row.name} in {one.name}: {fault.message}")
            continue
        return Taken((dump(server, engine, draft, stem, meter),))
    return Taken(why_none="; ".join(reasons))


def probe(row: Database, container: Container, engine: Engine) -> Server:
    """Ask a database who it is and what it holds. Raise NoAnswer when it can't be dumped now."""
    if container.state != "running":
        raise NoAnswer(f"it is {container.state}", never=False)
    try:
        settings = row.settings(engine.definition(container.id))
        argv = row.argv(row.probe)
        with engine.execute(container.id, argv, settings, None, _PATIENCE) as ran:
            said = b"".join(ran).decode("utf-8", "surrogateescape")
    except SafedockerError as fault:
        raise NoAnswer(fault.message, never=False) from fault
    if ran.exit_code:
        raise NoAnswer(
            last_words(ran.said) or _SILENT.get(ran.exit_code, f"it ended with {ran.exit_code}"),
            never=ran.exit_code in {dumps.NEVER, *_SILENT},
        )
    told: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        told.setdefault(key, []).append(value)
    first = {key: values[0] for key, values in told.items()}
    said_all = all(first.get(key) for key in ("server", "tool"))
    if not said_all or not first.get("data", "").startswith("/"):  # CONFIG may be forbidden
        raise NoAnswer("it does not say who it is, or where its data lies", never=False)
    if not first.get("listens"):
        raise NoAnswer("it listens nowhere, as while it sets itself up", never=False)
    return Server(
        container,
        row,
        first["server"].split()[0],
        first["tool"],
        first["data"],
        held(told.get("database", ())),
        frozenset(told.get("role", ())),
        first.get("login", ""),
        tuple(told.get("closed", ())),
        settings,
    )


def held(lines: Iterable[str]) -> tuple[Held, ...]:
    """Read lines of COUNT NAME."""
    pairs = [line.partition(" ") for line in lines]
    return tuple(Held(name, int(count)) for count, _, name in pairs if count.isdecimal())


def dump(server: Server, engine: Engine, draft: Draft, stem: str, meter: Meter) -> Dump:
    """Dump all of a server's databases into the draft, read it back, and prove it whole.

    Raise NoBackup when it is empty, was cut short, or is not what was written.
    """
    row, container = server.row, server.container
    seen = Watch(row.section)
    plain, packed = hashlib.sha256(), hashlib.sha256()

    def watched(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in metered(pieces, meter):
            seen.feed(piece)
            plain.update(piece)
            yield piece

    name = f"{stem}.dump.zst"
    argv = row.argv(row.dump)
    try:
        with engine.execute(container.id, argv, server.settings, None, _SILENCE) as ran:
            size = draft.put(name, pack(watched(row.trim(ran)), packed.update))
    except SafedockerError as fault:
        raise _failed(server, fault.message.removesuffix(".")) from fault
    if ran.exit_code:
        raise _failed(server, last_words(ran.said) or f"it ended with {ran.exit_code}")
    if not seen.size:
        raise _failed(server, last_words(ran.said) or "it wrote nothing")
    if fault_found := row.whole(seen, frozenset(one.name for one in server.databases)):
        raise _failed(server, fault_found)
    stored = Stored(name, size, packed.hexdigest())
    made = Dump(
        file=stored,
        bytes=seen.size,
        sha256=plain.hexdigest(),
        database=row.name,
        version=server.version,
        tool=server.tool,
        container=container.name,
        image=container.image,
        holds=tuple(one.name for one in server.databases if one.name not in row.own),
        proof=row.proof,
        lacks=server.closed,
    )
    read_back(made, draft.open(name))
    return _checked(made, server, engine, draft)


def _checked(made: Dump, server: Server, engine: Engine, draft: Draft) -> Dump:
    """Have the row's own program read what lies in the store, where the container has one."""
    row = server.row
    if not row.check:
        return made
    argv = row.argv(row.check, str(made.bytes))
    pieces = unpack(draft.open(made.file.name))
    try:
        with engine.execute(server.container.id, argv, {}, pieces, _SILENCE) as ran:
            for _piece in ran:
                pass
    except SafedockerError as fault:
        raise _failed(server, fault.message.removesuffix(".")) from fault
    if ran.exit_code == dumps.NEVER:
        return made
    if ran.exit_code:
        raise _failed(server, last_words(ran.said) or "its own program finds it damaged")
    return replace(made, proof=f"{made.proof}; {row.checked}")


def read_back(made: Dump, pieces: Iterable[bytes]) -> None:
    """Read a dump's file from the store. Raise BadArchive when it is not what was written."""
    for _piece in opened(made, pieces):
        pass


def opened(made: Dump, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The dump itself, out of its file. Raise BadArchive at the end when it is not what was
    written, zstandard.ZstdError when it can't be unpacked."""
    sealed = Sealed(pieces)
    digest = hashlib.sha256()
    size = 0
    for piece in unpack(sealed):
        digest.update(piece)
        size += len(piece)
        yield piece
    sealed.compare(made.file)
    if (size, digest.hexdigest()) != (made.bytes, made.sha256):
        raise BadArchive(f"{made.file.name} does not hold the dump that was written")


def last_words(said: str) -> str:
    """The line of what a program wrote that says most: the first of an error, or the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "mismatch" in line.lower()]
    return " ".join((errors[:1] or lines[-1:] or [""])[0].split())


def _failed(server: Server, reason: str) -> NoBackup:
    name = server.container.name
    return NoBackup(
        f"the dump of {server.row.name} in {name} failed: {reason}: nothing was removed",
        f"see what it says: docker logs {name}; or go without a dump, with the copy of its files "
        "alone: SAFEDOCKER_PROTECT=archive",
    )
