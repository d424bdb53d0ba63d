"""TABLE of hints: what a person who starts a container may not know of where its data will go. Each
is one line, and changes nothing. Pure; whether one is told is hinting.py's."""

from __future__ import annotations

import posixpath

from safedocker.command.parse import Command
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.errors import WouldFail
from safedocker.loss import databases, mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safedocker.loss.facts import ModelService

OWNER = "owner"  # told only where users of containers are those of the host


class Hint(NamedTuple):
    """One line for a person. `subject` is what it is about: of each it is told once in a folder."""

    name: str  # a row's
    subject: str
    told: str


class Image(NamedTuple):
    """What an image says of the containers made of it."""

    user: str = ""
    volumes: frozenset[str] = frozenset()
    environ: Mapping[str, str] = {}


class Source(NamedTuple):
    """A bind mount's path on this machine. `heavy`: folders in it that hold very many files."""

    uid: int
    gid: int
    mode: int
    folder: bool = True
    heavy: tuple[str, ...] = ()


class Mounted(NamedTuple):
    """One place of the new container that is not its own layer."""

    kind: str  # "bind", "volume", "tmpfs"
    source: str  # a path, a volume's name, "" for an anonymous volume or a tmpfs
    target: str
    read_only: bool = False
    size: int | None = None  # bytes, of a tmpfs


class Start(NamedTuple):
    """A container that is about to be made, or started: all that the rows look at."""

    image: str  # as it was typed
    config: Image
    mounted: tuple[Mounted, ...]
    name: str
    user: str  # what --user says, "" where it says nothing
    memory: int | None  # bytes
    environ: Mapping[str, str]
    sources: Mapping[str, Source]
    desktop: bool  # is the engine Docker Desktop's?
    left: tuple[str, ...]  # anonymous volumes that a container of this name left behind
    service: str = ""  # Compose's; "" for `docker run`

    @property
    def subject(self) -> str:
        """What it is called: its service, its name, or else its image."""
        return self.service or self.name or self.image

    def mounting(self, source: str, target: str) -> str:
        """How to mount a volume there, as it is written where this container is told of."""
        if self.service:
            return f'in the file, volumes: ["{source}:{target}"] of {self.service}'
        return f"-v {source}:{target}"

    def running_as(self, user: str) -> str:
        """How to run it as another user."""
        return f'user: "{user}"' if self.service else f"--user {user}"


class Project(NamedTuple):
    """A Compose project that is about to be started, and what is on the engine already."""

    name: str
    volumes: Mapping[str, str]  # the project that a volume of the file says it is of, by its name
    folders: tuple[str, ...]  # other folders whose containers go by this project's name


def data_of(row: databases.Database, start: Start) -> str:
    """Where the database of a new container will keep its data."""
    said = start.environ.get(row.variable) or start.config.environ.get(row.variable)
    return posixpath.normpath(said) if row.variable and said else row.data


def over(start: Start, place: str) -> Mounted | None:
    """What is mounted over a place, or over a folder above it: the nearest one counts. None where
    it is in the container's own layer."""
    declared = [Mounted("volume", "", posixpath.normpath(one)) for one in start.config.volumes]
    typed = {one.target for one in start.mounted}
    there = [*start.mounted, *(one for one in declared if one.target not in typed)]
    above = [one for one in there if f"{place}/".startswith(f"{one.target.rstrip('/')}/")]
    return max(above, key=lambda one: len(one.target), default=None)


def _no_volume(start: Start) -> Iterator[Hint]:
    row = databases.of_image(start.image)
    if row is None:
        return
    data = data_of(row, start)
    holds = over(start, data)
    if holds is not None and (holds.source or holds.kind != "volume"):
        return
    named = [one for one in start.mounted if one.kind == "volume" and one.source]
    goes = "an anonymous volume" if holds is not None else "the container itself"
    beside = [one for one in named if one.target.startswith("/var/lib/") or row.data in one.target]
    if beside:
        first = beside[0]
        yield Hint(
            "volume-beside",
            f"{first.source} {first.target}",
            f"the volume {first.source} is mounted at {first.target}, but this {row.name} keeps "
            f"its data in {data}, which is {goes}: mount it there "
            f"({start.mounting(first.source, data)})",
        )
        return
    yield Hint(
        "no-volume",
        start.subject,
        f"the data of this {row.name} go into {goes} that the next container will not find: "
        f"give them a name ({start.mounting('NAME', data)})",
    )


