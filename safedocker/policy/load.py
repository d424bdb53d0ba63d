"""Finds the policy's files, reads and checks them, and says who calls: the machine's file, the
person's, those of the folders from the working directory upwards, the environment.

How their values are put together is layers.py's. A file that does not check is BadPolicy, with the
line: what it meant to forbid is not known.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from safedocker.errors import BadPolicy, SafedockerError
from safedocker.policy.layers import Key, Layer, Origin, Policy, Setting, Stratum, line_of
from safedocker.policy.options import (
    CHALLENGE,
    FALSE_WORDS,
    HINTS,
    HINTS_OFF,
    KINDS,
    MODE,
    OPTIONS,
    Caller,
    CallerKind,
    Frozen,
)
from safedocker.policy.paths import BindRule

FILE = "policy.toml"
PROJECT_FILE = ".safedocker.toml"
FREEZE_FILE = "freeze.json"
TRUST_FILE = "trusted.json"
HINTS_VARIABLE = "SAFEDOCKER_HINTS"
SYSTEM = Path("/etc/safedocker")
_LARGEST = 1 << 20  # bytes of a file of ours; a larger one is none

_BY_KEY = {tuple(option.key.split(".")): option for option in OPTIONS}
_DEEPEST = 8  # words of a key; ours have at most four


@dataclass(frozen=True)
class Places:
    """The folders that files are looked for in. `start` is where the command was typed."""

    user: Path  # ~/.config/safedocker, where HOME and XDG_CONFIG_HOME say
    start: Path
    system: Path = SYSTEM
    account: Path | None = None  # the same in the account's own home; None: it has none
    behind: Path | None = None  # that of the account whose person typed sudo

    @property
    def typed(self) -> bool:
        """Did a variable name another folder than the account's?"""
        return self.account is None or not _same(self.user, self.account)

    @property
    def others(self) -> Iterator[Path]:
        """The folders besides the person's own whose freeze holds too."""
        for one in (self.system, self.account, self.behind):
            if one is not None and not _same(one, self.user):
                yield one


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def load(
    environ: Mapping[str, str],
    places: Places,
    *,
    terminal: bool,
    parent: str = "",
    root: bool = False,
    marks: Mapping[str, str] | None = None,
) -> tuple[Policy, Caller]:
    """Return the policy in force and who calls. `terminal`: could a question be put on one?
    `marks`: the variables that tell who it is, where those are not the command's own.

    Raise BadPolicy for a file or a variable that does not check.
    """
    found = layers(environ, places)
    told = environ if marks is None else marks
    who = caller(told, Policy(found), terminal=terminal, parent=parent, root=root)
    return Policy(found, who.kind, frozen(places)), who


def caller(
    environ: Mapping[str, str],
    policy: Policy,
    *,
    terminal: bool,
    parent: str = "",
    root: bool = False,
) -> Caller:
    """Say who is calling; `root`: as the machine's administrator. An agent or CI on a terminal of
    its own is still not a person."""
    sudo = root and bool(environ.get("SUDO_UID"))
    for kind in (CallerKind.AGENT, CallerKind.CI):
        for name in policy.marks(kind).value:
            if environ.get(name, "").lower() not in FALSE_WORDS:
                return Caller(kind, name, parent, root, sudo)
    if not terminal:
        return Caller(CallerKind.SCRIPT, "no terminal", parent, root, sudo)
    return Caller(CallerKind.PERSON, "a terminal", parent, root, sudo)


def layers(
    environ: Mapping[str, str], places: Places, *, lenient: bool = False
) -> tuple[Layer, ...]:
    """Every layer that says something, the farthest first. `lenient`: what does not check is passed
    over, for one of our own commands that no policy stops; else it is BadPolicy."""
    found = []
    for source in _sources(environ, places):
        try:
            layer = source()
        except BadPolicy:
            if not lenient:
                raise
            continue
        if layer is not None:
            found.append(layer)
    return tuple(found)


