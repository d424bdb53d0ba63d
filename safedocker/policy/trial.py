"""A policy tried out on commands that were played on real engines: corpus.json in the package has
what each of them would take, recorded by tests/record_corpus.py. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safedocker.command.parse import parse
from safedocker.loss import forms
from safedocker.loss.facts import EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.decide import Decision, decide
from safedocker.policy.layers import Policy
from safedocker.policy.options import Caller, CallerKind

CALLERS = (
    Caller(CallerKind.PERSON, "a terminal"),
    Caller(CallerKind.CI, "CI"),
    Caller(CallerKind.SCRIPT, "no terminal"),
    Caller(CallerKind.AGENT, "a mark"),
)
_ENGINE = EngineIdentity("unix:///var/run/docker.sock", "default", "", "", "", (1, 45), False)
_FORMS = {form.name: form for form in forms.FORMS}


@dataclass(frozen=True)
class Case:
    """A command line, what it would take, and how many further spellings take the same."""

    line: str
    state: str  # of tests/corpus/states.toml: what stood there
    plan: Plan
    spellings: int


@dataclass(frozen=True)
class Change:
    """A verdict that is another under the policy that is tried out."""

    case: Case
    who: Caller
    before: Decision
    after: Decision


def cases(told: Sequence[Mapping[str, Any]]) -> Iterator[Case]:
    """The commands of corpus.json."""
    for one in told:
        words = shlex.split(one["line"])
        while words and "=" in words[0]:  # a variable before the command
            words.pop(0)
        program = words[0] if words[:1] in (["docker"], ["docker-compose"]) else "docker"
        command = parse(program, words[1:])[-1]
        losses = tuple(_loss(loss) for loss in one["losses"])
        plan = Plan(
            command,
            _FORMS[one["form"]],
            _ENGINE,
            losses,
            gaps=tuple(one["gaps"]),
            disputes=tuple(one["disputes"]),
            project=one["project"],
        )
        yield Case(one["line"], one["state"], plan, one["spellings"])


def _loss(told: Mapping[str, Any]) -> Loss:
    kind = Kind(told["kind"])
    labels = dict(told["labels"])
    return Loss(
        kind,
        told["name"],
        Volume(told["name"], "local", {}, labels, "") if kind.is_volume else None,
        "",
        used_by=tuple(told["used_by"]),
        project=told["project"],
        in_memory=told["in_memory"],
        disposable=told["disposable"],
        labels=labels,
        holds=Holds(told["holds"]),
        size=told["size"],
        content=told["content"],
    )


def changes(
    corpus: Sequence[Case], before: Sequence[Policy], after: Sequence[Policy]
) -> Iterator[Change]:
    """What is decided otherwise, case by case. The policies are for CALLERS, in their order."""
    for case in corpus:
        for who, old, new in zip(CALLERS, before, after, strict=True):
            one, other = decide(case.plan, old, who), decide(case.plan, new, who)
            if one.action is not other.action:
                yield Change(case, who, one, other)
