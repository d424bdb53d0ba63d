"""The policy's options as a table: key, type, default, what is stricter, help. Data only; layers.py
puts the values of several files together, decide.py uses them. What README, `policy` and the JSON
Schema say of an option stands here."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safedocker.loss.facts import Bytes
from safedocker.loss.plan import Kind, Protect
from safedocker.policy.paths import RULES, BindMissing, refuses_more
from safedocker.policy.values import (
    AGE,
    COUNT,
    FOLDER,
    PATTERNS,
    SIZE,
    SWITCH,
    WORDS,
    Choice,
    Type,
    anything,
    is_less,
    is_more,
    is_subset,
    is_superset,
    nothing,
)

T = TypeVar("T")


class Mode(enum.Enum):
    """What to do about a loss, before anybody is asked."""

    ASK = "ask"  # a person is asked; where nobody can be, the command is refused
    BACKUP = "backup"  # back up and go on, without a question
    DENY = "deny"  # refuse
    ALLOW = "allow"  # let it go; what can be made again from its definition is still recorded


class BindRemote(enum.Enum):
    """How it is found out whether a host path is there, on an engine of another host."""

    UNKNOWN = "unknown"  # it is not: a person is told so and asked, nobody is let through
    LOOK = "look"  # a container that would mount it is made there, and removed again


class Others(enum.Enum):
    """What to do about data that is known to be another person's of this machine."""

    REFUSE = "refuse"  # root alone may, and is asked
    ASK = "ask"  # whoever calls is asked, with the owner's name; where nobody can be, it is refused
    ALLOW = "allow"  # as though it were the caller's own


class Journal(enum.Enum):
    """Where a decision is written down besides the person's own audit."""

    AUTO = "auto"  # in the machine's log and the system's, where root has set up the first
    REQUIRED = "required"  # a command does not run if the system's log does not take its line
    OFF = "off"


class Pull(enum.Enum):
    """What safedocker may have an engine pull for itself."""

    NEVER = "never"
    HELPER = "helper"  # the image of a helper, where none on the engine can move a volume aside


class Format(enum.Enum):
    """How a refusal and a fault are told to what is no person."""

    TEXT = "text"
    JSON = "json"  # one object on stderr; refusal.schema.json describes it


class Challenge(enum.Enum):
    """What must be typed before anything goes from an engine, with a backup or without."""

    NONE = "none"
    ENGINE = "engine"  # the engine's own name


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
    root: bool = False  # does the machine's administrator call, or somebody in that role?
    sudo: bool = False  # somebody in that role, by sudo

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

# A dump keeps the command waiting: with `protect = auto` a running database is dumped where the
# volume holds at most this much. Seen: 585 MB of PostgreSQL in 4 s on two cores.
DUMP_UP_TO = ARCHIVE_UP_TO

# Above it what a container holds outside its volumes, logs, caches and temporary places, or in an
# anonymous volume that --rm declared disposable, is worth a question.
HEAVY = Bytes(50_000_000)

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
DEFAULT_LABELS = ("safedocker.disposable=true", "org.testcontainers=true")

# The kinds of loss that a file can name, under `loss`; a host path has an option of its own.
KINDS = {
    Kind.NAMED_VOLUME: "named_volume",
    Kind.ANONYMOUS_VOLUME: "anonymous_volume",
    Kind.LAYER: "layer",
    Kind.FILE: "file",
    Kind.SECRET: "secret",
    Kind.SWARM: "swarm",
    Kind.CONFIG: "config",
    Kind.CONTEXT: "context",
    Kind.PLUGIN: "plugin",
    Kind.SERVICE: "service",
    Kind.IMAGE: "image",
    Kind.BUILD_CACHE: "build_cache",
}

# For each value those that are stricter. `ask` and `backup` are not: a person who is asked may let
# go without a backup, and a backup that nobody asked for takes a question away.
STRICTER_MODES: Mapping[Mode, tuple[Mode, ...]] = {
    Mode.ALLOW: (Mode.BACKUP, Mode.ASK, Mode.DENY),
    Mode.BACKUP: (Mode.DENY,),
    Mode.ASK: (Mode.DENY,),
    Mode.DENY: (),
}
_STRICTER_BINDS: Mapping[BindMissing, tuple[BindMissing, ...]] = {
    BindMissing.ALLOW: (BindMissing.CREATE, BindMissing.ASK, BindMissing.REFUSE),
    BindMissing.CREATE: (BindMissing.REFUSE,),
    BindMissing.ASK: (BindMissing.REFUSE,),
    BindMissing.REFUSE: (),
}


