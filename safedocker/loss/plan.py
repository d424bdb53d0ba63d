"""What a command would take: Loss and Plan. Made by reach.py, read by policy, backup and edge."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from safedocker.command.parse import Command
from safedocker.loss.facts import EngineIdentity, Holds, Look, Volume
from safedocker.loss.forms import Form


class Kind(enum.Enum):
    """What sort of thing is lost, in the order in which a preview lists them."""

    NAMED_VOLUME = "named volume"
    ANONYMOUS_VOLUME = "anonymous volume"
    SECRET = "secret"  # noqa: S105 - Docker's word: its value can't be read back
    SWARM = "swarm"  # the state of the last manager: services, secrets, configs, keys
    LAYER = "container layer"  # what a container wrote outside its mounts
    FILE = "file"  # overwritten where it lies
    BIND_SOURCE = "bind source"  # a host path that Docker would make, as root and empty
    PLUGIN = "plugin"
    CONFIG = "config"
    CONTEXT = "context"
    SERVICE = "service"  # its definition; what its tasks hold are losses of their own
    DETACHED_VOLUME = "detached volume"  # anonymous; it stays, and no container refers to it
    IMAGE = "image"
    BUILD_CACHE = "build cache"

    @property
    def is_volume(self) -> bool:
        """Is it a volume that the command removes?"""
        return self in {Kind.NAMED_VOLUME, Kind.ANONYMOUS_VOLUME}


class Remedy(enum.Enum):
    """How the thing could be had again without a backup."""

    NONE = "none"
    REBUILD = "rebuild"
    PULL = "pull"
    READ_BACK = "read back"  # the definition can be saved, and made again from it
    REATTACH = "reattach"  # it is still there, under a name of the engine's


REMEDIES = {
    Kind.IMAGE: Remedy.PULL,
    Kind.PLUGIN: Remedy.PULL,
    Kind.BUILD_CACHE: Remedy.REBUILD,
    Kind.CONFIG: Remedy.READ_BACK,
    Kind.CONTEXT: Remedy.READ_BACK,
    Kind.SERVICE: Remedy.READ_BACK,
    Kind.DETACHED_VOLUME: Remedy.REATTACH,
}


class Protect(enum.Enum):
    """How a volume is to be protected, where there is a choice."""

    AUTO = "auto"  # archived when that is quick, else moved aside; large databases get no dump
    MOVE = "move"  # moved aside on the engine's disk wherever that can be done
    ARCHIVE = "archive"  # always copied into the store
    DUMP = "dump"  # as auto, with a dump of every database that can give one, however large


class Sign(enum.Enum):
    """What tells whose a thing is, in the order in which it is believed."""

    LABEL = "label"
    MADE = "made"  # the machine's log: who typed what made it
    FOLDER = "folder"  # the owner of the folder that its Compose project stands in
    ALONE = "alone"  # the machine's log: nobody else ever used it, or brought its project up


@dataclass(frozen=True)
class Ownership:
    """Whose a thing is, and how that is known."""

    uid: int
    name: str  # the login's name, "uid 1001" where there is none
    sign: Sign
    told: str  # what the sign says: a label, a folder, a project; else ""
    at: float | None  # seconds since the epoch; of MADE and ALONE
    mine: bool  # is it the one who calls?


@dataclass(frozen=True)
class Loss:
    """One thing the command would destroy, or silently misplace."""

    kind: Kind
    name: str
    volume: Volume | None  # a volume's definition, so that it can be made again
    why: str  # "declared in the Compose file", "unused", "anonymous volume of web-1", ...
    id: str = ""  # the engine's, where that is not the name: of a container, a secret, ...
    used_by: tuple[str, ...] = ()  # names of the containers that mount it now
    project: str | None = None
    in_memory: str = ""  # a database that runs with it, and that writes when it ends
    disposable: bool = False  # of a container that was started with --rm, and that ends
    # False: it may go or stay, the swarm chooses; or a host path may be there. Read as the worst.
    certain: bool = True
    image: str = ""  # of the container that an anonymous volume belongs to
    target: str = ""  # where that mounts it
    labels: Mapping[str, str] = field(default_factory=dict)  # its own, and its container's
    inherited: frozenset[str] = frozenset()  # names of those that the container's image brought
    # Of a database's anonymous volume: the named ones that its container has beside it; after a
    # look inside, those of them that hold no data.
    beside: tuple[Volume, ...] = ()
    file: bool = False  # of a host path: a file is meant, and Docker would make a folder
    owner: Ownership | None = None  # among the people of this machine; None: not known
    # From a look inside; UNKNOWN until somebody looked.
    holds: Holds = Holds.UNKNOWN
    size: int | None = None  # bytes
    at_least: int = 0  # bytes seen before the look ran out of time
    content: str = ""  # "PostgreSQL 15", "Redis", "SQLite files", "files"
    last_write: datetime.datetime | None = None  # UTC

    def seen(self, look: Look) -> Loss:
        """The same with what a look inside saw."""
        return replace(
            self,
            holds=look.holds,
            size=look.size,
            at_least=look.at_least,
            content=look.content,
            last_write=look.last_write,
        )

    @property
    def remedy(self) -> Remedy:
        """How it could be had again."""
        return REMEDIES.get(self.kind, Remedy.NONE)

    @property
    def anothers(self) -> bool:
        """Is it known to be another person's than the one's who calls?"""
        return self.owner is not None and not self.owner.mine

    @property
    def database(self) -> bool:
        """Was a database's content recognised in it?"""
        return self.content not in {"", "files"}


@dataclass(frozen=True)
class Stays:
    """A thing one might fear for that the command leaves alone, and why."""

    name: str
    why: str  # "external", "in use by web-1", "bind mount of ./src"


@dataclass(frozen=True)
class Plan:
    """Everything a command would take from an engine as it stands.

    `stops` are the ids of running containers that the command itself would stop or kill: a backup
    of what they hold may stop them first. Those in `pauses` were started with --rm,
    or run a task of a swarm: once stopped they would be gone, or replaced, so they can only be
    paused. `gaps` are things that could not be found out, each a sentence; a plan with gaps is
    read as the worst case. `disputes` are contradictions in what the engine says: nobody can say
    yes to those.
    """

    command: Command
    form: Form
    engine: EngineIdentity | None  # None: no engine takes part, or it could not be reached
    losses: tuple[Loss, ...]
    stays: tuple[Stays, ...] = ()
    gaps: tuple[str, ...] = field(default=())
    disputes: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    pauses: tuple[str, ...] = ()
    project: str | None = None
    safer: str = ""  # a command line that keeps the data, where one exists

    @property
    def volumes(self) -> tuple[Loss, ...]:
        """The losses that are volumes."""
        return tuple(loss for loss in self.losses if loss.kind.is_volume)
