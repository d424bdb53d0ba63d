"""Installs for one person: shims in a folder of their own, and a marked block in the start files of
their shells. Everything is planned, so that it can be shown, before anything is written."""

from __future__ import annotations

import contextlib
import enum
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import assert_never

import safedocker
from safedocker import install
from safedocker.edge import process, versions
from safedocker.errors import SafedockerError
from safedocker.install import blocks, shells

_ACTIVATE = ("activate.sh", "activate.fish")


class Way(enum.Enum):
    """How a shell comes by the shims."""

    PATH = "path"
    FUNCTIONS = "functions"  # for what is typed alone


@dataclass(frozen=True)
class Places:
    """Where what we write lies, below the person's XDG_DATA_HOME."""

    base: Path

    @property
    def shims(self) -> Path:
        return self.base / "shims"

    @property
    def record(self) -> Path:
        return self.base / "install.json"

    def activate(self, language: str) -> Path:
        """What a shell of that language sources for the functions."""
        return self.base / f"activate.{language}"


@dataclass(frozen=True)
class Change:
    """One start file as it is and as it is to be. `None`: there is none."""

    file: Path
    before: bytes | None
    after: bytes | None
    lines: bytes  # the block that is put in, or those that are taken out
    where: str  # "at its end", ...
    why: str

    @property
    def shown(self) -> str:
        """The file's name, and what it is a link to."""
        real = os.path.realpath(self.file)
        return f"{self.file} (a link to {real})" if self.file.is_symlink() else str(self.file)


@dataclass(frozen=True)
class Noted:
    """What was done to a start file, to be undone. `newline`: it had none at its end; `blocks` are
    those that were written into it, the last one last."""

    file: str
    made: bool
    newline: bool
    blocks: tuple[str, ...] = ()

    @property
    def ours(self) -> tuple[bytes, ...]:
        """The blocks as they stand in the file."""
        return tuple(map(os.fsencode, self.blocks))

    def with_block(self, block: bytes) -> Noted:
        """The same once this one is written too."""
        return replace(self, blocks=tuple(dict.fromkeys([*self.blocks, os.fsdecode(block)])))


