"""Puts a backup back for a trial: its volumes into scratch volumes, its databases started on them
by their own images, counted, and all of it torn down again.

No network, none of the container's other mounts: nothing that a database does here gets out.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import posixpath
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from safedocker.backup import aside, layers, trials, ways
from safedocker.backup.aside import Place
from safedocker.backup.contents import metered, read_by
from safedocker.backup.inventory import BadArchive, Inventory, TreeReader, difference
from safedocker.backup.manifest import Backup, Part, Use
from safedocker.backup.notes import Drill, Outcome, PartDrill
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Progress, Stage
from safedocker.backup.tree import Entry
from safedocker.backup.trials import Database, Trial
from safedocker.backup.verify import read_part
from safedocker.errors import NoBackup, NoEngine, SafedockerError
from safedocker.loss.plan import Kind

WAIT = 120.0  # seconds a database may take to come up
_LOOK = 0.2  # seconds between two looks whether it has
_LOG_LINES = 12
_NOT_TAKEN = ("_FILE", "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD")


class Stands(Protocol):
    """Where a trial stands; edge/trial.py has it."""

    def scratch(self) -> AbstractContextManager[str]: ...
    def image(self, name: str, /) -> tuple[str, tuple[str, ...]] | None: ...
    def trial(
        self,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        user: str,
        volumes: Mapping[str, str],
        /,
    ) -> AbstractContextManager[Trial]: ...


class Engine(ways.Engine, Protocol):
    """An engine with room for trials."""

    @property
    def trials(self) -> Stands: ...


@dataclass
class _Laid:
    """A volume's part that lies in a scratch volume. `marks`: data folder, marks found in it."""

    part: Part
    scratch: str
    marks: dict[str, set[str]] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The database's own data folder: the one that is not below another."""
        return min(self.marks, key=lambda path: (path.count("/"), len(path), path))


def drill(
    backup: Backup,
    engine: Engine,
    store: FolderStore,
    progress: Progress,
    now: datetime.datetime,
    wait: float = WAIT,
    image: str = "",
) -> Drill:
    """Try a backup out on an engine, and say of each part how it went. `now` is UTC, `wait` in
    seconds, `image` for databases of which nobody knows who ran them. What was made is gone when
    this returns or raises.

    Raise SafedockerError when the engine can't be asked any more.
    """
    outcomes: dict[int, PartDrill] = {}
    with store.reading(backup.id), contextlib.ExitStack() as stack:
        laid: dict[int, _Laid] = {}
        for number, part in enumerate(backup.parts):
            try:
                read_part(backup, part, store, progress)
                if part.aside is not None:
                    if aside.is_back(engine, part.name, part.aside):
                        told = "it is in the volume again: nothing stands aside to be tried"
                        outcomes[number] = PartDrill(part.name, Outcome.COMPARED, told)
                        continue
                    one = _Laid(part, stack.enter_context(engine.trials.scratch()))
                    _lay_aside(one, part.aside, engine, progress)
                    laid[number] = one
                    continue
                if part.file is None or part.inventory is None:
                    outcomes[number] = _read_only(part)
                    continue
                one = _Laid(part, stack.enter_context(engine.trials.scratch()))
                pieces = store.open(backup.id, part.file.name)
                _lay(one, pieces, part.inventory, engine, progress)
                laid[number] = one
            except OSError as fault:
                why = f"{part.file.name if part.file else part.name}: {fault.strerror or fault}"
                outcomes[number] = PartDrill(part.name, Outcome.FAILED, why)
            except NoEngine:
                raise
            except SafedockerError as fault:
                outcomes[number] = PartDrill(part.name, Outcome.FAILED, fault.message)
        for number, one in laid.items():
            progress(Stage.TRY, one.part.name, 0, None)
            trying = _Trying(backup, tuple(laid.values()), engine, store, wait, image)
            outcomes[number] = trying.run(one)
    parts = tuple(outcomes[number] for number in range(len(backup.parts)))
    return Drill(now, engine.identity.name, parts)


def _read_only(part: Part) -> PartDrill:
    """What is no volume with files of its own: nothing of it can be started apart."""
    if part.file is not None:
        return PartDrill(part.name, Outcome.COMPARED, "its file was read and compared")
    if part.way == ways.DUMP_ONLY:
        told = "of it there is a dump alone, and no volume to try"
        return PartDrill(part.name, Outcome.COMPARED, told)
    told = "only its definition is in the backup: nothing to try"
    return PartDrill(part.name, Outcome.COMPARED, told)


def _lay_aside(one: _Laid, place: Place, engine: Engine, progress: Progress) -> None:
    """Fill a scratch volume with a copy of what stands aside on the engine, read back, compared."""
    reader = TreeReader()
    with engine.read_aside(place.path) as stream:
        engine.write_volume(
            one.scratch,
            read_by(
                reader,
                stream,
                lambda done: progress(Stage.WRITE, one.part.name, done, one.part.size),
            ),
        )
    _read_back(one, reader.finish(), engine, progress)


def _lay(
    one: _Laid,
    pieces: Iterable[bytes],
    expected: Inventory,
    engine: Engine,
    progress: Progress,
) -> None:
    """Fill a scratch volume, read it back and compare. Raise BadArchive when it is not the same."""
    name, total = one.part.name, expected.bytes
    ways.by_name(one.part.way).put_back(
        engine, one.scratch, one.part, pieces, lambda done: progress(Stage.WRITE, name, done, total)
    )
    _read_back(one, expected, engine, progress)


