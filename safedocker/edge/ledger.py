"""The machine's log, where root has set it up: a folder that all may write to and read, with a file
for each user. Who wrote a line is told by whose the file is: the kernel's word, not the line's.

What people make is noted here too, so that it can be told whose it is. Hot.
"""

from __future__ import annotations

import os

from safedocker.command.record import TYPE_CHECKING
from safedocker.edge import lines, process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

FOLDER = "/var/log/safedocker"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/:")
_STICKY, _OTHERS_WRITE = 0o1000, 0o002


def stands() -> bool:
    """Is there a machine's log? Root's folder, in which nobody can take away another's file."""
    try:
        state = os.stat(FOLDER)
    except OSError:
        return False
    writable = state.st_mode & _OTHERS_WRITE
    return state.st_uid == 0 and bool(not writable or state.st_mode & _STICKY)


def person() -> int:
    """The uid of the person who calls; behind sudo, of the one who typed it."""
    behind = process.behind_sudo()
    return os.getuid() if behind is None else behind


def append(text: str) -> None:
    """Append a line to our own file. Raise OSError."""
    lines.append(os.path.join(FOLDER, f"{os.getuid()}.jsonl"), text, shared=True)


def mark(socket: str, volumes: Iterable[str], containers: Iterable[str]) -> None:
    """Note what a command that is about to run would make on the engine at a socket of this
    machine. Nothing is raised: whose it is will then not be known."""
    import time

    made = [
        ",".join(f'"{name}"' for name in names if name and _PLAIN.issuperset(name))
        for names in (volumes, containers)
    ]
    if not any(made) or not _PLAIN.issuperset(socket):
        return
    text = (
        f'{{"mark":1,"at":{time.time():.3f},"engine":"unix://{socket}","person":{person()},'
        f'"volumes":[{made[0]}],"containers":[{made[1]}]}}'
    )
    try:
        append(text)
    except OSError:
        return


def read(last: int | None = None) -> Iterator[dict[str, Any]]:
    """Every line of every user, those of one the oldest first; with "user" as the kernel tells it,
    and "person": whom root's line names, else the same. `last`: of that many bytes of each."""
    try:
        names = sorted(os.listdir(FOLDER)) if stands() else []
    except OSError:
        return
    for name in names:
        stem = name.removesuffix(".jsonl")
        if stem == name or not (stem.isascii() and stem.isdecimal()):
            continue
        uid = int(stem)
        for told in lines.read(os.path.join(FOLDER, name), owner=uid, last=last):
            behind = told.get("person")
            yield {
                **told,
                "user": uid,
                "person": behind if uid == 0 and isinstance(behind, int) else uid,
            }
