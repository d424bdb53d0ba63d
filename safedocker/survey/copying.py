"""Part of step 2: which files a `cp` writes over, asked of the engine and of this machine in little
time. The rules are loss/copying.py's.

What standard input would write is not looked at: nobody could read it twice. It counts as nothing.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from safedocker.edge.layer import recognised
from safedocker.errors import SafedockerError
from safedocker.loss import copying, mounts
from safedocker.loss.copying import End, Place
from safedocker.loss.facts import Container, Facts, Overwritten

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine

SECONDS = 1.0  # how long a look may take
FILES = 20_000  # files of a folder of this machine that are compared
ASKED = 60  # files that are asked for one by one; of more, the engine is asked for the folder
SQLITE = b"SQLite format 3\0"
SQLITE_NAMES = (".sqlite", ".sqlite3", ".db", ".db3")


def overwritten(
    source: End,
    destination: End,
    container: Container,
    engine: Engine,
    facts: Facts,
    *,
    follow: bool,
) -> Facts:
    """The facts with what a copy between this machine and `container` writes over.

    None of the container's bind sources may be missing: to look inside would make them. Raise
    WouldFail where Docker refuses the copy.
    """
    if source.stream or destination.stream:
        return facts
    if source.container:
        found = _here(source, destination, container, engine, follow)
    else:
        found = _there(source, destination, container, engine, follow)
    return replace(facts, overwritten=facts.overwritten + tuple(found))


def _here(
    source: End, destination: End, container: Container, engine: Engine, follow: bool
) -> list[Overwritten]:
    """What is written over on this machine."""
    what = engine.host.stat(container.id, _absolute(source.path), follow=follow)
    place = Place(what is not None, what is not None and what.directory)
    root = copying.root(source, place, destination, _place(destination.path, follow=True))
    if root is None or what is None:
        return []
    if not what.directory:
        return _named({root: size} if (size := _file(root)) is not None else {})
    own = _files(root)
    if not own:
        return []
    theirs = _listed(engine, container, what.path, own)
    if theirs is None:
        return _named({os.path.join(root, path): size for path, size in own.items()})
    return _named({os.path.join(root, path): own[path] for path in own if path in theirs})


def _there(
    source: End, destination: End, container: Container, engine: Engine, follow: bool
) -> list[Overwritten]:
    """What is written over in the container, its volumes too."""
    what = _place(source.path, follow=follow or source.contents)
    stands = engine.host.stat(container.id, _absolute(destination.path))
    there = Place(stands is not None, stands is not None and stands.directory)
    root = copying.root(source, what, End(container.id, stands.path if stands else ""), there)
    if root is None:
        return []
    if not what.folder:
        found = engine.host.stat(container.id, root, follow=False)
        size = None if found is None or found.directory else found.size
        return _named({root: size} if size is not None else {}, f"{container.name}:")
    own = _files(source.path)
    folder = engine.host.stat(container.id, root, follow=False) if own else None
    if folder is None or not folder.directory:
        return []
    theirs = _listed(engine, container, root, own)
    if theirs is None:
        return [Overwritten(f"{container.name}:{root}", None)]
    both = {os.path.join(root, path): theirs[path] for path in own if path in theirs}
    return _named(both, f"{container.name}:")


def _absolute(path: str) -> str:
    return mounts.clean("/" + path)


def _place(path: str, *, follow: bool) -> Place:
    try:
        status = os.stat(path) if follow else os.lstat(path)
    except (OSError, ValueError):
        return Place(False)
    return Place(True, stat.S_ISDIR(status.st_mode))


def _file(path: str) -> int | None:
    """The bytes of what is no folder; None where there is nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else status.st_size


def _files(folder: str) -> dict[str, int]:
    """The files below a folder of this machine, by their path in it, with their bytes."""
    return dict(entry for entry, _ in zip(_walk(folder), range(FILES), strict=False))


def _walk(folder: str) -> Iterator[tuple[str, int]]:
    for at, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(at, name)
            size = _file(path)
            if size is not None:
                yield os.path.relpath(path, folder), size


def _listed(
    engine: Engine, container: Container, folder: str, wanted: Mapping[str, int]
) -> dict[str, int] | None:
    """Which of the wanted files are below a folder of the container, with their bytes; None where
    that takes too long."""
    deadline = time.monotonic() + SECONDS
    found: dict[str, int] = {}
    if len(wanted) > ASKED:
        try:
            return engine.host.listed(container.id, folder, deadline)
        except SafedockerError:
            return None
    for path in wanted:
        if time.monotonic() > deadline:
            return None
        place = engine.host.stat(container.id, os.path.join(folder, path), follow=False)
        if place is not None and not place.directory:
            found[path] = place.size
    return found


def _named(files: Mapping[str, int], before: str = "") -> list[Overwritten]:
    """The files with what they are, as far as their names tell; of those here, their beginning."""
    database = recognised(path.lstrip("/") for path in files)
    return [
        Overwritten(before + path, size, database or _sqlite(path, here=not before))
        for path, size in files.items()
    ]


def _sqlite(path: str, *, here: bool) -> str:
    if not path.endswith(SQLITE_NAMES):
        return ""
    if here:
        try:
            with open(path, "rb") as file:
                if file.read(len(SQLITE)) != SQLITE:
                    return ""
        except OSError:
            return ""
    return "SQLite files"
