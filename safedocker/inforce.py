"""The policy in force where a command is typed, and who calls; whether the guard was told to stand
aside with SAFEDOCKER=off, and may. What the values mean is policy/'s."""

from __future__ import annotations

import os
import pathlib

from safedocker.edge import process
from safedocker.loss.plan import Kind
from safedocker.policy import load
from safedocker.policy.layers import Policy, Stratum
from safedocker.policy.options import (
    ESCAPE,
    FALSE_WORDS,
    FORMAT,
    JOURNAL,
    Caller,
    CallerKind,
    Format,
    Journal,
)

SWITCH = "SAFEDOCKER"  # off: the command goes past


def places() -> load.Places:
    """Where the files of this person, at this place, are looked for."""
    behind = process.behind_sudo()
    return load.Places(
        pathlib.Path(process.config_folder()),
        pathlib.Path(process.here()),
        account=_account(os.getuid()),
        behind=None if behind is None else _account(behind),
    )


def _account(uid: int) -> pathlib.Path | None:
    told = process.account_config(uid)
    return pathlib.Path(told) if told else None


def in_force(*, can_ask: bool) -> tuple[Policy, Caller]:
    """The policy and the caller. Raise BadPolicy for a file or a variable that does not check."""
    parent = process.parent_command()
    root = os.getuid() == 0
    return load.load(
        os.environ, places(), terminal=can_ask, parent=parent, root=root, marks=_marks()
    )


def _marks() -> dict[str, str]:
    """The variables that tell who calls. sudo takes an agent's away: those that it was given, which
    `sudo NAME=0` does not take back."""
    given = process.before_sudo()
    said = {
        name: word
        for name, word in os.environ.items()
        if name not in given or word.lower() not in FALSE_WORDS
    }
    return {**given, **said}


def caller(*, can_ask: bool) -> Caller:
    """Who calls, for a command of ours that no policy stops; a broken file is passed over."""
    found = Policy(load.layers(os.environ, places(), lenient=True))
    parent = process.parent_command()
    root = os.getuid() == 0
    return load.caller(_marks(), found, terminal=can_ask, parent=parent, root=root)


def journal() -> Journal:
    """How a decision is written down, for a command of ours that no policy stops."""
    found = load.layers(os.environ, places(), lenient=True)
    who = load.caller(_marks(), Policy(found), terminal=False)
    return Policy(found, who.kind)[JOURNAL]


def names_what_can_be_had_again(policy: Policy) -> bool:
    """Does it say of images or the build cache that they may not go like that?"""
    kinds = (Kind.IMAGE, Kind.BUILD_CACHE)
    return any(policy.mode(kind).named for kind in kinds) or policy.engines_named


def is_off() -> bool:
    """Was the guard told to stand aside?"""
    told = os.environ.get(SWITCH, "")
    return bool(told) and told.lower() in FALSE_WORDS


def why_not_off(policy: Policy, who: Caller) -> str:
    """Why it does not stand aside, told that it should; "" where it does."""
    if who.kind is CallerKind.AGENT:
        return f"not for an agent ({who.mark})"
    if policy.frozen is not None:
        return policy.frozen.told
    escape = policy.of(ESCAPE)
    if not escape.value:
        return f"the policy forbids it ({escape.place})"
    said = [layer.find((ESCAPE.key,)) for layer in policy.heard]
    allowed = [one for one in said if one and one.value]
    machine = [layer.place for layer in policy.heard if layer.stratum is Stratum.SYSTEM]
    if policy.binds and not any(one.origin.name in machine for one in allowed):
        return f"what {machine[0]} binds, it would loosen"
    return ""


def reads_text(who: Caller, policy: Policy) -> bool:
    """Is the caller told in words? Else stderr has one JSON object and nothing beside it."""
    return format_for(who, policy) is Format.TEXT


def format_for(who: Caller | None, policy: Policy | None) -> Format:
    """How a fault is told. A person at a terminal reads text, whatever is set."""
    if who is not None and who.can_be_asked:
        return Format.TEXT
    if policy is not None:
        return policy[FORMAT]
    told = os.environ.get(FORMAT.variable, "")
    return Format.JSON if told == Format.JSON.value else Format.TEXT
