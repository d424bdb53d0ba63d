"""What a container wrote outside its mounts: how much, and whether a database is in it. Asks the
engine; the table of what is recognised is look.py's."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import posixpath
import time
from collections.abc import Iterable, Mapping

from safedocker.edge import answers
from safedocker.edge import look as inside
from safedocker.edge.wire import Wire
from safedocker.errors import NoEngine, SafedockerError
from safedocker.loss.facts import Holds, Look

ADDED, DELETED = 1, 2  # the kind of a change; 0 is modified
COPIED = 4  # places of a container that one command copies out
MEASURED = 400  # files of no weight whose size is asked for, at the most
# Logs, caches and what is temporary: nobody misses it.
LIGHT_PLACES = ("tmp/", "var/tmp/", "var/log/", "var/cache/", "var/lib/apt/lists/", "run/", "dev/")
LIGHT_NAMES = frozenset((".cache", "__pycache__", ".npm", "logs"))
# What may be a SQLite file, and what is one of the package manager's, made again with the image.
SQLITE_NAMES = (".db", ".db3", ".sqlite", ".sqlite3")
PACKAGES = ("var/lib/rpm/", "usr/lib/sysimage/rpm/", "var/lib/dnf/")
PROBED = 20  # of those, how many are looked into
UNKNOWN = Look(Holds.UNKNOWN, None, 0, "", None)


def look_into_layer(wire: Wire, id_: str, seconds: float) -> Look:
    """Look into the writable layer of a container, running or not, within `seconds`.

    `size` leaves out logs, caches and temporary places, as far as there was time to measure them.
    """
    deadline = time.monotonic() + seconds
    try:
        changed = wire.json(
            "GET", f"/containers/{id_}/changes", "list a container's changes", timeout=seconds
        )
        left = max(0.1, deadline - time.monotonic())
        found = wire.json(
            "GET", f"/containers/{id_}/json", "weigh a container", {"size": "1"}, timeout=left
        )
    except SafedockerError:
        return UNKNOWN
    size = answers.mapping(found).get("SizeRw", 0)
    paths = [
        answers.text(one, "Path").lstrip("/")
        for one in map(answers.mapping, changed or ())
        if one.get("Kind") != DELETED
    ]
    if not isinstance(size, int):
        return UNKNOWN
    if size <= 0:
        return Look(Holds.EMPTY, 0, 0, "", None)
    content = recognised(paths)
    light = [path for path in paths if is_light(path)]
    # To look at a path in it lets the engine make bind sources that are missing.
    if _mounts_what_is_here(answers.mapping(found)):
        if light and len(light) <= MEASURED:
            size -= _measured(wire, id_, light, deadline)
        if not content and _has_sqlite(wire, id_, paths, deadline):
            content = "SQLite files"
    return Look(Holds.DATA, max(size, 0), max(size, 0), content or "files", None)


def changed(wire: Wire, id_: str) -> tuple[str, ...]:
    """The places that hold what a container wrote and somebody may miss, COPIED at the most: the
    first new file or folder below what the image has, or a folder above several. Absolute.

    Raise NoEngine.
    """
    found = wire.json("GET", f"/containers/{id_}/changes", "list a container's changes")
    kinds = {
        answers.text(one, "Path"): one.get("Kind") for one in map(answers.mapping, found or ())
    }
    parents = {posixpath.dirname(path) for path in kinds}
    tops = {
        path
        for path, kind in kinds.items()
        if kind != DELETED
        and not is_light(path.lstrip("/"))
        and kinds.get(posixpath.dirname(path)) != ADDED
        and (kind == ADDED or path not in parents)  # a folder is modified by what is new in it
    }
    while len(tops) > COPIED:
        deepest = max(tops, key=lambda path: (path.count("/"), path))
        above = posixpath.dirname(deepest)
        tops = {path for path in tops if not path.startswith(f"{above.rstrip('/')}/")} | {above}
    return tuple(sorted(tops))


def _mounts_what_is_here(inspected: Mapping[str, object]) -> bool:
    """Is every bind mount's source on this machine? For an engine elsewhere: has it none?"""
    sources = [path.source for path in answers.binds(inspected)]
    return all(map(os.path.exists, sources))


def is_light(path: str) -> bool:
    """Is a path, without its leading slash, a log, a cache, or in a temporary place?"""
    return (
        path.startswith(LIGHT_PLACES)
        or path.endswith(".log")
        or not LIGHT_NAMES.isdisjoint(path.split("/"))
    )


def recognised(paths: Iterable[str]) -> str:
    """Name the database whose files are among the paths, wherever it keeps them."""
    every = {path for path in paths if not is_light(path)}
    firsts = {
        marker.partition("/")[0] for row in inside.ROWS for marker in (*row.all_of, *row.any_of)
    }
    for folder in sorted({posixpath.dirname(p) for p in every if posixpath.basename(p) in firsts}):

        def has(path: str, below: str = folder) -> bool:
            return posixpath.join(below, path) in every

        if name := inside.recognise(has, lambda _path: b""):
            return name
    return ""


def _has_sqlite(wire: Wire, id_: str, paths: Iterable[str], deadline: float) -> bool:
    likely = [
        path
        for path in paths
        if path.lower().endswith(SQLITE_NAMES)
        and not is_light(path)
        and not path.startswith(PACKAGES)
    ]
    for path in likely[:PROBED]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        with (
            contextlib.suppress(SafedockerError),
            wire.reading(
                f"/containers/{id_}/archive",
                "look at a file",
                {"path": f"/{path}"},
                size=inside.HEAD,
                timeout=left,
                kind=NoEngine,
            ) as chunks,
        ):
            if inside.first_file(chunks).startswith(inside.SQLITE):
                return True
    return False


def _measured(wire: Wire, id_: str, paths: Iterable[str], deadline: float) -> int:
    """The bytes of these paths; what there is no time for counts nothing."""
    total = 0
    for path in paths:
        if time.monotonic() > deadline:
            break
        answer = wire.find(
            "HEAD", f"/containers/{id_}/archive", "look at a file", {"path": f"/{path}"}
        )
        stat = answer.headers.get("X-Docker-Container-Path-Stat", "") if answer else ""
        try:
            told = json.loads(base64.b64decode(stat))
            # Go's os.FileMode: the top bits tell what is no regular file.
            total += int(told["size"]) if int(told["mode"]) < 1 << 19 else 0
        except (ValueError, KeyError, TypeError):
            continue
    return total
