"""Hints at a terminal before containers are made: what images, mounts, earlier containers and other
projects say about where the data will go. What there is to say is loss/hints.py's.

A hint changes nothing: whatever can't be found out is not told. Each is told once in a folder, or
in a Compose project.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from typing import TYPE_CHECKING

from safedocker.edge import lines, probe, process
from safedocker.errors import SafedockerError
from safedocker.loss import databases, hints
from safedocker.loss.hints import OWNER, Hint, Image, Mounted, Source, Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from safedocker.command.parse import Command
    from safedocker.loss.facts import Model, ModelService
    from safedocker.shim import Room, Settled

VARIABLE = "SAFEDOCKER_HINTS"  # "off" here spares the questions; the rest is the policy's
_HEAVY = ("node_modules", ".venv", "venv", "vendor")
_LAST = 1 << 20  # bytes of the audit that are looked through, the last ones


def tell(command: Command, room: Room | None = None) -> None:
    """Say on stderr what there is to say of containers that are about to be made or started. `room`
    is the walk's, where there was one: of Compose nothing is known without."""
    if os.environ.get(VARIABLE) == "off" or command.helps or command.error:
        return
    if command.path[0] == "compose":
        if room is not None:
            _tell_of_project(room)
        return
    socket = process.local_socket(command.globals)
    here = process.logical_directory()
    mounted = hints.mounted(command, here)
    image = command.operands[0] if command.operands else ""
    if image and socket and (mounted or databases.of_image(image)):
        _say(hints.hints(_start(command, mounted, socket)), here, socket)


def _say(found: Iterable[Hint], where: str, socket: str) -> None:
    """Tell what has not been told before; `where` is the folder, or the project."""
    new = [hint for hint in found if not _was_told(hint, where)]
    if any(hint.name == OWNER for hint in new) and not hints.shares_ids(
        probe.ask(socket, "/info")[1]
    ):
        new = [hint for hint in new if hint.name != OWNER]
    silent = _silenced() if new else None
    for hint in new if silent is not None else ():
        if hint.name not in (silent or ()) and not _was_told(hint, where):
            _remember(hint, where)
            shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in hint.told)
            sys.stderr.write(f"safedocker: hint: {shown}\n")
    sys.stderr.flush()


def _silenced() -> frozenset[str] | None:
    """The names of the hints that the policy switches off; None where nobody is to be told any."""
    from safedocker import inforce
    from safedocker.policy.options import HINTS, HINTS_OFF

    try:
        policy, who = inforce.in_force(can_ask=True)
    except SafedockerError:  # what it says is told where something hangs on it
        return None
    names: tuple[str, ...] = policy[HINTS_OFF]
    return frozenset(names) if policy[HINTS] and who.can_be_asked else None


def _start(command: Command, mounted: Sequence[Mounted], socket: str) -> Start:
    image = command.operands[0]
    name = command.value("name") or ""
    sources = _sources(mounted)
    return Start(
        image=image,
        config=_config(socket, image),
        mounted=tuple(mounted),
        name=name,
        user=command.value("user") or "",
        memory=hints.bytes_of(command.value("memory") or ""),
        environ=hints.environ(command.values("env")),
        sources=sources,
        desktop=_is_slow(sources, socket),
        left=tuple(_left(socket, name)) if name and databases.of_image(image) else (),
    )


def _tell_of_project(room: Room) -> None:
    host = room.engine.identity.host if room.engine else ""
    model = _model(room.settled) if host.startswith("unix://") else None
    if model is None or not model.definitions:
        return
    socket = host.removeprefix("unix://")
    folder = room.settled.client.folder(room.settled.command)
    found = hints.hints_of_project(_project(model, folder, socket))
    names = {one.key: one.name for one in model.volumes}
    for service in _meant(room.settled, model):
        mounted = hints.mounted_by(service, names)
        if mounted or databases.of_image(service.image):
            found += hints.hints(_start_of(service, mounted, socket))
    _say(found, f"project {model.project}", socket)


