"""What is done about a plan: Plan + Policy + Caller -> Decision. Pure: no disk, no clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from safedocker.command.parse import Command
from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.forms import Form, spares_volumes
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.options import (
    AGENT_VARIABLES,
    CI_VARIABLES,
    FALSE_WORDS,
    HEAVY,
    BindMissing,
    Caller,
    CallerKind,
    Mode,
    Policy,
)


class Action(enum.Enum):
    """What happens next, the mildest first."""

    PASS = "pass"  # noqa: S105 - no password: the command may pass
    RECORD = "record"  # what can be made again from its definition: that is kept, without a word
    BACK_UP = "back up"
    ASK = "ask"
    REFUSE = "refuse"


_STRICTNESS = list(Action)


class Stake(enum.Enum):
    """What is at stake with one loss."""

    NOTHING = "nothing"
    DEFINITION = "definition"  # all that goes can be written down, and made again
    DISPOSABLE = "disposable"  # declared so by --rm, and it holds something all the same
    WEIGHTY = "weighty"  # a container's own files, or a disposable volume, above the line
    DATA = "data"
    FOR_GOOD = "for good"  # nothing can read it, so nothing can bring it back
    MISPLACED = "misplaced"  # nothing goes; what is written from now on lands elsewhere


@dataclass(frozen=True)
class Verdict:
    """What is done about one loss, and why."""

    loss: Loss
    stake: Stake
    action: Action
    because: str


@dataclass(frozen=True)
class Decision:
    """An action with its reason. `challenge` is what must be typed to go on without a backup."""

    action: Action
    because: str
    rule: str  # a stable name, for the audit and for people who search
    challenge: str = ""
    verdicts: tuple[Verdict, ...] = ()  # in the order of the plan's losses

    @property
    def protected(self) -> tuple[Loss, ...]:
        """The losses that a backup would hold."""
        return tuple(
            verdict.loss
            for verdict in self.verdicts
            if verdict.action is not Action.PASS and protectable(verdict.loss)
        )

    @property
    def unprotected(self) -> tuple[Loss, ...]:
        """The losses in question that no backup holds."""
        return tuple(
            verdict.loss
            for verdict in self.verdicts
            if verdict.action in {Action.ASK, Action.REFUSE} and not protectable(verdict.loss)
        )


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


def protectable(loss: Loss) -> bool:
    """Is there a way to protect it? Those are backup/ways.py's."""
    return loss.kind.is_volume or loss.kind in {Kind.LAYER, Kind.CONFIG, Kind.CONTEXT}


def wants_weight(policy: Policy, who: Caller) -> bool:
    """Does what containers hold outside their volumes, or leave behind, make a difference?"""
    return who.can_be_asked or policy.mode is not Mode.ASK


def weigh(loss: Loss) -> tuple[Stake, str]:
    """Given a loss that was looked into, return what is at stake, and why.

    What could not be seen is read as the worst.
    """
    match loss.kind:
        case Kind.NAMED_VOLUME | Kind.ANONYMOUS_VOLUME:
            return _weigh_volume(loss)
        case Kind.LAYER | Kind.FILE:
            if _heavy(loss):
                return Stake.WEIGHTY, _weight(loss)
            return Stake.NOTHING, f"no database, and at most {HEAVY}"
        case Kind.SECRET:
            return Stake.FOR_GOOD, "a secret's value can't be read back"
        case Kind.SWARM:
            return Stake.FOR_GOOD, "with the last manager goes all that the swarm knew"
        case Kind.BIND_SOURCE:
            return Stake.MISPLACED, "Docker would make it, empty and root's"
        case Kind.PLUGIN:
            if loss.used_by:
                return Stake.FOR_GOOD, "volumes of this plugin would be out of reach"
            return Stake.NOTHING, "it can be installed again"
        case Kind.CONFIG | Kind.CONTEXT:
            return Stake.DEFINITION, "it can be read, and made again"
        case Kind.SERVICE:
            return Stake.NOTHING, "its definition holds no data"
        case Kind.DETACHED_VOLUME:
            return Stake.NOTHING, "it stays on the disk, without a container"
        case Kind.IMAGE:
            return Stake.NOTHING, "it can be pulled or built again"
        case Kind.BUILD_CACHE:
            return Stake.NOTHING, "it can be built again"
        case _:
            assert_never(loss.kind)