def _sources(environ: Mapping[str, str], places: Places) -> Iterator[Callable[[], Layer | None]]:
    """What reads each layer, the farthest first."""
    yield partial(_layer, places.system / FILE, Stratum.SYSTEM)
    if places.account is not None and places.typed:
        # "~" of its patterns is the home that it stands in, not the one that HOME names.
        home = str(places.account.parent.parent)
        yield partial(_layer, places.account / FILE, Stratum.USER, agents_only=True, home=home)
    firm = None if not places.typed else False
    yield partial(_layer, places.user / FILE, Stratum.USER, loosens_for_agents=firm)
    if places.behind is not None and not _same(places.behind, places.user):
        yield partial(_layer, places.behind / FILE, Stratum.USER, loosens=False)
    trusted = read_trust(places.user)
    firmly = trusted if not places.typed else read_trust(places.account)
    for file in project_files(places.start):
        yield partial(_project, file, trusted, firmly)
    yield partial(_of_variables, environ)


def _layer(file: Path, stratum: Stratum, **how: Any) -> Layer | None:
    text = _text(file)
    return None if text is None else read(text, str(file), stratum, **how)


def _project(file: Path, trusted: Mapping[str, str], firmly: Mapping[str, str]) -> Layer | None:
    """A project's file. An agent's loosens where the account trusts it, whatever HOME names."""
    text = _text(file)
    if text is None:
        return None
    told = digest(text)
    loosens, for_agents = (one.get(str(file)) == told for one in (trusted, firmly))
    return read(text, str(file), Stratum.PROJECT, loosens=loosens, loosens_for_agents=for_agents)


def _of_variables(environ: Mapping[str, str]) -> Layer | None:
    settings = tuple(_environment(environ))
    return Layer(Stratum.ENVIRONMENT, "environment", settings) if settings else None


def project_files(start: Path) -> Iterator[Path]:
    """The files that a project may have, from the root down to the folder."""
    folder = Path(os.path.abspath(start))
    for one in (*reversed(folder.parents), folder):
        yield one / PROJECT_FILE


def read_file(file: Path, stratum: Stratum) -> Layer:
    """One file as a layer. Raise BadPolicy where it does not check, SafedockerError where there is
    none."""
    text = _text(file)
    if text is None:
        raise SafedockerError(f"there is no {file}")
    return read(text, str(file), stratum)


def _text(file: Path) -> str | None:
    """What is in a file; None where there is none. Raise BadPolicy where it can't be read."""
    try:
        # A pipe in its place would keep everybody waiting who works below that folder.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadPolicy(f"{file} is no file", "move it away")
            found = b""
            while len(found) <= _LARGEST and (piece := os.read(descriptor, _LARGEST + 1)):
                found += piece
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        if file.is_symlink():
            raise BadPolicy(f"{file} leads nowhere", "put back what it leads to") from None
        return None
    except OSError as fault:
        if closed := _closed_above(file):
            raise BadPolicy(
                f"whether there is a {file} can't be known: {closed} is closed to you",
                "what it may forbid is not known either: have the folder opened for you, or type "
                "the command where you may look",
            ) from fault
        raise BadPolicy(
            f"{file} can't be read: {fault.strerror}", "make it readable, or move it away"
        ) from fault
    if len(found) > _LARGEST:
        raise BadPolicy(f"{file} is larger than {_LARGEST} bytes", "no policy is")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = found[: fault.start].count(b"\n") + 1
        raise BadPolicy(f"{file}:{line}: not UTF-8", _REPAIR.format(file)) from fault


def _closed_above(file: Path) -> Path | None:
    """The folder on the way to a file that keeps us out."""
    return next((one for one in reversed(file.parents) if not os.access(one, os.X_OK)), None)


_REPAIR = "repair it, then: safedocker policy check {}"


