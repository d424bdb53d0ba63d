"""The policy's options as a table, and the callers' marks. Data only; decide.py uses it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import assert_never

from safedocker.loss.facts import Bytes
from safedocker.loss.plan import Protect


class Mode(enum.Enum):
    """What to do about a loss, before anybody is asked."""

    ASK = "ask"  # a person is asked; where nobody can be, the command is refused
    BACKUP = "backup"  # back up and go on, without a question
    DENY = "deny"  # refuse


class BindMissing(enum.Enum):
    """What to do about a host path that is not there, and that Docker would make."""

    ASK = "ask"  # a person is asked; where nobody can be, the command is refused
    CREATE = "create"  # it is made first, as whoever calls
    REFUSE = "refuse"
    ALLOW = "allow"  # Docker makes it


class Answer(enum.Enum):
    """What a person chooses when asked."""

    BACK_UP = "back up"
    OTHERWISE = "back up otherwise"  # by the other way that was offered
    WITHOUT = "without a backup"
    MAKE = "make the paths"
    CANCEL = "cancel"


class CallerKind(enum.Enum):
    """Who typed the command, as far as it can be told."""

    PERSON = "person"  # a terminal where a question can be asked
    CI = "ci"
    AGENT = "agent"
    SCRIPT = "script"  # none of these, and no terminal to ask on


@dataclass(frozen=True)
class Caller:
    """Who asks for the command: kind, the mark that told, the parent process where it is known."""

    kind: CallerKind
    mark: str  # "CI", "CLAUDECODE", "no terminal", ...
    parent: str = ""  # the parent process's command line, "" where it can't be read

    @property
    def can_be_asked(self) -> bool:
        """Is there a person at a terminal?"""
        return self.kind is CallerKind.PERSON

    @property
    def text(self) -> str:
        """One line for a manifest: "agent (CLAUDECODE), under make clean"."""
        return f"{self.kind.value} ({self.mark})" + (
            f", under {self.parent}" if self.parent else ""
        )


# Up to so many bytes `protect = auto` copies a volume into the store, which takes a few seconds;
# what is larger is moved aside on the engine's own disk, where that can be done.
ARCHIVE_UP_TO = Bytes(256_000_000)


@dataclass(frozen=True)
class Policy:
    """The option values in force, and where each came from."""

    mode: Mode
    mode_source: str  # "SAFEDOCKER_MODE", "default"
    protect: Protect = Protect.AUTO
    archive_up_to: int = ARCHIVE_UP_TO
    bind_missing: BindMissing = BindMissing.ASK


# Above it what a container holds outside its volumes, logs, caches and temporary places, or in an
# anonymous volume that --rm declared disposable, is worth a question.
HEAVY = Bytes(50_000_000)

# A dump keeps the command waiting: with `protect = auto` a running database is dumped where the
# volume holds at most this much. Seen: 585 MB of PostgreSQL in 4 s on two cores.
DUMP_UP_TO = ARCHIVE_UP_TO


def dump_up_to(protect: Protect) -> int | None:
    """The bytes of a volume up to which a database that runs with it is dumped; None: all."""
    match protect:
        case Protect.AUTO:
            return DUMP_UP_TO
        case Protect.DUMP:
            return None
        case Protect.MOVE | Protect.ARCHIVE:
            return 0
        case _:
            return assert_never(protect)


# Variables that say "nobody reads this terminal": set by the systems named, to any non-empty value.
CI_VARIABLES = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "BUILDKITE",
    "CIRCLECI",
    "TF_BUILD",
    "TEAMCITY_VERSION",
)
AGENT_VARIABLES = (
    "CLAUDECODE",
    "CURSOR_AGENT",
    "CODEX_SANDBOX",
    "GEMINI_CLI",
    "AIDER_MODEL",
    "OPENCODE",
    "AGENT",
)
FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})