def _weigh_volume(loss: Loss) -> tuple[Stake, str]:
    if loss.disposable:
        if loss.holds is Holds.EMPTY:
            return Stake.NOTHING, "empty, of a container started with --rm"
        if _heavy(loss):
            return Stake.WEIGHTY, _weight(loss)
        return Stake.DISPOSABLE, "of a container started with --rm"
    if loss.holds is Holds.ELSEWHERE:
        return Stake.DEFINITION, "only a reference goes: the data lies elsewhere"
    if loss.holds is Holds.EMPTY and loss.in_memory:
        return Stake.DATA, f"it is empty, but {loss.in_memory} may write it when it ends"
    if loss.holds is Holds.EMPTY:
        return Stake.DEFINITION, "it is empty"
    if loss.holds is Holds.DATA:
        return Stake.DATA, "it holds data"
    return Stake.DATA, "what it holds is not known"


def _heavy(loss: Loss) -> bool:
    if loss.holds is Holds.EMPTY:
        return False
    return loss.database or loss.size is None or loss.size > HEAVY


def _weight(loss: Loss) -> str:
    if loss.database:
        return f"it holds {loss.content}"
    return "what it holds is not known" if loss.size is None else f"it holds {Bytes(loss.size)}"


# stake: (a person, nobody to ask, mode backup). "?": what can be protected is, else refused.
_TABLE = {
    Stake.NOTHING: (Action.PASS, Action.PASS, Action.PASS),
    Stake.DEFINITION: (Action.RECORD, Action.RECORD, Action.RECORD),
    Stake.DISPOSABLE: (Action.PASS, Action.PASS, Action.BACK_UP),
    Stake.WEIGHTY: (Action.ASK, Action.PASS, Action.BACK_UP),
    Stake.DATA: (Action.ASK, Action.REFUSE, Action.BACK_UP),
    Stake.FOR_GOOD: (Action.ASK, Action.REFUSE, Action.REFUSE),
    Stake.MISPLACED: (Action.ASK, Action.REFUSE, Action.REFUSE),
}


def _action(stake: Stake, protected: bool, policy: Policy, who: Caller) -> Action:
    """The table's word for a stake; `protected`: a backup can hold what is at stake."""
    person, nobody, backup = _TABLE[stake]
    match policy.mode:
        case Mode.ASK:
            return person if who.can_be_asked else nobody
        case Mode.BACKUP:
            return Action.REFUSE if backup is Action.BACK_UP and not protected else backup
        case Mode.DENY:
            return Action.PASS if person is Action.PASS else Action.REFUSE
        case _:
            assert_never(policy.mode)


def _of_a_path(loss: Loss, policy: Policy, who: Caller, local: bool) -> Verdict:
    """What is done about a host path that Docker would make. On an engine of another machine it
    can't be made from here."""
    stake, because = weigh(loss)
    action = _action(stake, False, policy, who)
    match policy.bind_missing:
        case BindMissing.ASK:
            pass
        case BindMissing.CREATE:
            if local:
                action, because = Action.PASS, "it is made first, as you, by policy"
        case BindMissing.REFUSE:
            action = Action.REFUSE
        case BindMissing.ALLOW:
            action, because = Action.PASS, "Docker makes it, which the policy allows"
        case _:
            assert_never(policy.bind_missing)
    return Verdict(loss, stake, action, because)


def judge(loss: Loss, policy: Policy, who: Caller, *, local: bool = True) -> Verdict:
    """What is done about one loss; `local`: the engine is of this machine."""
    if loss.kind is Kind.BIND_SOURCE:
        return _of_a_path(loss, policy, who, local)
    stake, because = weigh(loss)
    action = _action(stake, protectable(loss), policy, who)
    if action is Action.REFUSE and _TABLE[stake][2] is Action.BACK_UP and not protectable(loss):
        because += ", and no backup can hold it"
    return Verdict(loss, stake, action, because)