def _read_back(one: _Laid, expected: Inventory, engine: Engine, progress: Progress) -> None:
    """Read a scratch volume, note where data folders are, and compare. Raise BadArchive."""
    name, total = one.part.name, expected.bytes
    row = _row(one.part)

    def tell(entry: Entry, _content: bytes) -> None:
        found = row and trials.folder_of(os.fsdecode(entry.path), row)
        if found:
            one.marks.setdefault(found[0], set()).add(found[1])

    reader = TreeReader(tell)
    with engine.read_volume(one.scratch) as stream:
        for piece in metered(stream, lambda done: progress(Stage.COMPARE, name, done, total)):
            reader.feed(piece)
    if differs := difference(expected, reader.finish()):
        raise BadArchive(f"put back, it does not hold what the backup holds: {differs}")


@dataclass(frozen=True)
class _Trying:
    """The databases of one backup, whose volumes lie ready."""

    backup: Backup
    laid: tuple[_Laid, ...]
    engine: Engine
    store: FolderStore
    wait: float
    image: str

    def run(self, one: _Laid) -> PartDrill:
        """Start what lies in one of the volumes, and count what it holds."""
        part, row = one.part, _row(one.part)
        plain = part.content in {"", "files"}
        if row is None or (plain and not one.marks):
            told = "files compared, nothing to start"
            if not plain:
                told = f"files compared; how {part.content} is started is not known here"
            return PartDrill(part.name, Outcome.COMPARED, told)
        content = row.names[0] if plain else part.content
        use = _use(part, row)
        if use is None and self.image:
            use = Use("", self.image, row.target, running=False)
        if use is None:
            told = f"files compared; {content} was not started: no container is known that ran it"
            return PartDrill(part.name, Outcome.COMPARED, told)
        if not one.marks:
            why = f"no data folder of {content} was found among its files"
            return PartDrill(part.name, Outcome.FAILED, why)
        image = self.engine.trials.image(use.image)
        if image is None:
            why = (
                f"files compared; the image {use.image} is not on the engine, so {content} "
                f"could not be started: docker pull {use.image}"
            )
            return PartDrill(part.name, Outcome.FAILED, why)
        start = row.start(posixpath.join(use.target, one.data), frozenset(one.marks[one.data]))
        command = (*image[1], *start.arguments) if start.arguments else ()
        known, user = self._known(use)
        environment = {**known, **dict(start.environment)}
        if start.files:
            self.engine.write_volume(one.scratch, [_tar(one, start.files)])
        volumes = {use.target: one.scratch} | {
            each.target: other.scratch
            for other in self.laid
            for each in other.part.used_by
            if each.container == use.container
        }
        began = time.monotonic()
        try:
            with self.engine.trials.trial(image[0], command, environment, user, volumes) as trial:
                why = self._await(trial, row)
                if why:
                    told = f"{content} {why}"
                    return PartDrill(part.name, Outcome.FAILED, told, trial.log(_LOG_LINES))
                took = time.monotonic() - began
                counts = row.count(trial, environment)
        except NoBackup as fault:  # the engine would not start it
            why = f"{content} could not be started: {fault.message}"
            return PartDrill(part.name, Outcome.FAILED, why)
        told = f"{content} came up in {took:.1f} s"
        if counts is None:
            told += "; what it holds could not be counted: it let nobody in"
        return PartDrill(part.name, Outcome.CAME_UP, told, counts=dict(counts or {}))

    def _await(self, trial: Trial, row: Database) -> str:
        """Why it did not come up; "" when it did."""
        end = time.monotonic() + self.wait
        while trials.first(trial, row.ready, row.answer) is None:
            code = trial.exit_code()
            if code is not None:
                return f"ended with exit code {code} instead of coming up"
            if time.monotonic() > end:
                return f"did not come up within {self.wait:.0f} s"
            time.sleep(_LOOK)
        return ""

    def _known(self, use: Use) -> tuple[dict[str, str], str]:
        """The environment and the user of the container, where it still stands or is in the backup.

        A database that finds its data needs neither; some images want it all the same. Paths to
        secret files are left out, as those are not there.
        """
        config = self._definition(use).get("Config") or {}
        pairs = (str(one).partition("=") for one in config.get("Env") or ())
        environment = {key: value for key, _, value in pairs if not key.endswith(_NOT_TAKEN)}
        return environment, str(config.get("User") or "")

    def _definition(self, use: Use) -> Mapping[str, Any]:
        if not use.container:
            return {}
        for part in self.backup.parts:
            if part.kind is Kind.LAYER and part.name == use.container and part.file is not None:
                with contextlib.suppress(SafedockerError, OSError):
                    pieces = self.store.open(self.backup.id, part.file.name)
                    return layers.head_in(pieces).definition
        with contextlib.suppress(NoBackup):
            found = self.engine.definition(use.container)
            if (found.get("Config") or {}).get("Image") == use.image:
                return found
        return {}


def _tar(one: _Laid, files: Iterable[tuple[str, bytes]]) -> bytes:
    """Files for the data folder, as `write_volume` takes them."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(posixpath.join("volume", one.data, name))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def _row(part: Part) -> Database | None:
    return trials.of(part.content, [use.image for use in part.used_by])


def _use(part: Part, row: Database) -> Use | None:
    """The container that ran the database, of all that mounted its volume."""

    def worth(use: Use) -> tuple[bool, bool]:
        return row.has_image(use.image), use.running

    return max(part.used_by, key=worth, default=None)
