"""Several files and the environment put together into one policy: the nearest wins, but what is
binding may only be tightened, and so may everything by a layer that is not trusted. Pure.

`mode` is asked per kind of loss and caller. Of one layer the setting counts that fits most closely;
of two that fit alike the stricter. What a context or a host says comes last: it holds against every
layer's mode but a nearer and stricter one.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Generic, TypeVar, assert_never

from safedocker.loss.facts import EngineIdentity
from safedocker.loss.plan import Kind, Protect
from safedocker.policy.options import (
    AGENTS,
    CHALLENGE,
    CI,
    DUMP_LINE,
    KINDS,
    MODE,
    PROTECTED_CONTEXTS,
    PROTECTED_PROJECTS,
    PROTECTED_VOLUMES,
    CallerKind,
    Challenge,
    Frozen,
    Mode,
    Option,
)

T = TypeVar("T")

Key = tuple[str, ...]  # ("mode",), ("caller", "ci", "loss", "layer"), ("context", "prod*", "mode")


class Stratum(enum.Enum):
    """Where a layer comes from, the farthest first."""

    DEFAULT = "default"
    SYSTEM = "system"
    USER = "user"
    PROJECT = "project"
    ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Origin:
    """Where a value stands: a variable, or a file and what is in it."""

    name: str  # "default", "SAFEDOCKER_MODE", "/etc/safedocker/policy.toml"
    key: Key = ()
    text: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """ "SAFEDOCKER_MODE", "/etc/safedocker/policy.toml:3". To find the line takes a while."""
        return f"{self.name}:{line_of(self.text, self.key)}" if self.key else self.name


DEFAULT = Origin("default")
_SOUGHT = 400  # lines of a file in which one is found by parsing


@lru_cache(maxsize=256)
def line_of(text: str, key: Key) -> int:
    """The line on which a key of a text that parses is set: it comes after the longest beginning
    that parses without it."""
    lines = text.split("\n")
    if len(lines) > _SOUGHT:
        setting = re.compile(rf"\s*[\"']?{re.escape(key[-1])}[\"']?\s*=")
        return next((at for at, one in enumerate(lines, 1) if setting.match(one)), 1)
    begins = 1
    for number in range(1, len(lines) + 1):
        try:
            tree: Any = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        for name in key:
            tree = tree.get(name) if isinstance(tree, dict) else None
        if tree is not None:
            return begins
        begins = number + 1
    return len(lines)


@dataclass(frozen=True)
class Setting:
    """One value, and where it stands."""

    key: Key
    value: Any  # of the option's type, checked when it was read
    origin: Origin
    binding: bool = False


@dataclass(frozen=True)
class Layer:
    """What one file, or the environment, says. `loosens`: may it loosen what is not binding? For an
    agent `loosens_for_agents` tells, where it is not None: what a variable names only tightens."""

    stratum: Stratum
    place: str  # the file, or "environment"
    settings: tuple[Setting, ...]
    loosens: bool = True
    text: str = field(default="", repr=False)  # of the file
    loosens_for_agents: bool | None = None
    agents_only: bool = False  # the account's file, where HOME names another one

    def may_loosen(self, caller: CallerKind) -> bool:
        """May it loosen for this caller what is not binding? An agent types its own environment."""
        if caller is not CallerKind.AGENT:
            return self.loosens
        if self.stratum is Stratum.ENVIRONMENT:
            return False
        return self.loosens if self.loosens_for_agents is None else self.loosens_for_agents

    def find(self, key: Key) -> Setting | None:
        """The setting of this key."""
        return next((one for one in self.settings if one.key == key), None)


@dataclass(frozen=True)
class Value(Generic[T]):
    """A value in force, where it stands, and whether it is binding."""

    value: T
    origin: Origin = DEFAULT
    bound: bool = False
    depth: int = 0  # the layer it comes from; 0 is the default
    named: bool = False  # of a mode: said of this kind of loss, not of all

    @property
    def place(self) -> str:
        """As an origin's."""
        return self.origin.place