def decide(plan: Plan, policy: Policy, who: Caller) -> Decision:
    """Given what the command would take, return what is done about it: the strictest of what is
    done about each loss. A gap counts as a volume that holds data; a dispute is nobody's to allow.
    """
    if not plan.losses and not plan.gaps and not plan.disputes:
        return Decision(Action.PASS, "nothing would be lost", "no-loss")
    local = plan.engine is not None and plan.engine.host.startswith("unix:")
    verdicts = tuple(judge(loss, policy, who, local=local) for loss in plan.losses)
    actions = {verdict.action for verdict in verdicts}
    if plan.gaps:
        actions.add(about_a_gap(plan.command, plan.form, policy, who))
    if plan.disputes:
        return Decision(Action.REFUSE, plan.disputes[0], "engine-disagrees", verdicts=verdicts)
    action = max(actions, key=_STRICTNESS.index)
    because, rule = _reason(action, plan, policy, who, verdicts)
    asked = challenge(plan, verdicts) if action is Action.ASK else ""
    return Decision(action, because, rule, asked, verdicts)


def about_a_gap(command: Command, form: Form, policy: Policy, who: Caller) -> Action:
    """What is done where it can't be found out what a command takes: the worst that it could."""
    stake = Stake.WEIGHTY if spares_volumes(command, form) else Stake.FOR_GOOD
    return _action(stake, False, policy, who)  # no backup can hold what is not known


def _reason(
    action: Action, plan: Plan, policy: Policy, who: Caller, verdicts: tuple[Verdict, ...]
) -> tuple[str, str]:
    """The sentence and the rule's name for the strictest action."""
    strictest = [verdict for verdict in verdicts if verdict.action is action]
    match action:
        case Action.PASS:
            return "nothing of weight would be lost", "nothing-of-weight"
        case Action.RECORD:
            return (
                "only empty volumes, references to data that lives elsewhere, or definitions "
                "would go",
                "definitions-only",
            )
        case Action.BACK_UP:
            return f"mode backup ({policy.mode_source})", "mode-backup"
        case Action.ASK:
            return _what(plan, strictest), "ask"
        case Action.REFUSE:
            pass
        case _:
            assert_never(action)
    if policy.mode is Mode.DENY:
        return f"mode deny ({policy.mode_source})", "mode-deny"
    if policy.mode is Mode.BACKUP and plan.gaps:
        return "mode backup can't protect what could not be found out", "unknown-loss"
    if policy.bind_missing is BindMissing.REFUSE and all(
        verdict.stake is Stake.MISPLACED for verdict in strictest
    ):
        return f"{_what(plan, strictest)}, which the policy refuses", "bind-missing"
    if policy.mode is Mode.BACKUP:
        first = strictest[0]
        return f"{first.loss.kind.value} {first.loss.name}: {first.because}", "not-protectable"
    return (
        f"{_what(plan, strictest)} and nobody can be asked ({who.kind.value}: {who.mark})",
        "nobody-to-ask",
    )


def _what(plan: Plan, verdicts: list[Verdict]) -> str:
    if not plan.gaps and all(verdict.stake is Stake.MISPLACED for verdict in verdicts):
        return "a host path that is not there would be made"
    return "data would be lost"


def challenge(plan: Plan, verdicts: tuple[Verdict, ...] = ()) -> str:
    """What must be typed to let it go: the project's name, that of the one thing, or how many."""
    asked = [verdict.loss for verdict in verdicts if verdict.action is Action.ASK]
    asked = [loss for loss in asked if loss.kind is not Kind.BIND_SOURCE] or list(plan.losses)
    if plan.project:
        return plan.project
    if len(asked) == 1:
        return asked[0].name
    if asked:
        what = "volumes" if all(loss.kind.is_volume for loss in asked) else "things"
        return f"remove {len(asked)} {what}"
    return "go on blindly"