@dataclass(frozen=True)
class Option(Generic[T]):
    """A row. `key` is its place in a file: "expire.older_than" stands in the table `expire`.

    `stricter(new, old)`: may a lower layer put `new` where `old` is binding? `joined`: lists of
    several files are put together; else the nearest file's value counts.
    """

    key: str
    type: Type[T]
    default: T
    stricter: Callable[[T, T], bool]
    help: str
    variable: str = ""
    joined: bool = False


def _among(stricter: Mapping[T, tuple[T, ...]]) -> Callable[[T, T], bool]:
    return lambda new, old: new in stricter[old]


MODE = Option(
    "mode",
    Choice(Mode, "mode"),
    Mode.ASK,
    _among(STRICTER_MODES),
    "what is done about what would go: `ask` a person and refuse where there is none, `backup` and "
    "go on, `deny`, `allow`",
    "SAFEDOCKER_MODE",
)
CHALLENGE = Option(
    "challenge",
    Choice(Challenge, "challenge"),
    Challenge.NONE,
    _among({Challenge.NONE: (Challenge.ENGINE,), Challenge.ENGINE: ()}),
    "`engine`: nothing goes from that engine before its name was typed, with a backup or without; "
    "`none`: not even from one on another machine, where a person types it otherwise",
)
PROTECT = Option(
    "protect",
    Choice(Protect, "way to protect"),
    Protect.AUTO,
    _among({one: (Protect.DUMP,) if one is Protect.AUTO else () for one in Protect}),
    "how: `auto` copies what is small and moves the rest aside, `move`, `archive`; `dump` as auto, "
    "with a dump of each running database, however large",
    "SAFEDOCKER_PROTECT",
)
ARCHIVE_LINE = Option(
    "archive_up_to",
    SIZE,
    int(ARCHIVE_UP_TO),
    nothing,
    "`auto` copies a volume of up to this size into the store; a larger one is moved aside",
    "SAFEDOCKER_ARCHIVE_UP_TO",
)
DUMP_LINE = Option(
    "dump_up_to",
    SIZE,
    int(DUMP_UP_TO),
    is_more,
    "`auto` dumps a running database whose volume holds up to this much, beside the copy",
    "SAFEDOCKER_DUMP_UP_TO",
)
PULL = Option(
    "pull",
    Choice(Pull, "word on pulling"),
    Pull.NEVER,
    _among({Pull.HELPER: (Pull.NEVER,), Pull.NEVER: ()}),
    "`helper`: where no image on the engine can move a volume aside, the engine pulls `busybox`; "
    "`never`: it is copied then",
    "SAFEDOCKER_PULL",
)
ASK_ABOVE = Option(
    "ask_above",
    SIZE,
    int(HEAVY),
    is_less,
    "a container's own files, and volumes of containers started with --rm, weigh above this size",
    "SAFEDOCKER_ASK_ABOVE",
)
BIND_MISSING = Option(
    "bind_missing",
    Choice(BindMissing, "answer to a missing path"),
    BindMissing.ASK,
    _among(_STRICTER_BINDS),
    "a host path that Docker would make: `ask` a person and refuse where there is none, `create` "
    "it first as you, `refuse`, `allow`",
    "SAFEDOCKER_BIND_MISSING",
)
OTHERS = Option(
    "others",
    Choice(Others, "answer about other people's data"),
    Others.REFUSE,
    _among(
        {
            Others.ALLOW: (Others.ASK, Others.REFUSE),
            Others.ASK: (Others.REFUSE,),
            Others.REFUSE: (),
        }
    ),
    "data that is known to be another person's of this machine: `refuse` it to all but root, who "
    "is asked; `ask` whoever calls, and refuse where nobody can be; `allow`, as though it were own",
    "SAFEDOCKER_OTHERS",
)
JOURNAL = Option(
    "journal",
    Choice(Journal, "way to keep the machine's log"),
    Journal.AUTO,
    _among(
        {
            Journal.OFF: (Journal.AUTO, Journal.REQUIRED),
            Journal.AUTO: (Journal.REQUIRED,),
            Journal.REQUIRED: (),
        }
    ),
    "each decision in /var/log/safedocker, and to journald or syslog too: `auto` where root has "
    "made that folder, `required` (what can't be written there does not run), `off`",
    "SAFEDOCKER_JOURNAL",
)
STORE = Option(
    "store",
    FOLDER,
    "",
    nothing,
    "a folder of the machine's for the backups, in which each user has one by uid; else they are "
    "in the home",
    "SAFEDOCKER_STORE",
)
BIND_PATHS = Option(
    "bind_paths",
    RULES,
    (),
    refuses_more,
    "the same for those below a place, the first that fits before `bind_missing`: "
    '`[{path = "/srv/**", action = "create"}]`',
)
BIND_REMOTE = Option(
    "bind_remote",
    Choice(BindRemote, "way to look on another host"),
    BindRemote.UNKNOWN,
    _among({BindRemote.LOOK: (BindRemote.UNKNOWN,), BindRemote.UNKNOWN: ()}),
    "whether a host path is there on an engine of another host: `unknown`, and so treated as one "
    "that is not; `look` makes a container there that would mount it, and removes it",
    "SAFEDOCKER_BIND_REMOTE",
)
PROTECTED_VOLUMES = Option(
    "protected.volumes",
    PATTERNS,
    (),
    is_superset,
    "volumes that no command may take, whoever calls, until they are off this list; but for an "
    "empty one of a container started with --rm",
    joined=True,
)
PROTECTED_PROJECTS = Option(
    "protected.projects",
    PATTERNS,
    (),
    is_superset,
    "Compose projects of which no command may take volumes, secrets and configs, nor containers "
    "with a database or more than `ask_above` of their own; `compose up` makes the others anew",
    joined=True,
)
PROTECTED_CONTEXTS = Option(
    "protected.contexts",
    PATTERNS,
    (),
    is_superset,
    "docker contexts from whose engines nothing may go that a protected project would keep",
    joined=True,
)
DISPOSABLE_VOLUMES = Option(
    "disposable.volumes",
    PATTERNS,
    (),
    is_subset,
    "volumes that may go without a word",
)
DISPOSABLE_PROJECTS = Option(
    "disposable.projects",
    PATTERNS,
    (),
    is_subset,
    "Compose projects whose volumes and containers may go without a word: `ci-*`",
)
DISPOSABLE_LABELS = Option(
    "disposable.labels",
    WORDS,
    DEFAULT_LABELS,
    is_subset,
    "what has such a label, or belongs to a container that has it, may go without a word; one that "
    "the container has of its image does not count",
)
ESCAPE = Option(
    "escape",
    SWITCH,
    True,
    is_less,
    "whether `SAFEDOCKER=off docker ...` lets a person, CI or a script go past; never an agent",
)
FORMAT = Option(
    "format",
    Choice(Format, "format"),
    Format.TEXT,
    anything,
    "how a refusal is told where nobody is asked: `text`, or `json` as one object on stderr",
    "SAFEDOCKER_FORMAT",
)
HINTS = Option("hints", SWITCH, True, anything, "whether a person at a terminal gets hints")
HINTS_OFF = Option(
    "hints_off", WORDS, (), anything, "hints by name that are not given", joined=True
)
EXPIRE_OLDER = Option(
    "expire.older_than",
    AGE,
    None,
    is_more,
    "`safedocker expire` without options: backups older than this go (`30d`)",
)
EXPIRE_KEEP = Option(
    "expire.keep_last",
    COUNT,
    None,
    is_more,
    "`safedocker expire` without options: so many of the last stay",
)
EXPIRE_FREE = Option(
    "expire.free",
    SIZE,
    None,
    is_less,
    "`safedocker expire` without options: the oldest go until so much room is free",
)
AGENTS = Option(
    "agent_variables",
    WORDS,
    AGENT_VARIABLES,
    nothing,
    "variables by which a coding agent is told, set to anything but 0, false, no and off",
)
CI = Option(
    "ci_variables",
    WORDS,
    CI_VARIABLES,
    nothing,
    "variables by which CI is told, set to anything but 0, false, no and off",
)

