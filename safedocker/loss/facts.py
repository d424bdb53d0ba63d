"""The nouns the engine fills: what it holds, as it states it. No rule is decided here."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safedocker.loss.hints import Mounted

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_FOLDER = "com.docker.compose.project.working_dir"
COMPOSE_FILES = "com.docker.compose.project.config_files"
COMPOSE_VERSION = "com.docker.compose.version"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"
COMPOSE_VOLUME = "com.docker.compose.volume"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_HASH = "com.docker.compose.config-hash"
COMPOSE_FOLDER = "com.docker.compose.project.working_dir"
OWNER = "com.safedocker.owner"  # a login or a uid: whose it is, for who makes it to say
ANONYMOUS = "com.docker.volume.anonymous"
STACK = "com.docker.stack.namespace"
TASK = "com.docker.swarm.task.id"
TASK_SERVICE = "com.docker.swarm.service.id"
TASK_NODE = "com.docker.swarm.node.id"
HELPER = (
    "com.safedocker.helper"  # on every container and image of our own; its value names the owner
)


class Bytes(int):
    """A size that is written for people, in Docker's decimal units: "512 B", "1.2 GB"."""

    def __str__(self) -> str:
        value = float(self)
        for unit in ("B", "kB", "MB", "GB", "TB"):
            if value < 999.5 or unit == "TB":
                break
            value /= 1000
        return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


@dataclass(frozen=True)
class EngineIdentity:
    """Which engine: its address, what it calls itself, and how it speaks."""

    host: str  # "unix:///var/run/docker.sock", "tcp://10.0.0.1:2376", "ssh://me@box"
    source: str  # how the address was found: "-H", "--context prod", "DOCKER_HOST", ..., "default"
    name: str  # the engine's own host name
    id: str
    version: str  # "26.1.5"
    api: tuple[int, int]  # the highest API the engine speaks
    remote: bool  # not on this machine, as far as the address tells
    context: str = ""  # the docker context in force, "default" where a host was named
    also: tuple[tuple[str, str], ...] = ()  # its other names: ("context", "prod"), ("host", ...)
    doubted: bool = False  # does a variable's or an option's word alone make it that context's?

    @property
    def contexts(self) -> tuple[str, ...]:
        """The names of all contexts that are known to lead to it, that in force first."""
        others = (name for table, name in self.also if table == "context")
        return tuple(dict.fromkeys(filter(None, (self.context, *others))))


@dataclass(frozen=True)
class HostPath:
    """A path of the engine's host that a container mounts, and that Docker makes when it starts
    the container, if it is not there."""

    source: str  # absolute
    target: str
    of: str  # the service's or the container's name; "" for the one that is about to be made
    image: str = ""  # as the container names it; its file at `target` tells what was meant
    file: bool | None = None  # is the target a file in the image? None: not looked, or not told
    near: tuple[str, ...] = ()  # paths that are there, with names much like this one's


@dataclass(frozen=True)
class Mount:
    """What is mounted in a container: a volume, a folder of the host, a tmpfs."""

    kind: str  # "volume", "bind", "tmpfs", ...
    volume: str  # "" unless kind is "volume"
    source: str  # the host's path, for a bind mount
    target: str
    # What `rm -v` takes: the mount was asked for without a source. None: not looked at.
    anonymous: bool | None
    read_only: bool = False
    limit: int | None = None  # bytes that a tmpfs may hold; None: no size was set, or no tmpfs
    held: bool = True  # does the engine count the container as a user of the volume?


@dataclass(frozen=True)
class Container:
    """A container in any state. `inspected` says whether the mounts' anonymity is known."""

    id: str
    name: str  # without the leading slash
    image: str
    running: bool  # running, paused or restarting: `rm` without -f refuses it
    labels: Mapping[str, str]
    mounts: tuple[Mount, ...]
    state: str = ""  # "running", "exited", "created", "paused", "restarting", "removing", "dead"
    aliases: tuple[str, ...] = ()  # its further names, as legacy links make them: "parent/alias"
    auto_remove: bool | None = None  # None: not inspected
    inspected: bool = False
    created: float = 0.0  # seconds since the epoch, by the engine's clock
    image_id: str = ""
    binds: tuple[HostPath, ...] = ()  # host paths that its start would make; once inspected
    exit_code: int | None = None  # how it ended; None: it did not, or that is not told
    inherited: frozenset[str] | None = None  # names of labels that are its image's; None: unknown

    @property
    def project(self) -> str | None:
        """The Compose project the container says it belongs to."""
        return self.labels.get(COMPOSE_PROJECT)

    @property
    def not_its_own(self) -> frozenset[str]:
        """The names of the labels that it has of its image, or perhaps has. Compose puts the
        project on the images that it builds, too: a container with the hash that Compose gives to
        containers is of the project that it says."""
        found = frozenset(self.labels) if self.inherited is None else self.inherited
        made = COMPOSE_HASH in self.labels and COMPOSE_HASH not in found
        return found - {COMPOSE_PROJECT} if made else found


