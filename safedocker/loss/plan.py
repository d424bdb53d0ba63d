"""What a command would take: Loss and Plan. Made by reach.py, read by policy, backup and edge."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, field

from safedocker.command.parse import Command
from safedocker.loss.facts import EngineIdentity, Holds, Volume
from safedocker.loss.forms import Form


class Kind(enum.Enum):
    """What sort of thing is lost."""

    NAMED_VOLUME = "named volume"
    ANONYMOUS_VOLUME = "anonymous volume"


class Remedy(enum.Enum):
    """How the thing could be had again without a backup."""

    NONE = "none"
    REBUILD = "rebuild"
    PULL = "pull"


@dataclass(frozen=True)
class Loss:
    """One thing the command would destroy."""

    kind: Kind
    name: str
    volume: Volume  # the definition, so that it can be made again
    why: str  # "declared in the Compose file", "unused", "anonymous volume of web-1", ...
    used_by: tuple[str, ...] = ()  # names of the containers that mount it now
    project: str | None = None
    remedy: Remedy = Remedy.NONE
    disposable: bool = False  # anonymous, of a container that was started with --rm
    # From a look inside; UNKNOWN until somebody looked.
    holds: Holds = Holds.UNKNOWN
    size: int | None = None  # bytes
    at_least: int = 0  # bytes seen before the look ran out of time
    content: str = ""
    last_write: datetime.datetime | None = None  # UTC


@dataclass(frozen=True)
class Stays:
    """A thing one might fear for that the command leaves alone, and why."""

    name: str
    why: str  # "external", "in use by web-1", "bind mount of ./src"


@dataclass(frozen=True)
class Plan:
    """Everything a command would take from an engine as it stands.

    `stops` are the ids of running containers that hold a lost volume and that the command itself
    would stop or kill: the backup may stop them first. `gaps` are things that could not be found
    out, each a sentence; a plan with gaps is read as the worst case.
    """

    command: Command
    form: Form
    engine: EngineIdentity | None  # None: it could not be reached, and gaps says so
    losses: tuple[Loss, ...]
    stays: tuple[Stays, ...] = ()
    gaps: tuple[str, ...] = field(default=())
    stops: tuple[str, ...] = ()
    project: str | None = None
    safer: str = ""  # a command line that keeps the data, where one exists