def read(
    text: str,
    place: str,
    stratum: Stratum,
    *,
    loosens: bool = True,
    loosens_for_agents: bool | None = None,
    agents_only: bool = False,
    home: str = "",
) -> Layer:
    """A file's text as a layer; `home` is what the ~ of its patterns stands for, else HOME's. Raise
    BadPolicy, with the line, for what does not check."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        at = re.search(r"\(at line (\d+), column \d+\)$", str(fault))
        line = int(at[1]) if at else text.count("\n") + 1
        told = str(fault).rpartition(" (at ")[0] or str(fault)
        raise BadPolicy(f"{place}:{line}: {told}", _REPAIR.format(place)) from fault
    except (ValueError, RecursionError) as fault:  # a number of 5,000 digits, tables in tables
        raise BadPolicy(f"{place}:1: can't be read: {fault}", _REPAIR.format(place)) from fault
    binding = tree.pop("binding", [])
    bound = _bound(binding, tree, text, place, stratum)
    settings = []
    for key, value in _leaves(tree):
        try:
            checked = _at_home(_option(key).type.read(value), home)
        except ValueError as fault:
            raise _fault(text, place, key, str(fault)) from fault
        bind = any(key[: len(one)] == one for one in bound)
        settings.append(Setting(key, checked, Origin(place, key, text), bind))
    return Layer(stratum, place, tuple(settings), loosens, text, loosens_for_agents, agents_only)


def _bound(
    binding: object, tree: Mapping[str, Any], text: str, place: str, stratum: Stratum
) -> list[Key]:
    """The beginnings of the keys that are binding; one that is empty is of all."""
    if binding is False or binding == []:
        return []
    if stratum is not Stratum.SYSTEM:
        raise _fault(text, place, ("binding",), f"binding is for {SYSTEM / FILE} alone")
    if binding is True:
        return [()]
    if not isinstance(binding, list) or not all(isinstance(one, str) for one in binding):
        raise _fault(text, place, ("binding",), "binding is true, or a list of keys")
    set_here = {key[:length] for key, _ in _leaves(tree) for length in range(1, len(key) + 1)}
    spelled = {".".join(key): key for key in set_here}  # a host has dots of its own
    for word in binding:
        if word not in spelled:
            told = f"this file says nothing of {word!r} that could be binding"
            raise _fault(text, place, ("binding",), told)
    return [spelled[word] for word in binding]


def _known_keys() -> Iterator[Key]:
    yield from _BY_KEY
    for kind in CallerKind:
        yield ("caller", kind.value, "mode")
        yield from (("caller", kind.value, "loss", name) for name in KINDS.values())
    yield from (("loss", name) for name in KINDS.values())


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
    """The values, in order, with their keys. Not deeper than a key of ours can be."""
    left: list[tuple[Key, Any]] = [((name,), value) for name, value in reversed(list(tree.items()))]
    while left:
        key, value = left.pop()
        if isinstance(value, dict) and len(key) < _DEEPEST and (value or key not in _BY_KEY):
            left += [((*key, name), below) for name, below in reversed(list(value.items()))]
        else:
            yield key, value


def _option(key: Key) -> Any:
    """The option that a key sets. Raise ValueError for one that there is not."""
    if key in _BY_KEY:
        return _BY_KEY[key]
    match key:
        case ("context" | "host", _, "mode"):
            return MODE
        case ("context" | "host", _, "challenge"):
            return CHALLENGE
        case _ if key in set(_known_keys()):
            return MODE
        case _:
            told = ".".join(key)
            near = difflib.get_close_matches(told, [".".join(one) for one in _known_keys()], 1)
            also = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no option {told!r}{also}")


def _at_home(value: Any, home: str) -> Any:
    """A value with the home folder for the ~ of its patterns of paths."""
    if isinstance(value, tuple) and any(isinstance(one, BindRule) for one in value):
        return tuple(replace(rule, path=_expanded(rule.path, home)) for rule in value)
    return value


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if home and path[:1] == "~" else os.path.expanduser(path)


def _fault(text: str, place: str, key: Key, told: str) -> BadPolicy:
    return BadPolicy(f"{place}:{line_of(text, key)}: {told}", _REPAIR.format(place))


_VARIABLES = frozenset(
    {HINTS_VARIABLE, *(option.variable for option in OPTIONS if option.variable)}
)
_OURS = frozenset({"SAFEDOCKER_DEPTH"})  # the shims' own


def _environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    for name in sorted(environ):
        if name.startswith("SAFEDOCKER_") and environ[name] and name not in _VARIABLES | _OURS:
            near = difflib.get_close_matches(name, sorted(_VARIABLES), 1)
            raise BadPolicy(
                f"{name}, which is set, is no variable of safedocker's"
                + (f"; did you mean {near[0]}?" if near else "")
                + " Nothing was removed",
                "what it was to forbid is not known: set the right one, or unset it",
            )
    for option in OPTIONS:
        word = environ.get(option.variable, "") if option.variable else ""
        if not word:
            continue
        try:
            value = option.type.parse(word)
        except ValueError as fault:
            raise BadPolicy(
                f"{option.variable}={fault}: nothing was removed", "set it to one, or unset it"
            ) from None
        yield Setting(tuple(option.key.split(".")), value, Origin(option.variable))
    words = environ.get(HINTS_VARIABLE, "").replace(",", " ").split()
    if words:
        if {"off", "on"} & {*words}:
            yield Setting((HINTS.key,), "off" not in words, Origin(HINTS_VARIABLE))
        names = tuple(one for one in words if one not in {"off", "on"})
        yield Setting((HINTS_OFF.key,), names, Origin(HINTS_VARIABLE))


# what is beside the files


def digest(text: str) -> str:
    """What tells a file's content."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_trust(folder: Path | None) -> dict[str, str]:
    """The digest of each project's file that the person of a folder let loosen. One that can't be
    read lets none."""
    if folder is None:
        return {}
    try:
        found = json.loads((folder / TRUST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def write_trust(places: Places, file: Path, told: str | None) -> bool:
    """Remember, or with None forget, that a project's file may loosen as it is. Say whether that
    changed anything."""
    trusted = read_trust(places.user)
    before = trusted.pop(str(file), None)
    if told is not None:
        trusted[str(file)] = told
    if before == told:
        return False
    _write(places.user / TRUST_FILE, json.dumps(trusted, indent=1, sort_keys=True) + "\n", 0o600)
    return True


def write_freeze(file: Path, made: Frozen) -> None:
    """Put a freeze into force."""
    told = {"until": made.until.isoformat(), "why": made.why, "by": made.by}
    _write(file, json.dumps(told) + "\n", 0o644)


def _write(file: Path, text: str, mode: int) -> None:
    """Beside its place, synced, renamed into it. Raise SafedockerError where that can't be done."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(file)
    except OSError as fault:
        raise SafedockerError(f"{file} can't be written: {fault.strerror}") from fault


def frozen(places: Places, now: datetime.datetime | None = None) -> Frozen | None:
    """The freeze in force that lasts longest: the machine's, the person's as HOME says, the
    account's own, that of whoever typed sudo. Raise BadPolicy for a file that does not check."""
    at = now or datetime.datetime.now(datetime.UTC)
    found = [read_freeze(folder / FREEZE_FILE) for folder in (places.user, *places.others)]
    lasting = [one for one in found if one is not None and one.until > at]
    return max(lasting, key=lambda one: one.until, default=None)


def read_freeze(file: Path) -> Frozen | None:
    """What a freeze's file says, over or not. Raise BadPolicy for one that does not check."""
    text = _text(file)
    if text is None:
        return None
    try:
        told = json.loads(text)
        until = datetime.datetime.fromisoformat(told["until"])
        return Frozen(until.astimezone(datetime.UTC), str(told["why"]), str(told["by"]), str(file))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise BadPolicy(
            f"{file} does not say until when: nothing was removed",
            "see who froze it; a person can take it away: safedocker unfreeze",
        ) from fault
