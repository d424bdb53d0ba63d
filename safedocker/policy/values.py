"""The types that an option can have: how a value is read from a file or a variable, shown, and
described in the JSON Schema; and which of two values is the stricter. Pure."""

from __future__ import annotations

import datetime
import enum
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safedocker.loss.facts import Bytes

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

_MOST_BYTES = 1 << 63  # no file system holds as much
_MOST = 1_000_000_000
_LONGEST = datetime.timedelta(days=36_500)  # from now to it, and back, is a date

_LENGTHS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_AGE = r"^\d{1,6}[mhdw]$"
_SIZE = r"^\d{1,15}(\.\d{1,3})?\s*([kKmMgGtT][iI]?)?[bB]?$"


class Type(Generic[T]):
    """How values of one sort are read and told."""

    def read(self, value: object) -> T:
        """A value of a file. Raise ValueError, with what it should be, for one that is none."""
        raise NotImplementedError

    def parse(self, word: str) -> T:
        """The same of a variable's text."""
        return self.read(word)

    def show(self, value: T) -> str:
        """As it would stand in a file."""
        return str(value)

    @property
    def schema(self) -> dict[str, Any]:
        """What the JSON Schema says of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Choice(Type[E]):
    """One of an enum's words. `what` they are, for a message."""

    words: type[E]
    what: str

    def read(self, value: object) -> E:
        """The word's member."""
        for one in self.words:
            if one.value == value:
                return one
        known = ", ".join(str(one.value) for one in self.words)
        raise ValueError(f"{value!r} is no {self.what}: one of {known}")

    def show(self, value: E) -> str:
        """The word in quotes."""
        return f'"{value.value}"'

    @property
    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": [one.value for one in self.words]}


class Size(Type[Any]):
    """Bytes: a whole number, or "10GB", "8GiB" in Docker's decimal units or in binary ones."""

    def read(self, value: object) -> int:
        """The number of bytes."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return self._within(value)
        told = value.strip().lower() if isinstance(value, str) else ""
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?)(i?)b?", told)
        if found is None or (found[3] and not found[2]) or not told.isascii():
            raise ValueError(f"{value!r} is no size: 500MB, 10GB, 8GiB or bytes are")
        return self._within(int(float(found[1]) * (_BINARY if found[3] else _UNITS)[found[2]]))

    def _within(self, value: int) -> int:
        if value >= _MOST_BYTES:
            raise ValueError(f"it is no size: larger than {Bytes(_MOST_BYTES)}")
        return value

    def show(self, value: int | None) -> str:
        """ "256 MB"."""
        return "none" if value is None else f'"{Bytes(value)}"'

    @property
    def schema(self) -> dict[str, Any]:
        """A number or a text."""
        number = {"type": "integer", "minimum": 0, "exclusiveMaximum": _MOST_BYTES}
        return {"anyOf": [number, {"type": "string", "pattern": _SIZE}]}


class Age(Type[Any]):
    """A length of time: "90m", "12h", "30d", "8w"."""

    def read(self, value: object) -> datetime.timedelta:
        """The length."""
        found = re.fullmatch(r"(\d{1,6})([mhdw])", value) if isinstance(value, str) else None
        if found is None or not found[1].isascii():
            raise ValueError(f"{value!r} is no length of time: 90m, 12h, 30d and 8w are")
        length = datetime.timedelta(seconds=int(found[1]) * _LENGTHS[found[2]])
        if length > _LONGEST:
            raise ValueError(f"{value!r} is longer than {_LONGEST.days}d")
        return length

    def show(self, value: datetime.timedelta | None) -> str:
        """In the largest unit that fits."""
        if value is None:
            return "none"
        seconds = int(value.total_seconds())
        unit = next((u for u in "wdhm" if seconds % _LENGTHS[u] == 0), "m")
        return f'"{seconds // _LENGTHS[unit]}{unit}"'

    @property
    def schema(self) -> dict[str, Any]:
        """A text."""
        return {"type": "string", "pattern": _AGE}


class Count(Type[Any]):
    """A whole number from 1 to a thousand million."""

    def read(self, value: object) -> int:
        """The number."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
            return value
        raise ValueError(f"it is no number from 1 to {_MOST}")

    def show(self, value: int | None) -> str:
        """The number."""
        return "none" if value is None else str(value)

    @property
    def schema(self) -> dict[str, Any]:
        """A number."""
        return {"type": "integer", "minimum": 1, "maximum": _MOST}


class Switch(Type[bool]):
    """True or false."""

    def read(self, value: object) -> bool:
        """The value of a file."""
        if isinstance(value, bool):
            return value
        raise ValueError(f"{value!r} is neither true nor false")

    def show(self, value: bool) -> str:
        """As TOML writes it."""
        return str(value).lower()

    @property
    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Words(Type[tuple[str, ...]]):
    """A list of words; `what` each is."""

    what: str

    def read(self, value: object) -> tuple[str, ...]:
        """The list, without those that come twice."""
        if isinstance(value, list) and all(isinstance(one, str) and one for one in value):
            return tuple(dict.fromkeys(value))
        raise ValueError(f'{value!r} is no list of {self.what}s: ["one", "another"] is')

    def show(self, value: Sequence[str]) -> str:
        """As TOML writes it."""
        return "[" + ", ".join(f'"{one}"' for one in value) + "]"

    @property
    def schema(self) -> dict[str, Any]:
        """A list of texts."""
        return {"type": "array", "items": {"type": "string", "minLength": 1}}


class Folder(Type[str]):
    """A folder of this machine, by its whole path; "" for none."""

    def read(self, value: object) -> str:
        """The path."""
        if isinstance(value, str) and (not value or value.startswith("/")) and "\0" not in value:
            return value
        raise ValueError(f"{value!r} is no folder: a path that begins with / is")

    def show(self, value: str) -> str:
        """The path in quotes."""
        return json.dumps(value) if value else "none"

    @property
    def schema(self) -> dict[str, Any]:
        """A text."""
        return {"type": "string", "pattern": "^(/.*)?$"}


SIZE = Size()
FOLDER = Folder()
AGE = Age()
COUNT = Count()
SWITCH = Switch()
WORDS = Words("word")
PATTERNS = Words("pattern")


# May `new` stand where `old` is binding?


def nothing(_new: object, _old: object) -> bool:
    """No value is stricter than another."""
    return False


def anything(_new: object, _old: object) -> bool:
    """It is a matter of taste: nothing hangs on it."""
    return True


def is_more(new: Any, old: Any) -> bool:
    """More is stricter; none at all is the strictest."""
    return old is not None and (new is None or new > old)


def is_less(new: Any, old: Any) -> bool:
    """Less is stricter; false is less than true. None at all is the strictest."""
    return old is not None and (new is None or new < old)


def is_superset(new: Sequence[str], old: Sequence[str]) -> bool:
    """More entries are stricter."""
    return set(new) > set(old)


def is_subset(new: Sequence[str], old: Sequence[str]) -> bool:
    """Fewer entries are stricter."""
    return set(new) < set(old)