def _meant(settled: Settled, model: Model) -> list[ModelService]:
    """The services that the command is about, as far as hints go: those named with what they depend
    on, or all; v1 names those too that only some profile enables."""
    from safedocker.loss import services

    named = services.services_named(settled.command)
    chosen = services.with_dependencies(named, model)
    first = (settled.versions.compose or (2,))[0] == 1
    return [
        one
        for one in model.definitions
        if (one.name in chosen if named else not (first and one.gated))
    ]


def _model(settled: Settled) -> Model | None:
    """What Compose made of its files. `start` needs to know it for hints alone: it is asked when
    the files are new, as that takes as long as Compose takes to start."""
    from safedocker.edge import clients

    command, client = settled.command, settled.client
    if client.told or command.path[-1] != "start":
        return client.told[-1] if client.told else None
    folder = client.folder(command)
    named = [os.path.join(folder, name) for name in clients.FILE_NAMES]
    files = [path for path in (*command.project_values("file"), *named) if os.path.isfile(path)]
    newest = max((os.stat(path).st_mtime_ns for path in files), default=0)
    looked = Hint("looked at", f"{command.prefix} {newest}", "")
    if _was_told(looked, folder):
        return None
    _remember(looked, folder)
    with contextlib.suppress(SafedockerError):
        return client.project(command, settled.versions, command.operands, or_name=True)
    return None


def _project(model: Model, folder: str, socket: str) -> hints.Project:
    from safedocker.loss.facts import COMPOSE_FOLDER, COMPOSE_PROJECT

    owners = {}
    for volume in model.volumes:
        if not volume.external and probe.PLAIN.fullmatch(volume.name):
            _status, found = probe.ask(socket, f"/volumes/{volume.name}")
            if isinstance(found, dict) and (of := _label(found, COMPOSE_PROJECT)):
                owners[volume.name] = of
    filters = json.dumps({"label": [f"{COMPOSE_PROJECT}={model.project}"]}, separators=(",", ":"))
    _status, found = probe.ask(socket, f"/containers/json?all=1&filters={filters}")
    each = found if isinstance(found, list) else ()
    folders = {_label(one, COMPOSE_FOLDER) for one in each} - {""}
    own = os.path.realpath(folder)
    others = [one for one in sorted(folders) if folder and os.path.realpath(one) != own]
    return hints.Project(model.project, owners, tuple(others))


def _label(told: Mapping[str, object], key: str) -> str:
    labels = told.get("Labels")
    return str(labels.get(key) or "") if isinstance(labels, dict) else ""


def _start_of(service: ModelService, mounted: Sequence[Mounted], socket: str) -> Start:
    sources = _sources(mounted)
    database = databases.of_image(service.image)
    return Start(
        image=service.image,
        config=_config(socket, service.image),
        mounted=tuple(mounted),
        name=service.container,
        user=service.user,
        memory=hints.bytes_of(service.memory),
        environ=service.environ,
        sources=sources,
        desktop=_is_slow(sources, socket),
        left=tuple(_left(socket, service.container)) if database else (),
        service=service.name,
    )


def _sources(mounted: Sequence[Mounted]) -> dict[str, Source]:
    return {one.source: here for one in mounted if one.kind == "bind" if (here := _see(one))}


def _is_slow(sources: Mapping[str, Source], socket: str) -> bool:
    """Is it Docker Desktop that mounts these sources? Asked where that makes a difference."""
    if not any(source.heavy for source in sources.values()):
        return False
    _status, info = probe.ask(socket, "/info")
    return hints.is_desktop(info)


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


def _line(hint: Hint, where: str) -> str:
    return json.dumps([hint.name, where, hint.subject])


def _file() -> str:
    return os.path.join(process.state_folder(), "hints")


def _was_told(hint: Hint, where: str) -> bool:
    with contextlib.suppress(OSError), open(_file(), encoding="ascii") as told:
        return _line(hint, where) in told.read().splitlines()
    return False


def _remember(hint: Hint, where: str) -> None:
    with contextlib.suppress(OSError):  # then it is told again
        os.makedirs(process.state_folder(), mode=0o700, exist_ok=True)
        with open(_file(), "a", encoding="ascii") as told:
            told.write(_line(hint, where) + "\n")