def _bind_over_database(start: Start) -> Iterator[Hint]:
    row = databases.of_image(start.image)
    holds = over(start, data_of(row, start)) if row else None
    if row is not None and holds is not None and holds.kind == "bind":
        yield Hint(
            "bind-over-database",
            holds.source,
            f"{holds.source} is mounted over the data of this {row.name}: what the image would "
            f"set up there is hidden, and owners follow the host; a named volume is made for it "
            f"({start.mounting('NAME', holds.target)})",
        )


def _owner(start: Start) -> Iterator[Hint]:
    who = (start.user or start.config.user).partition(":")[0]
    group = (start.user or start.config.user).partition(":")[2]
    if not who.isdecimal() or int(who) == 0:
        return  # root, or a name that only the image's own /etc/passwd knows
    uid, gid = int(who), int(group) if group.isdecimal() else 0
    for one in start.mounted:
        source = start.sources.get(one.source) if one.kind == "bind" else None
        if source is None:
            continue
        wants = 0o5 if one.read_only and source.folder else 0o4 if one.read_only else 0o2
        have = source.mode >> (6 if source.uid == uid else 3 if source.gid == gid else 0)
        if have & wants != wants:
            what = "read" if one.read_only else "write"
            yield Hint(
                OWNER,
                one.source,
                f"this image runs as user {uid}, and {one.source} belongs to user {source.uid}, "
                f"mode {source.mode & 0o7777:04o}: it can't {what} there; "
                f"{start.running_as(f'{source.uid}:{source.gid}')}, or a named volume",
            )


def _tmpfs(start: Start) -> Iterator[Hint]:
    for one in start.mounted:
        if one.kind == "tmpfs" and one.size and start.memory and one.size > start.memory:
            yield Hint(
                "tmpfs-over-memory",
                one.target,
                f"the tmpfs at {one.target} may grow to {one.size >> 20} MiB, but the container "
                f"has {start.memory >> 20} MiB of memory: it is killed when that is full",
            )


def _slow(start: Start) -> Iterator[Hint]:
    if not start.desktop:
        return
    for one in start.mounted:
        source = start.sources.get(one.source) if one.kind == "bind" else None
        for heavy in source.heavy if source else ():
            inside = posixpath.join(one.target, heavy)
            if over(start, inside) == one:
                yield Hint(
                    "slow-mount",
                    posixpath.join(one.source, heavy),
                    f"{heavy} lies on a bind mount, which Docker Desktop makes slow: keep it in a "
                    f"volume ({start.mounting('NAME', inside)})",
                )


def _left_behind(start: Start) -> Iterator[Hint]:
    row = databases.of_image(start.image)
    if row is None or not start.left:
        return
    data = data_of(row, start)
    holds = over(start, data)
    if holds is None or not holds.source:
        last = start.left[-1]
        yield Hint(
            "left-behind",
            last,
            f"an earlier container {start.name} left its data in the anonymous volume {last}: "
            f"to have them again: {start.mounting(last, holds.target if holds else data)}"
            + (", and external: true for that volume" if start.service else ""),
        )


TABLE: tuple[tuple[str, Callable[[Start], Iterator[Hint]]], ...] = (
    ("left-behind", _left_behind),
    ("no-volume", _no_volume),
    ("bind-over-database", _bind_over_database),
    (OWNER, _owner),
    ("tmpfs-over-memory", _tmpfs),
    ("slow-mount", _slow),
)


def hints(start: Start) -> list[Hint]:
    """All that there is to say of a new container, the weightiest first."""
    return [hint for _name, row in TABLE for hint in row(start)]


def _others_volume(project: Project) -> Iterator[Hint]:
    for volume, owner in project.volumes.items():
        if owner != project.name:
            yield Hint(
                "others-volume",
                volume,
                f"the volume {volume} is project {owner}'s: this project writes into the same "
                f"data, and `down -v` of either takes it from both; external: true keeps it",
            )


