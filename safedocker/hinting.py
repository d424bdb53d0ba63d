"""Hints before a `docker run` or `create` at a terminal: what the image, the mounts and earlier
containers say about where the data will go. What there is to say is loss/hints.py's.

A hint changes nothing: whatever can't be found out is not told. Each is told once in a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from typing import TYPE_CHECKING

from safedocker.edge import lines, probe, process
from safedocker.loss import databases, hints
from safedocker.loss.hints import Hint, Image, Mounted, Source, Start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safedocker.command.parse import Command

VARIABLE = "SAFEDOCKER_HINTS"  # "off", or the names of those that are not wanted
_HEAVY = ("node_modules", ".venv", "venv", "vendor")
_DESKTOP = ("/.docker/run/", "/.docker/desktop/")
_LAST = 1 << 20  # bytes of the audit that are looked through, the last ones


def tell(command: Command) -> None:
    """Say on stderr what there is to say of a container that is about to be made."""
    unwanted = os.environ.get(VARIABLE, "").replace(",", " ").split()
    if "off" in unwanted or command.helps or command.error or not command.operands:
        return
    socket = process.local_socket(command.globals)
    mounted = hints.mounted(command, process.logical_directory())
    if not socket or not (mounted or databases.of_image(command.operands[0])):
        return
    here = process.logical_directory()
    found = hints.hints(_start(command, mounted, socket))
    for hint in found if found and _is_a_person() else ():
        if hint.name not in unwanted and _is_new(hint, here):
            shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in hint.told)
            sys.stderr.write(f"safedocker: hint: {shown}\n")
    sys.stderr.flush()


def _is_a_person() -> bool:
    from safedocker import inforce

    return inforce.caller(can_ask=True).can_be_asked


def _start(command: Command, mounted: Sequence[Mounted], socket: str) -> Start:
    image = command.operands[0]
    name = command.value("name") or ""
    sources = {one.source: here for one in mounted if one.kind == "bind" if (here := _see(one))}
    return Start(
        image=image,
        config=_config(socket, image),
        mounted=tuple(mounted),
        name=name,
        user=command.value("user") or "",
        memory=hints.bytes_of(command.value("memory") or ""),
        environ=hints.environ(command.values("env")),
        sources=sources,
        desktop=any(part in socket for part in _DESKTOP),
        left=tuple(_left(socket, name)) if name and databases.of_image(image) else (),
    )


def _config(socket: str, image: str) -> Image:
    _status, found = probe.ask(socket, f"/images/{image}/json")
    config = found.get("Config") if isinstance(found, dict) else None
    if not isinstance(config, dict):
        return Image()
    pairs = [str(pair) for pair in config.get("Env") or ()]
    volumes = frozenset(map(str, config.get("Volumes") or ()))
    return Image(str(config.get("User") or ""), volumes, hints.environ(pairs))


def _see(one: Mounted) -> Source | None:
    try:
        state = os.stat(one.source)
    except OSError:
        return None
    heavy = [name for name in _HEAVY if os.path.isdir(os.path.join(one.source, name))]
    folder = stat.S_ISDIR(state.st_mode)
    return Source(state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode), folder, tuple(heavy))


def _left(socket: str, name: str) -> Iterator[str]:
    """The anonymous volumes that a container of this name left, by our audit, and that are there
    and nobody's, the last one last."""
    for line in lines.read(os.path.join(process.state_folder(), "audit.jsonl"), last=_LAST):
        with contextlib.suppress(LookupError, TypeError):
            for loss in line["losses"]:
                left = loss["kind"] == "detached volume" and f" of {name} at " in loss["why"]
                if left and _is_nobodys(socket, str(loss["name"])):
                    yield str(loss["name"])


def _is_nobodys(socket: str, volume: str) -> bool:
    if not probe.PLAIN.fullmatch(volume):
        return False
    filters = json.dumps({"volume": [volume]}, separators=(",", ":"))
    _status, users = probe.ask(socket, f"/containers/json?all=1&filters={filters}")
    return users == [] and probe.ask(socket, f"/volumes/{volume}")[0] == 200


def _is_new(hint: Hint, folder: str) -> bool:
    """Has it not been told here before? It has from now on."""
    line = json.dumps([hint.name, folder, hint.subject])
    path = os.path.join(process.state_folder(), "hints")
    with contextlib.suppress(OSError), open(path, encoding="ascii") as told:
        if line in told.read().splitlines():
            return False
    with contextlib.suppress(OSError):  # then it is told again
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "a", encoding="ascii") as told:
            told.write(line + "\n")
    return True
