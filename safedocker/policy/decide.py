"""What is done about a plan: Plan + Policy + Caller -> Decision. Pure: no disk, no clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from safedocker.loss.facts import Holds
from safedocker.loss.plan import Plan
from safedocker.policy.options import (
    AGENT_VARIABLES,
    CI_VARIABLES,
    FALSE_WORDS,
    Caller,
    CallerKind,
    Mode,
    Policy,
)


class Action(enum.Enum):
    """What happens next."""

    PASS = "pass"  # noqa: S105 - no password: the command may pass
    ASK = "ask"
    BACK_UP = "back up"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """An action with its reason. `challenge` is what must be typed to go on without a backup."""

    action: Action
    because: str
    rule: str  # a stable name, for the audit and for people who search
    challenge: str = ""


def caller(environ: Mapping[str, str], terminal: bool, parent: str = "") -> Caller:
    """Given the environment and whether a question could be put on a terminal, say who is calling.

    An agent or CI on a terminal of its own is still not a person.
    """
    for kind, variables in (
        (CallerKind.AGENT, AGENT_VARIABLES),
        (CallerKind.CI, CI_VARIABLES),
    ):
        for name in variables:
            if environ.get(name, "").lower() not in FALSE_WORDS:
                return Caller(kind, name, parent)
    if not terminal:
        return Caller(CallerKind.SCRIPT, "no terminal", parent)
    return Caller(CallerKind.PERSON, "a terminal", parent)


def decide(plan: Plan, policy: Policy, who: Caller) -> Decision:
    """Given what the command would take, return what is done about it.

    A gap counts as a volume that holds data. Volumes known to be empty, or whose data lives
    elsewhere, have their definition recorded and the command goes on.
    """
    if not plan.losses and not plan.gaps:
        return Decision(Action.PASS, "nothing would be lost", "no-loss")
    nothing = all(loss.disposable and loss.holds is Holds.EMPTY for loss in plan.losses)
    if plan.losses and nothing and not plan.gaps and policy.mode is not Mode.DENY:
        return Decision(
            Action.PASS,
            "only empty anonymous volumes of containers started with --rm would go",
            "disposable",
        )
    holding = [loss for loss in plan.losses if loss.holds in {Holds.DATA, Holds.UNKNOWN}]
    if not holding and not plan.gaps and policy.mode is not Mode.DENY:
        return Decision(
            Action.BACK_UP,
            "only empty volumes, or references to data that lives elsewhere, would go",
            "definitions-only",
        )
    match policy.mode:
        case Mode.DENY:
            return Decision(Action.REFUSE, f"mode deny ({policy.mode_source})", "mode-deny")
        case Mode.BACKUP if plan.gaps:
            return Decision(
                Action.REFUSE,
                "mode backup can't protect what could not be found out",
                "unknown-loss",
            )
        case Mode.BACKUP:
            return Decision(Action.BACK_UP, f"mode backup ({policy.mode_source})", "mode-backup")
        case Mode.ASK if who.can_be_asked:
            return Decision(Action.ASK, "data would be lost", "ask", challenge=challenge(plan))
        case Mode.ASK:
            return Decision(
                Action.REFUSE,
                f"data would be lost and nobody can be asked ({who.kind.value}: {who.mark})",
                "nobody-to-ask",
            )
        case _:
            assert_never(policy.mode)


def challenge(plan: Plan) -> str:
    """What must be typed to let the data go: the project's name, the one volume's, or how many."""
    if plan.project:
        return plan.project
    if len(plan.losses) == 1:
        return plan.losses[0].name
    if plan.losses:
        return f"remove {len(plan.losses)} volumes"
    return "go on blindly"