@dataclass(frozen=True)
class Volume:
    """A volume's definition."""

    name: str
    driver: str
    options: Mapping[str, str]
    labels: Mapping[str, str]
    # As the engine writes it. Up to 20.10 it moves when the volume's root directory changes
    # (moby#44719); from 26.1 on, seen not to, it tells a volume from its successor.
    created_at: str
    mountpoint: str = ""

    @property
    def project(self) -> str | None:
        """The Compose project the volume says it belongs to."""
        return self.labels.get(COMPOSE_PROJECT)

    @property
    def data_directory(self) -> str | None:
        """The engine's own directory that the volume's contents lie in, where they do.

        Source: moby volume/local/local.go, (*Root).DataPath.
        """
        root, found, rest = self.mountpoint.rpartition(f"/volumes/{self.name}/_data")
        return root if found and self.driver == "local" and not self.options and not rest else None

    @property
    def elsewhere(self) -> str | None:
        """Where the data really lives, when removing the volume only drops a reference; else None.

        A local volume with type=nfs/cifs or o=bind leaves its data behind on removal
        (docker-semantics 3.2). tmpfs options hold nothing that outlives the last container.
        """
        if self.driver != "local" or not self.options:
            return None
        kind = self.options.get("type", "")
        device = self.options.get("device", "")
        said = self.options.get("o", "").split(",")
        if kind in {"nfs", "nfs4", "cifs", "smb3"}:
            hosts = [one.removeprefix("addr=") for one in said if one.startswith("addr=")]
            host = hosts[-1] if hosts and device.startswith(":") else ""  # NFS's is told apart
            return f"{kind} {host}{device}".strip()
        if "bind" in said:
            return device
        return None


class Holds(enum.Enum):
    """What a look inside a volume said."""

    DATA = "data"
    EMPTY = "empty"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Owner:
    """Whose a folder is, and its permission bits."""

    uid: int
    gid: int
    mode: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


@dataclass(frozen=True)
class Look:
    """What is inside a volume, as far as the time budget let us see."""

    holds: Holds
    size: int | None  # bytes; None: unknown
    at_least: int  # bytes seen before the time was up; equals size when that is known
    content: str  # "PostgreSQL 15", "Redis", "SQLite files", "files", "" when nothing was seen
    last_write: datetime.datetime | None  # UTC
    owner: Owner | None = None  # of its root folder; None where that was not seen


@dataclass(frozen=True)
class Overwritten:
    """A file or a folder that stands where something is copied to."""

    place: str  # "web:/data/dump.sql", or a path of this machine
    size: int | None  # bytes; None: unknown
    content: str = ""  # a database's name, where one is recognised


@dataclass(frozen=True)
class Image:
    """An image, or what is left of one under no name."""

    id: str
    names: tuple[str, ...]  # "postgres:15"; () for a dangling one
    size: int  # bytes
    parent: str = ""  # the id of the image it was built on, where the store keeps that
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0  # seconds since the epoch


@dataclass(frozen=True)
class Plugin:
    """A plugin of the engine's."""

    id: str
    name: str  # with its tag: "vieux/sshfs:latest"
    enabled: bool


@dataclass(frozen=True)
class Context:
    """A context of the client's configuration."""

    name: str
    current: bool  # the one in force for this command
    host: str  # of its engine, as far as it can be read
    tls: bool  # certificates and keys belong to it
    folder: str  # of the configuration that holds it


@dataclass(frozen=True)
class SwarmItem:
    """A secret or a config: what the swarm keeps under an id and a name."""

    id: str
    name: str
    labels: Mapping[str, str]

    @property
    def stack(self) -> str | None:
        """The stack it says it belongs to."""
        return self.labels.get(STACK)


@dataclass(frozen=True)
class Service:
    """A service of the swarm."""

    id: str
    name: str
    labels: Mapping[str, str]
    replicas: int | None  # None: global, or a job
    secrets: tuple[str, ...]  # ids of those it uses
    configs: tuple[str, ...]
    job: bool = False
    before: int | None = None  # the replicas that a rollback goes back to
    restart: str = "any"  # the condition: "any", "on-failure", "none"
    attempts: int = 0  # how often a task may be tried again; 0: without end
    # Where a task's container has anonymous volumes; None: its image is not here to be asked.
    anonymous: tuple[str, ...] | None = None

    @property
    def stack(self) -> str | None:
        """The stack it says it belongs to."""
        return self.labels.get(STACK)


@dataclass(frozen=True)
class Task:
    """One run of a service's container."""

    id: str
    service: str  # the service's id
    slot: int  # 0 of a global service
    node: str  # the node's id, "" before it has one
    container: str  # the container's id, "" before it has one
    state: str  # "running", "shutdown", ...
    desired: str  # what the swarm wants of it: the same words
    at: float  # when it came into its state, seconds since the epoch


class SwarmState(enum.Enum):
    """What this node is in the swarm."""

    MANAGER = "manager"
    WORKER = "worker"
    UNKNOWN = "unknown"  # locked, or in trouble: nobody can ask what it knows