@dataclass(frozen=True)
class Policy:
    """What is in force for one kind of caller."""

    layers: tuple[Layer, ...] = ()  # the farthest first, without the defaults
    caller: CallerKind = CallerKind.PERSON
    frozen: Frozen | None = None

    @property
    def heard(self) -> tuple[Layer, ...]:
        """The layers that count for this caller."""
        agent = self.caller is CallerKind.AGENT
        return tuple(one for one in self.layers if agent or not one.agents_only)

    def __getitem__(self, option: Option[T]) -> T:
        return self.of(option).value

    def of(self, option: Option[T]) -> Value[T]:
        """An option's value that is in force."""
        key = tuple(option.key.split("."))
        at = Value(option.default)
        for depth, layer in enumerate(self.heard, 1):
            said = layer.find(key)
            if said is None:
                continue
            value = _joined(at.value, said.value) if option.joined else said.value
            strict = option.stricter(value, at.value)
            if strict or (layer.may_loosen(self.caller) and not at.bound):
                at = Value(value, said.origin, at.bound or said.binding, depth)
            elif said.value == at.value and layer.may_loosen(self.caller):
                at = Value(at.value, at.origin, at.bound or said.binding, at.depth)
        return at

    def under(self, option: Option[T], ruling: Value[Any]) -> T:
        """An option's value where another's is asked for that may be binding, a mode's mostly: then
        a file nearer than the one that binds it can't get round it by an option that it does not
        bind."""
        near = self[option]
        if not ruling.bound:
            return near
        far = Policy(tuple(one for one in self.layers if one.stratum is Stratum.SYSTEM))[option]
        return near if option.stricter(near, far) else far

    def marks(self, kind: CallerKind) -> Value[tuple[str, ...]]:
        """The variables by which agents, or CI, are told, whoever calls.

        What HOME or sudo brings in only adds for agents; and nothing nearer takes one away where
        the machine binds the list, or what is done for such callers.
        """
        option = AGENTS if kind is CallerKind.AGENT else CI
        key = (option.key,)
        of_machine = (one for layer in self.layers for one in layer.settings if one.binding)
        bound = any(one.key == key or one.key[:2] == ("caller", kind.value) for one in of_machine)
        at = Value(option.default)
        for depth, layer in enumerate(self.layers, 1):
            said = layer.find(key)
            if said is None or (layer.agents_only and kind is not CallerKind.AGENT):
                continue
            if layer.stratum is Stratum.PROJECT and not layer.may_loosen(kind):
                continue
            adds = not layer.may_loosen(kind) or (bound and layer.stratum is not Stratum.SYSTEM)
            value = _joined(at.value, said.value) if adds else said.value
            at = Value(value, said.origin, bound, depth)
        return at

    def place_of(self, option: Option[tuple[str, ...]], word: str) -> str:
        """Where a word of a list stands, the farthest place that has it."""
        key = tuple(option.key.split("."))
        said = (layer.find(key) for layer in self.heard)
        return next((one.origin.place for one in said if one and word in one.value), "default")

    @property
    def binds(self) -> bool:
        """Does the machine's file bind anything?"""
        return any(one.binding for layer in self.heard for one in layer.settings)

    @property
    def engines_named(self) -> bool:
        """Does any layer say something of single contexts or hosts?"""
        settings = (one for layer in self.heard for one in layer.settings)
        return any(one.key[0] in {"context", "host"} for one in settings)

    @property
    def names_what_it_guards(self) -> bool:
        """Does it guard engines, volumes or projects by name? Where the engine can't be asked,
        nobody knows whether they are meant."""
        return self.engines_named or any(
            self[option] for option in (PROTECTED_VOLUMES, PROTECTED_PROJECTS, PROTECTED_CONTEXTS)
        )

    def dump_up_to(self, way: Protect) -> int | None:
        """The bytes of a volume up to which a database that runs with it is dumped, protected in
        this way; None: all."""
        match way:
            case Protect.AUTO:
                line: int = self[DUMP_LINE]
                return line
            case Protect.DUMP:
                return None
            case Protect.MOVE | Protect.ARCHIVE:
                return 0
            case _:
                return assert_never(way)

    def mode(self, kind: Kind | None = None, engine: EngineIdentity | None = None) -> Value[Mode]:
        """What is done about a loss of this kind on this engine, for this caller."""
        base = Value(MODE.default)
        around: Value[Mode] | None = None
        for depth, layer in enumerate(self.heard, 1):
            closest = self._closest(layer, kind)
            base = self._over(base, closest, layer, depth)
            said = [(one, False) for one, firm in self._of_engine(layer, engine, "mode") if firm]
            if said:
                before = around or Value(Mode.ALLOW)
                setting, named, binding = _strictest(said)
                binding = binding or (closest is not None and closest[2])  # it narrows what binds
                told = (setting, named, binding)
                around = self._over(before, told, layer, depth, fresh=around is None)
        return self._narrowed(_around(base, around), MODE, engine, "mode")

    def challenge(self, engine: EngineIdentity | None) -> Value[Challenge]:
        """What must be typed before anything goes from this engine."""
        at = Value(CHALLENGE.default)
        for depth, layer in enumerate(self.heard, 1):
            told = self._of_engine(layer, engine, "challenge")
            every = [one for one, firm in told if firm]
            strictest = [one for one in every if one.value is Challenge.ENGINE] or every
            for said in strictest[:1]:
                strict = CHALLENGE.stricter(said.value, at.value)
                if strict or (layer.may_loosen(self.caller) and not at.bound):
                    at = Value(said.value, said.origin, at.bound or said.binding, depth)
        return self._narrowed(at, CHALLENGE, engine, "challenge")

    def _narrowed(
        self, at: Value[T], option: Option[T], engine: EngineIdentity | None, what: str
    ) -> Value[T]:
        """The value with what is said of the engine's other names, as far as that is stricter."""
        for depth, layer in enumerate(self.heard, 1):
            for said, firm in self._of_engine(layer, engine, what):
                looser = option.stricter(at.value, said.value)
                if firm or (looser and at.depth <= depth):
                    continue
                bound = at.bound or said.binding
                strict = option.stricter(said.value, at.value)
                # What binds holds against a nearer word that is not the stricter one of the two.
                firmer = said.binding and depth < at.depth and said.value != at.value
                if strict or (firmer and not looser):
                    at = Value(said.value, said.origin, bound, depth, at.named)
                at = replace(at, bound=bound)
        return at

    def _of_engine(
        self, layer: Layer, engine: EngineIdentity | None, what: str
    ) -> Iterator[tuple[Setting, bool]]:
        """What a layer says of the engine by its context, then by its host; False with what may
        only tighten: what is said of another name of it, and for an agent of a context that is
        perhaps not this engine's."""
        if engine is None:
            return
        firm = not (engine.doubted and self.caller is CallerKind.AGENT)
        for table, name in (("context", engine.context), ("host", engine.host)):
            others = [one for kind, one in engine.also if kind == table]
            for said in layer.settings:
                if len(said.key) != 3 or (said.key[0], said.key[2]) != (table, what):
                    continue
                if name and fnmatchcase(name, said.key[1]):
                    yield said, firm or table == "host"
                elif any(_is_alias(one, said.key[1], table) for one in others):
                    yield said, False

    def _over(
        self,
        at: Value[Mode],
        said: tuple[Setting, bool, bool] | None,
        layer: Layer,
        depth: int,
        *,
        fresh: bool = False,
    ) -> Value[Mode]:
        """The value after one more layer has had its say. `fresh`: nothing was said before, so a
        layer that may only tighten says nothing either, unless it refuses."""
        if said is None:
            return at
        setting, named, binding = said
        if fresh and not layer.may_loosen(self.caller) and setting.value is not Mode.DENY:
            return at
        strict = MODE.stricter(setting.value, at.value)
        if strict or (layer.may_loosen(self.caller) and not at.bound):
            named = named or (strict and at.named)
            return Value(setting.value, setting.origin, at.bound or binding, depth, named)
        return at

    def _closest(self, layer: Layer, kind: Kind | None) -> tuple[Setting, bool, bool] | None:
        """What a layer says of a kind of loss, whether it names the kind, and whether any of what
        it says of it is binding."""
        caller = ("caller", self.caller.value)
        name = KINDS.get(kind, "") if kind else ""
        ranks: list[list[tuple[Key, bool]]] = [
            [((*caller, "loss", name), True)],
            [(("loss", name), True), ((*caller, "mode"), False)],
            [(("mode",), False)],
        ]
        every = [
            [(said, named) for key, named in rank if (said := layer.find(key)) is not None]
            for rank in ranks
        ]
        binding = any(said.binding for rank in every for said, _named in rank)
        for rank in every:
            if rank:
                setting, named, _ = _strictest(rank)
                return setting, named, binding
        return None


