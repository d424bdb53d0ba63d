"""What is done about a host path that is not there, by its place: patterns of paths, and the first
that fits. Pure: a path is taken as it is written, so links are not followed.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from safedocker.policy.values import Choice, Type

_CLASS = re.compile(r"\[(!?+)(\]?+[^]]*+)\]")  # as fnmatch's


class BindMissing(enum.Enum):
    """What to do about a host path that is not there, and that Docker would make."""

    ASK = "ask"  # a person is asked; where nobody can be, the command is refused
    CREATE = "create"  # it is made first, as whoever calls
    REFUSE = "refuse"
    ALLOW = "allow"  # Docker makes it


@dataclass(frozen=True)
class BindRule:
    """What is done about the missing host paths that fit a pattern."""

    path: str  # absolute: "/srv/**"
    action: BindMissing


_ACTION = Choice(BindMissing, "answer to a missing path")


class Rules(Type[tuple[BindRule, ...]]):
    """A list of rules. `~` at the beginning of a pattern is the caller's home, for whoever reads
    the file to put in."""

    def read(self, value: object) -> tuple[BindRule, ...]:
        """The rules, in their order."""
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list of {_EXAMPLE}")
        return tuple(map(self._rule, value))

    def _rule(self, told: object) -> BindRule:
        if not isinstance(told, dict) or {*told} != {"path", "action"}:
            raise ValueError(f"{told!r} is no rule of a path: {_EXAMPLE} is")
        path = told["path"]
        if not isinstance(path, str):
            raise ValueError(f"{path!r} is no pattern of paths")
        if wrong := fault(path):
            raise ValueError(f"{path!r}: {wrong}")
        return BindRule(path, _ACTION.read(told["action"]))

    def show(self, value: Sequence[BindRule]) -> str:
        """As TOML writes it."""
        rules = (f'{{path = "{one.path}", action = "{one.action.value}"}}' for one in value)
        return f"[{', '.join(rules)}]"

    @property
    def schema(self) -> dict[str, Any]:
        """A list of objects."""
        return {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "pattern": "^(/|~/|~$)"},
                    "action": _ACTION.schema,
                },
                "required": ["path", "action"],
                "additionalProperties": False,
            },
        }


_EXAMPLE = '{path = "/srv/**", action = "create"}'
RULES = Rules()


def refuses_more(new: Sequence[BindRule], old: Sequence[BindRule]) -> bool:
    """Is it the old list with nothing but refusals before it?"""
    more = new[: len(new) - len(old)]
    same = tuple(new[len(more) :]) == tuple(old)
    return bool(more) and same and all(one.action is BindMissing.REFUSE for one in more)


def answer(path: str, rules: Sequence[BindRule], default: BindMissing) -> BindMissing:
    """What is said of one path: by the first of the rules that fits, else the default."""
    return next((rule.action for rule in rules if fits(path, rule.path)), default)


def fits(path: str, pattern: str) -> bool:
    """Does an absolute path fit a pattern? `*`, `?` and `[a-z]`, `[!a]` stand for letters within
    one name, hidden ones too, and `**` for any number of folders, none too: `/srv/**` is /srv and
    all below it. What fits has to fit as a whole, in upper and lower case.
    """
    return _fits(_names(posixpath.normpath(path)), _compiled(pattern), _FOLDERS, _name_fits)


def fault(pattern: str) -> str:
    """What is wrong with a pattern, "" for nothing: who writes one wants to know before it is
    needed."""
    if pattern != "~" and not pattern.startswith(("/", "~/")):
        return "a pattern of paths begins with / (or ~, for the home folder)"
    if any(name in {".", ".."} for name in pattern.split("/")):
        return "a pattern of paths has no . and no .. in it: paths are compared without"
    if any("**" in name and name != "**" for name in pattern.split("/")):
        return "** stands for whole folders: write it between two slashes"
    try:
        _compiled(pattern)
    except re.error:
        return "a range of letters goes upwards: [a-z]"
    return ""


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


class _Star(enum.Enum):
    """What stands for any number: of folders, of letters."""

    FOLDERS = "**"
    LETTERS = "*"


_FOLDERS, _LETTERS = _Star.FOLDERS, _Star.LETTERS
_ANY = re.compile(".", re.DOTALL)
_Letter = str | re.Pattern[str]
_Name = tuple[_Letter | _Star, ...]


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> tuple[_Name | _Star, ...]:
    return tuple(_FOLDERS if name == "**" else tuple(_letters(name)) for name in _names(pattern))


def _letters(name: str) -> Iterator[_Letter | _Star]:
    at = 0
    while at < len(name):
        found = _CLASS.match(name, at)
        if found:
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", found[2])
            yield re.compile(f"[{'^' if found[1] else ''}{inside}]", re.DOTALL)
            at = found.end()
            continue
        letter = name[at]
        yield _LETTERS if letter == "*" else _ANY if letter == "?" else letter
        at += 1


def _name_fits(name: str, pattern: _Name) -> bool:
    return _fits(name, pattern, _LETTERS, _letter_fits)


def _letter_fits(letter: str, pattern: _Letter) -> bool:
    return letter == pattern if isinstance(pattern, str) else pattern.match(letter) is not None


def _fits(
    told: Sequence[str], pattern: Sequence[Any], star: _Star, one_fits: Callable[[str, Any], bool]
) -> bool:
    """Does it fit from end to end? Of the stars only the last that was met is ever taken further,
    so that it costs at most as much as every part against every part of the pattern."""
    at = place = again = 0
    last = -1  # where that star is
    while at < len(told):
        part = pattern[place] if place < len(pattern) else None
        if part is star:
            last, again = place, at
            place += 1
        elif part is not None and one_fits(told[at], part):
            at, place = at + 1, place + 1
        elif last >= 0:
            again += 1
            at, place = again, last + 1
        else:
            return False
    return all(part is star for part in pattern[place:])