def _name_taken(project: Project) -> Iterator[Hint]:
    for folder in project.folders:
        yield Hint(
            "name-taken",
            f"{project.name} {folder}",
            f"the project {project.name} has containers of {folder} already: to Compose both "
            f"folders are one project, and `up` here replaces those; -p NAME gives it its own",
        )


PROJECT_TABLE: tuple[tuple[str, Callable[[Project], Iterator[Hint]]], ...] = (
    ("name-taken", _name_taken),
    ("others-volume", _others_volume),
)


def hints_of_project(project: Project) -> list[Hint]:
    """All that there is to say of a project, beside what there is of each container."""
    return [hint for _name, row in PROJECT_TABLE for hint in row(project)]


# Every name that a hint has, and that can be switched off.
NAMES = (*(name for name, _row in PROJECT_TABLE), *(name for name, _row in TABLE), "volume-beside")


# what a command says


def mounted(command: Command, folder: str) -> tuple[Mounted, ...]:
    """Everything that `docker run` or `create` mounts, as far as its words are right."""
    told: list[Mounted] = []
    for spec in command.values("volume"):
        try:
            raw = mounts.of_client(spec, mounts.CLIENTS[-1], folder)
            target = (mounts.of_engine(raw) if raw else mounts.Bind("", spec)).target
        except WouldFail:
            continue
        source, colon, rest = raw.partition(":")
        kind = "bind" if source.startswith("/") else "volume"
        mode = rest.partition(":")[2].split(",")
        told.append(Mounted(kind, source if colon else "", target, "ro" in mode))
    told += [one for value in command.values("mount") if (one := _of_mount(value, folder))]
    return (*told, *map(_of_tmpfs, command.values("tmpfs")))


def _of_tmpfs(value: str) -> Mounted:
    target, _, options = value.partition(":")
    sizes = [one[5:] for one in options.split(",") if one.startswith("size=")]
    return Mounted("tmpfs", "", target, size=bytes_of(sizes[-1]) if sizes else None)


def mounted_by(service: ModelService, volumes: Mapping[str, str]) -> tuple[Mounted, ...]:
    """Everything that a service of Compose's mounts; `volumes` gives their names by their keys."""
    told = [
        one._replace(source=volumes.get(one.source, one.source)) if one.kind == "volume" else one
        for one in service.mounted
    ]
    return (*told, *map(_of_tmpfs, service.tmpfs))


def _of_mount(value: str, folder: str) -> Mounted | None:
    given = dict.fromkeys(("ro", "readonly"), "")
    fields: dict[str, str] = {}
    for one in value.split(","):
        key, equals, word = one.partition("=")
        fields[key.lower()] = word if equals else "true"
    kind = fields.get("type", "volume")
    source = fields.get("source", fields.get("src", ""))
    target = fields.get("target", fields.get("dst", fields.get("destination", "")))
    if not target.startswith("/") or kind not in {"bind", "volume", "tmpfs"}:
        return None
    if kind == "bind":
        source = mounts.absolute(source, mounts.CLIENTS[-1], folder)
    read_only = any(fields.get(key) in {"1", "true"} for key in given)
    size = bytes_of(fields.get("tmpfs-size", ""))
    return Mounted(kind, source, posixpath.normpath(target), read_only, size)


def is_desktop(info: object) -> bool:
    """Is the engine Docker Desktop's, by what it answers to GET /info?"""
    return isinstance(info, dict) and info.get("OperatingSystem") == "Docker Desktop"


def shares_ids(info: object) -> bool:
    """Are users of containers those of the host, by what the engine answers to GET /info? Not so
    where it is rootless, or remaps them."""
    told = info.get("SecurityOptions") if isinstance(info, dict) else None
    others = ("name=userns", "name=rootless")
    return isinstance(told, list) and not any(str(one).startswith(others) for one in told)


def environ(pairs: Sequence[str]) -> dict[str, str]:
    """What -e says; a name alone is taken from the client's own environment, and not known here."""
    told = (pair.partition("=") for pair in pairs)
    return {name: value for name, equals, value in told if equals}


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def bytes_of(size: str) -> int | None:
    """ "2g" in bytes, as docker and mount read it; None for what is no size.

    Source: docker/go-units size.go, RAMInBytes.
    """
    number = size.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        return None