@dataclass(frozen=True)
class Record:
    """What was done, so that all of it can be undone. `folders` are those we made, inner last."""

    way: str = Way.PATH.value
    files: tuple[Noted, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """An installation, or its end, that has not happened yet."""

    places: Places
    way: Way
    changes: tuple[Change, ...]
    record: Record


def places() -> Places:
    """Where this person's shims are or would be. Raise SafedockerError where a home is not theirs:
    what root wrote there its owner could not remove."""
    base = Path(process.folder("XDG_DATA_HOME", ".local/share"))
    if os.pathsep in str(base):
        raise SafedockerError(
            f"{base} can't stand on PATH: it has a colon in it", "set XDG_DATA_HOME to another"
        )
    home = Path(os.path.expanduser("~"))
    if not home.is_dir():
        raise SafedockerError(f"the home {home} is not there", "set HOME to yours")
    owner = home.stat().st_uid
    if owner != os.getuid():
        raise SafedockerError(
            f"{home} is not yours: it belongs to the user {owner}, and you are {os.getuid()}",
            "run it without sudo for yourself, or for the machine: safedocker install --system",
        )
    return Places(base)


def plan(way: Way, environ: Mapping[str, str]) -> Planned:
    """Given the way, find the person's start files and what each is to be. Raise SafedockerError
    where one could not be read or written: then nothing is."""
    own = places()
    record = _read_record(own)
    noted = {one.file: one for one in record.files}
    changes = []
    for start in shells.starts(shells.whoami(environ)):
        ours = noted[str(start.file)].ours if str(start.file) in noted else ()
        lines = _lines(way, start.language, own)
        before = blocks.read(start.file)
        try:
            after = blocks.with_blocks(before or b"", lines, ours, on_top=start.on_top)
        except ValueError as fault:
            raise _mangled(start.file, fault) from fault
        if after == before:
            continue
        if not blocks.can_write(start.file):
            raise SafedockerError(
                f"{start.file} can't be written; nothing was written",
                "make it writable, or put the shims on PATH yourself: safedocker install "
                "--shims DIR",
            )
        where = _where(before, on_top=start.on_top)
        changes.append(Change(start.file, before, after, lines, where, start.why))
    for change in changes:
        text = change.before or b""
        fresh = not blocks.blocks_in(text)
        open_ended = fresh and bool(text) and not text.endswith(b"\n")
        new = Noted(str(change.file), change.before is None, open_ended)
        if fresh or new.file not in noted:
            noted[new.file] = new
        noted[new.file] = noted[new.file].with_block(change.lines)
    return Planned(own, way, tuple(changes), Record(way.value, tuple(noted.values())))


def _where(before: bytes | None, *, on_top: bool) -> str:
    if before is None:
        return "a new file"
    if blocks.blocks_in(before):
        return "in the place of the lines that stand there"
    return "at its beginning and at its end" if on_top else "at its end"


def _lines(way: Way, language: str, own: Places) -> bytes:
    match way:
        case Way.PATH:
            return blocks.block(shells.path_lines(language, own.shims))
        case Way.FUNCTIONS:
            return blocks.block(shells.function_lines(language, own.activate(language)))
        case _:
            assert_never(way)


def write(planned: Planned, real: str | None, real_compose: str | None) -> list[str]:
    """Write shims, start files and the record of it; return lines that say so.

    Raise SafedockerError, or OSError, when something can't be: the start files are then as before.
    """
    own = planned.places
    old = _read_record(own)
    wanted = [own.shims, *(change.file.parent for change in planned.changes)]
    made = [*old.folders, *(str(folder) for folder in _make_folders(wanted))]
    record = replace(planned.record, folders=tuple(dict.fromkeys(made)))
    blocks.write(own.record, _dumped(record))
    lines = install.write(own.shims, real, real_compose, own=True)
    for name in _ACTIVATE:
        if planned.way is Way.FUNCTIONS:
            blocks.write(own.base / name, install.filled(name, shims=own.shims))
        else:
            (own.base / name).unlink(missing_ok=True)
    _apply(planned.changes)
    return [*lines, *(f"wrote {change.shown}" for change in planned.changes)]


def plan_removal(environ: Mapping[str, str]) -> Planned:
    """Find what `write` did: by its record, and in every start file that has our lines. Raise
    SafedockerError where there is nothing, or a file could not be put back."""
    own = places()
    record = _read_record(own)
    noted = {one.file: one for one in record.files}
    for start in shells.starts(shells.whoami(environ)):
        noted.setdefault(str(start.file), Noted(str(start.file), made=False, newline=False))
    changes = []
    for one in noted.values():
        file = Path(one.file)
        before = blocks.read(file)
        ours = blocks.blocks_in(before or b"")
        if before is None or not (ours or blocks.BEGIN in before):
            continue
        try:
            after: bytes | None = blocks.without(before, one.ours)
        except ValueError as fault:
            raise _mangled(file, fault) from fault
        stays = any(blocks.added(block, one.ours) for block in ours)
        if one.newline and before.endswith(ours[-1]) and after and not stays:
            after = after.removesuffix(b"\n")
        if one.made and not after:
            after = None
        if not blocks.can_write(file):
            raise SafedockerError(f"{file} can't be written; nothing was removed", "make it so")
        where = "the file goes" if after is None else "these lines go"
        where += "; what you wrote between them stays" if stays else ""
        changes.append(Change(file, before, after, b"".join(ours), where, ""))
    if not changes and not own.record.exists() and not own.shims.is_dir():
        raise SafedockerError(
            f"nothing is installed for you: there is no {own.shims}, and no line of ours in your "
            "shells' start files",
            "for the machine: safedocker uninstall --system; elsewhere: safedocker uninstall "
            "--shims DIR",
        )
    return Planned(own, Way(record.way), tuple(changes), record)


def remove(planned: Planned) -> list[str]:
    """Put start files back, remove shims and record, and the folders that we made and that are
    empty. Return lines that say so. Raise OSError."""
    own = planned.places
    _apply(planned.changes)
    lines = [
        f"removed {change.file}" if change.after is None else f"put back {change.shown}"
        for change in planned.changes
    ]
    if own.shims.is_dir():
        with contextlib.suppress(SafedockerError):  # none of ours is left in it
            lines += install.uninstall(own.shims)
    for file in (*(own.base / name for name in _ACTIVATE), own.record):
        file.unlink(missing_ok=True)
    cache = versions.cache_file(os.environ)  # what the clients were asked: it can be asked again
    if cache is not None:
        cache.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cache.parent.rmdir()
    for folder in reversed(planned.record.folders):
        with contextlib.suppress(OSError):  # something of somebody else's is in it
            Path(folder).rmdir()
    return lines


def _apply(changes: Sequence[Change]) -> None:
    """Write every file, or none: what was written is put back when one can't be. Raise OSError."""
    done: list[Change] = []
    try:
        for change in changes:
            if blocks.read(change.file) != change.before:
                raise SafedockerError(
                    f"{change.file} has changed meanwhile; the start files are left as they are",
                    "try again",
                )
            done.append(change)
            _put(change.file, change.after)
    except BaseException:
        for change in reversed(done):
            with contextlib.suppress(OSError):
                if blocks.read(change.file) != change.before:
                    _put(change.file, change.before)
        raise


def _put(file: Path, content: bytes | None) -> None:
    if content is None:
        Path(os.path.realpath(file)).unlink(missing_ok=True)
    else:
        blocks.write(file, content)


def _make_folders(wanted: Sequence[Path]) -> list[Path]:
    """Make folders as a person's own mkdir would; return those that were not there, outer first."""
    made = []
    for folder in wanted:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir()
            made.append(one)
    return made


def _read_record(own: Places) -> Record:
    """What an earlier installation noted. A record that can't be read counts as none: our lines are
    found by their marks."""
    text = blocks.read(own.record) or b"{}"
    try:
        told = json.loads(text)
        return Record(
            Way(told["way"]).value,
            tuple(_noted(**one) for one in told["files"]),
            tuple(map(str, told["folders"])),
        )
    except (ValueError, KeyError, TypeError):
        return Record()


def _noted(*, file: str, made: bool, newline: bool, blocks: Sequence[str] = ()) -> Noted:
    return Noted(file, made, newline, tuple(map(str, blocks)))


def _dumped(record: Record) -> bytes:
    told = {"install": 1, "version": safedocker.__version__, **asdict(record)}
    return json.dumps(told, indent=1).encode("ascii") + b"\n"


def _mangled(file: Path, fault: ValueError) -> SafedockerError:
    return SafedockerError(
        f"{file}: {fault}; nothing was written",
        f"repair it by hand: our lines stand between {blocks.BEGIN.decode()} and "
        f"{blocks.END.decode()}",
    )