# Those that stand by themselves. `mode` and `challenge` can be said of a caller, a kind of loss, a
# context and a host too: layers.py's.
OPTIONS: tuple[Option[Any], ...] = (
    MODE,
    PROTECT,
    ARCHIVE_LINE,
    DUMP_LINE,
    PULL,
    ASK_ABOVE,
    BIND_MISSING,
    OTHERS,
    JOURNAL,
    STORE,
    BIND_PATHS,
    BIND_REMOTE,
    PROTECTED_VOLUMES,
    PROTECTED_PROJECTS,
    PROTECTED_CONTEXTS,
    DISPOSABLE_VOLUMES,
    DISPOSABLE_PROJECTS,
    DISPOSABLE_LABELS,
    ESCAPE,
    FORMAT,
    HINTS,
    HINTS_OFF,
    EXPIRE_OLDER,
    EXPIRE_KEEP,
    EXPIRE_FREE,
    AGENTS,
    CI,
)


@dataclass(frozen=True)
class Frozen:
    """Nothing goes until then. `until` is UTC; `by` a person's name on this machine."""

    until: datetime.datetime
    why: str
    by: str
    source: str  # the file that says so

    @property
    def told(self) -> str:
        """ "frozen until 2026-11-26 18:00 UTC by anna: release"."""
        return f"frozen until {self.until:%Y-%m-%d %H:%M} UTC by {self.by}" + (
            f": {self.why}" if self.why else ""
        )