def _strictest(said: list[tuple[Setting, bool]]) -> tuple[Setting, bool, bool]:
    """Of settings that fit alike the strictest; of those that can't be compared the last."""
    chosen, named = said[0]
    for one, also_named in said[1:]:
        if not MODE.stricter(chosen.value, one.value):
            chosen, named = one, also_named
    return chosen, named, any(one.binding for one, _named in said)


def _around(base: Value[Mode], around: Value[Mode] | None) -> Value[Mode]:
    """Of what is said of everything, and of the engine, what counts."""
    if around is None or around.depth == 0:
        return base
    bound = around.bound or base.bound
    stricter = MODE.stricter(base.value, around.value)
    looser = base.bound and not around.bound and not MODE.stricter(around.value, base.value)
    if looser or (stricter and base.depth > around.depth):
        return replace(base, bound=bound)
    return replace(around, named=around.named or base.named, bound=bound)


def _is_alias(name: str, pattern: str, table: str) -> bool:
    """Does another name of an engine fit a pattern? Of a host's it is the address that counts, not
    how it is written: no user, small letters, no slash at its end."""
    if table == "host":
        scheme, found, rest = pattern.partition("://")
        if found and scheme.lower() != "unix":
            rest = rest.rpartition("@")[2].lower().rstrip("/")
        pattern = f"{scheme.lower()}{found}{rest}"
    return fnmatchcase(name, pattern)


def _joined(before: Any, after: Any) -> Any:
    return tuple(dict.fromkeys((*before, *after)))


def matches(name: str | None, patterns: tuple[str, ...]) -> str:
    """The first pattern that fits a name, as a shell's `case` would have it; "" where none does."""
    return next((one for one in patterns if name and fnmatchcase(name, one)), "")


def simple(mode: Mode, place: str = "default", caller: CallerKind = CallerKind.PERSON) -> Policy:
    """A policy that says nothing but a mode."""
    if place == "default":
        return Policy(caller=caller)
    said = Setting(("mode",), mode, Origin(place))
    return Policy((Layer(Stratum.USER, place, (said,)),), caller)