@dataclass(frozen=True)
class Swarm:
    """What this engine's swarm holds, as far as the node can tell: only a manager knows more than
    its own id."""

    id: str
    node: str  # this node's id
    state: SwarmState
    managers: int = 0  # how many of them answer; 0: this node can't tell
    history: int = 5  # how many tasks a slot keeps; below 0 all of them
    services: tuple[Service, ...] = ()
    tasks: tuple[Task, ...] = ()
    secrets: tuple[SwarmItem, ...] = ()
    configs: tuple[SwarmItem, ...] = ()


@dataclass(frozen=True)
class ModelVolume:
    """A volume of a Compose file after Compose's own resolution."""

    key: str
    name: str  # the name on the engine
    external: bool


@dataclass(frozen=True)
class ModelService:
    """A service of a Compose file after Compose's own resolution."""

    name: str
    image: str = ""  # the name of its image, also where Compose makes one up
    binds: tuple[HostPath, ...] = ()  # host paths that a start of its container makes
    needs: tuple[str, ...] = ()  # host paths without which its container can't be made
    anonymous: frozenset[str] = frozenset()  # targets of its anonymous volumes
    taken: frozenset[str] = frozenset()  # targets of whatever else it mounts
    volumes: frozenset[str] = frozenset()  # keys of the named volumes it mounts
    depends: tuple[str, ...] = ()  # services that are brought up before it
    shares: tuple[str, ...] = ()  # services whose containers its own refer to by their ids
    restarts_with: tuple[str, ...] = ()  # services whose restart restarts it
    linked: bool = False
    replicas: int = 1
    renewed: bool = False  # each `up` builds or pulls its image anew
    built: bool = False  # Compose can build its image
    watched: bool = False  # a change of its sources replaces its containers under `watch`
    gated: bool = False  # only some profiles enable it
    hash: str = ""  # v1's, of its definition and image; "" where that was not asked
    # What hints look at alone.
    mounted: tuple[Mounted, ...] = ()  # but for what is in memory; named volumes by their keys
    tmpfs: tuple[str, ...] = ()  # as --tmpfs takes them
    container: str = ""  # the name of its first container
    user: str = ""
    memory: str = ""  # as --memory takes it; "" for no limit
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DryRun:
    """The names in what Compose's --dry-run printed. Volumes in use are listed too."""

    containers: tuple[str, ...]  # removed
    volumes: tuple[str, ...]  # removed
    replaced: tuple[str, ...] = ()  # containers removed, and made anew under the same name
    made: tuple[str, ...] = ()  # volumes
    asked: tuple[str, ...] = ()  # volumes that Compose would ask about: may they be made anew?
    images: tuple[str, ...] = ()  # names that are removed, those in use too


@dataclass(frozen=True)
class Model:
    """What Compose made of its files, its environment and its options."""

    project: str
    volumes: tuple[ModelVolume, ...]
    services: tuple[str, ...]  # those the profiles in force enable; v1: all of the file's
    disabled: tuple[str, ...] = ()  # those of the file that they do not
    by_name_only: bool = False  # no file was opened: Compose works from labels
    # What this Compose's own --dry-run said it would remove; None where it was not asked.
    dry_run: DryRun | None = None
    definitions: tuple[ModelService, ...] = ()  # of `services`, in the file's order

    def definition(self, name: str) -> ModelService | None:
        """The service of this name."""
        return next((one for one in self.definitions if one.name == name), None)


@dataclass(frozen=True)
class Facts:
    """The engine's state as one snapshot, and Compose's model where the form needs it."""

    engine: EngineIdentity | None  # None: the form needs none
    api: tuple[
        int, int
    ]  # the API the command will really speak (client, engine, DOCKER_API_VERSION)
    volumes: Mapping[str, Volume]
    containers: tuple[Container, ...]
    model: Model | None = None
    docker: tuple[int, ...] | None = None  # the client's version
    compose: tuple[int, ...] | None = None  # Compose's version
    prune_filters: tuple[
        tuple[str, str], ...
    ] = ()  # config.json's, as far as this client sends them
    remove_orphans: bool = False  # COMPOSE_REMOVE_ORPHANS, as this Compose reads it
    now: float = 0.0  # the engine's clock, seconds since the epoch; 0.0: it does not say
    zone: float | None = None  # the engine's own, seconds east of Greenwich; None: not told
    dangling: frozenset[str] | None = None  # volumes that the engine says nobody uses
    paths: tuple[HostPath, ...] = ()  # those that containers which start will mount
    missing: Mapping[str, bool | None] = field(default_factory=dict)  # by source; None: unknown
    unlooked: bool = False  # nobody looked for the paths: they are another host's
    overwritten: tuple[Overwritten, ...] = ()
    swarm: Swarm | None = None  # None: not in a swarm, or not asked
    images: tuple[Image, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    contexts: tuple[Context, ...] = ()  # those that the command names, as far as they are there
    folder: str = ""  # the working directory
    can_answer: bool = False  # may a question of the real client's be answered with yes?
    # Where an image declares volumes that Compose hands on to the next container, by its name.
    image_volumes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gaps: tuple[str, ...] = field(default=())  # what could not be found out: read as the worst case
