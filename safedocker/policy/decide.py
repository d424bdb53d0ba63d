"""What is done about a plan: Plan + Policy + Caller -> Decision. Pure: no disk, no clock.

What is at stake with a loss is stakes.py's; which values are in force is layers.py's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import assert_never

from safedocker.command.parse import Command
from safedocker.loss.facts import EngineIdentity, Holds
from safedocker.loss.forms import Form, spares_volumes
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy import guarded
from safedocker.policy.layers import Policy, Value
from safedocker.policy.options import (
    ASK_ABOVE,
    BIND_MISSING,
    BIND_PATHS,
    OTHERS,
    PROTECTED_PROJECTS,
    PROTECTED_VOLUMES,
    Caller,
    CallerKind,
    Challenge,
    Mode,
    Others,
)
from safedocker.policy.paths import BindMissing, answer
from safedocker.policy.stakes import Stake, protectable, weigh


class Action(enum.Enum):
    """What happens next, the mildest first."""

    PASS = "pass"  # noqa: S105 - no password: the command may pass
    RECORD = "record"  # what can be made again from its definition: that is kept, without a word
    BACK_UP = "back up"
    ASK = "ask"
    REFUSE = "refuse"


_STRICTNESS = list(Action)


class Rule(enum.Enum):
    """Why, by a name that does not change: for the audit, for programs, and for who searches. Of
    the refusals the first that applies is told."""

    NO_LOSS = "no-loss"
    NOTHING_OF_WEIGHT = "nothing-of-weight"
    DEFINITIONS_ONLY = "definitions-only"
    DISPOSABLE = "disposable"
    MODE_ALLOW = "mode-allow"
    MODE_BACKUP = "mode-backup"
    ASK = "ask"
    ENGINE_DISAGREES = "engine-disagrees"
    FROZEN = "frozen"
    PROTECTED = "protected"
    MODE_DENY = "mode-deny"
    NOT_YOURS = "not-yours"
    UNKNOWN_LOSS = "unknown-loss"
    TYPE_THE_ENGINE = "type-the-engine"
    NOT_PROTECTABLE = "not-protectable"
    NOBODY_TO_ASK = "nobody-to-ask"
    BIND_MISSING = "bind-missing"


@dataclass(frozen=True)
class Verdict:
    """What is done about one loss, and why."""

    loss: Loss
    stake: Stake
    action: Action
    because: str
    rule: Rule
    told: str = ""  # the mode, and where it stands


@dataclass(frozen=True)
class Decision:
    """An action with its reason. `challenge` is what must be typed to go on without a backup,
    `confirm` what must be typed to go on at all."""

    action: Action
    because: str
    rule: str  # a Rule's value
    challenge: str = ""
    confirm: str = ""
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


def wants_weight(policy: Policy, who: Caller, plan: Plan) -> bool:
    """Does what containers hold outside their volumes, or leave behind, make a difference?"""
    theirs = any(loss.anothers for loss in plan.losses)
    return who.can_be_asked or theirs or bool(policy.layers) or policy.frozen is not None


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


def _by_mode(
    stake: Stake, protected: bool, ruling: Value[Mode], who: Caller
) -> tuple[Action, Rule, str]:
    """The table's word for a stake, its rule and reason; `protected`: a backup can hold what is at
    stake."""
    person, nobody, backup = _TABLE[stake]
    told = f"mode {ruling.value.value} ({ruling.place})"
    match ruling.value:
        case Mode.ASK:
            action = person if who.can_be_asked else nobody
            rule = Rule.NOBODY_TO_ASK if action is Action.REFUSE else Rule.ASK
            return action, rule, ""
        case Mode.BACKUP:
            if backup is Action.BACK_UP and not protected:
                return Action.REFUSE, Rule.NOT_PROTECTABLE, "no backup can hold it"
            rule = Rule.NOT_PROTECTABLE if backup is Action.REFUSE else Rule.MODE_BACKUP
            return backup, rule, told
        case Mode.DENY:
            harmless = {person, backup} == {Action.PASS}
            return Action.PASS if harmless else Action.REFUSE, Rule.MODE_DENY, told
        case Mode.ALLOW:
            action = Action.RECORD if person is Action.RECORD else Action.PASS
            return action, Rule.MODE_ALLOW, told
        case _:
            assert_never(ruling.value)


def _of_a_path(loss: Loss, policy: Policy, who: Caller, plan: Plan) -> Verdict:
    """What is done about a host path that Docker would make. On an engine of another machine it
    can't be made from here."""
    stake, because = weigh(loss)
    ruling = policy.mode(loss.kind, plan.engine)
    action, rule, _told = _by_mode(stake, False, ruling, who)
    local = plan.engine is not None and plan.engine.host.startswith("unix:")
    if not loss.certain:
        because = "whether it is there can't be known from here"
    missing = _missing(loss.name, policy, ruling)
    match missing:
        case BindMissing.ASK:
            pass
        case BindMissing.CREATE:
            if local:
                action, because = Action.PASS, "it is made first, as you, by policy"
        case BindMissing.REFUSE:
            action, rule = Action.REFUSE, Rule.BIND_MISSING
        case BindMissing.ALLOW:
            action, because = Action.PASS, "Docker makes it, which the policy allows"
        case _:
            assert_never(missing)
    return Verdict(loss, stake, action, because, rule)


def _missing(path: str, policy: Policy, ruling: Value[Mode]) -> BindMissing:
    """What the policy says of a path that is not there. Where `bind_missing` is binding, patterns
    that are not can only tighten it."""
    rules = policy.under(BIND_PATHS, ruling)
    told = answer(path, rules, policy.under(BIND_MISSING, ruling))
    every = policy.of(BIND_MISSING)
    loosens = told is not every.value and not BIND_MISSING.stricter(told, every.value)
    return every.value if loosens and every.bound and not policy.of(BIND_PATHS).bound else told


def to_make(decision: Decision, policy: Policy, plan: Plan) -> frozenset[str]:
    """The host paths that are to be made before the command runs, by policy."""
    return frozenset(
        one.loss.name
        for one in decision.verdicts
        if one.stake is Stake.MISPLACED
        and one.action is Action.PASS
        and _missing(one.loss.name, policy, policy.mode(one.loss.kind, plan.engine))
        is BindMissing.CREATE
    )


def judge(loss: Loss, policy: Policy, who: Caller, plan: Plan) -> Verdict:
    """What is done about one loss of a plan."""
    if loss.kind is Kind.BIND_SOURCE:
        return _of_a_path(loss, policy, who, plan)
    ruling = policy.mode(loss.kind, plan.engine)
    typed = policy.challenge(plan.engine)
    to_type = typed.value is Challenge.ENGINE
    above = policy.under(ASK_ABOVE, ruling)
    if to_type:
        above = min(above, policy.under(ASK_ABOVE, typed))
    stake, because = weigh(loss, above)
    kept, _ = weigh(loss, guarded.line(policy, ruling))
    if policy.frozen is not None and kept is not Stake.NOTHING:
        return Verdict(loss, kept, Action.REFUSE, policy.frozen.told, Rule.FROZEN)
    if told := guarded.protected(loss, kept, policy, plan.project, plan.engine):
        return Verdict(loss, stake, Action.REFUSE, told, Rule.PROTECTED)
    named = ruling.named and loss.holds is not Holds.EMPTY and ruling.value is not Mode.ALLOW
    if named and stake in {Stake.NOTHING, Stake.WEIGHTY}:
        stake, because = Stake.DATA, f"{because}; {loss.kind.value}: {ruling.place}"
    action, rule, told = _by_mode(stake, protectable(loss), ruling, who)
    if rule is Rule.NOT_PROTECTABLE and not protectable(loss):
        because += ", and no backup can hold it"
    weighs = stake not in {Stake.NOTHING, Stake.DEFINITION}
    free = guarded.disposable(loss, policy, ruling)
    theirs = loss.anothers and policy[OTHERS] is not Others.ALLOW
    held = weighs and ((to_type and typed.bound) or theirs)
    if (weighs or action is not Action.PASS or rule is Rule.MODE_ALLOW) and free and not held:
        action, rule, because = Action.PASS, Rule.DISPOSABLE, free
    elif rule is Rule.MODE_ALLOW and stake is not Stake.NOTHING:
        because = told
    weighs = weighs and rule is not Rule.DISPOSABLE
    if weighs and to_type:
        least = Action.ASK if who.can_be_asked else Action.REFUSE
        action = max(action, least, key=_STRICTNESS.index)
        rule = rule if least is Action.ASK and action is Action.REFUSE else Rule.TYPE_THE_ENGINE
    if weighs and loss.anothers and action is not Action.REFUSE:
        least = _of_another(policy, who)
        rule = Rule.NOT_YOURS if least is Action.REFUSE else rule
        action = max(action, least, key=_STRICTNESS.index)
        because = f"it is {_whose(loss)}, and {because}"
    elif weighs and loss.anothers and rule in _MILDER:
        rule = Rule.NOT_YOURS if _of_another(policy, who) is Action.REFUSE else rule
    return Verdict(loss, stake, action, because, rule, told)


# Refusals that another caller, or a question, would lift: that it is not theirs says more.
_MILDER = {Rule.NOBODY_TO_ASK, Rule.NOT_PROTECTABLE, Rule.TYPE_THE_ENGINE}


def _of_another(policy: Policy, who: Caller) -> Action:
    """What is done at least about data that is known to be another person's.

    Root is asked where others are refused: an administrator would only go around a refusal, and
    must not take another's data for their own without a word. A service of root's that nobody can
    be asked for does what the mode says, as it works in folders of other accounts by its nature.
    """
    match policy[OTHERS]:
        case Others.ALLOW:
            return Action.PASS
        case Others.REFUSE | Others.ASK if who.root:
            if who.can_be_asked:
                return Action.ASK
            by_itself = who.kind is not CallerKind.AGENT and not who.sudo
            return Action.PASS if by_itself else Action.REFUSE
        case Others.REFUSE:
            return Action.REFUSE
        case Others.ASK:
            return Action.ASK if who.can_be_asked else Action.REFUSE
        case _:
            assert_never(policy[OTHERS])


def _whose(loss: Loss) -> str:
    return f"{loss.owner.name}'s" if loss.owner else "nobody's"


def decide(plan: Plan, policy: Policy, who: Caller) -> Decision:
    """Given what the command would take, return what is done about it: the strictest of what is
    done about each loss. A gap counts as a volume that holds data; a dispute is nobody's to allow.
    """
    if not plan.losses and not plan.gaps and not plan.disputes:
        return Decision(Action.PASS, "nothing would be lost", Rule.NO_LOSS.value)
    verdicts = tuple(judge(loss, policy, who, plan) for loss in plan.losses)
    actions = {verdict.action for verdict in verdicts}
    gap: Gap | None = None
    if plan.gaps:
        gap = _of_a_gap(plan.command, plan.form, policy, who, plan.engine)
        actions.add(gap.action)
    if plan.disputes:
        rule = Rule.ENGINE_DISAGREES.value
        return Decision(Action.REFUSE, plan.disputes[0], rule, verdicts=verdicts)
    action = max(actions, key=_STRICTNESS.index)
    because, told = _reason(action, plan, who, verdicts, gap)
    asked = challenge(plan, verdicts) if action is Action.ASK else ""
    confirm = _to_confirm(plan.engine, policy) if action is Action.ASK else ""
    return Decision(action, because, told.value, asked, confirm, verdicts)


def _to_confirm(engine: EngineIdentity | None, policy: Policy) -> str:
    """What a person types before anything goes from this engine: its name where the policy wants
    that, and on another machine unless a file says that it does not."""
    if engine is None:
        return ""
    said = policy.challenge(engine)
    typed = said.value is Challenge.ENGINE or (engine.remote and said.depth == 0)
    return engine.name or engine.host if typed else ""


# What a form can take that nobody could find out.
_HIDDEN = (Kind.NAMED_VOLUME, Kind.ANONYMOUS_VOLUME, Kind.LAYER, Kind.SECRET, Kind.SWARM)


@dataclass(frozen=True)
class Gap:
    """What is done where it can't be found out what a command takes."""

    action: Action
    rule: Rule
    because: str


def about_a_gap(command: Command, form: Form, policy: Policy, who: Caller) -> Action:
    """What is done where the engine can't say what a command takes: the worst that it could."""
    return _of_a_gap(command, form, policy, who, None).action


def _of_a_gap(
    command: Command, form: Form, policy: Policy, who: Caller, engine: EngineIdentity | None
) -> Gap:
    spares = spares_volumes(command, form)
    stake = Stake.WEIGHTY if spares else Stake.FOR_GOOD
    if policy.frozen is not None:
        return Gap(Action.REFUSE, Rule.FROZEN, policy.frozen.told)
    gaps = []
    for kind in _HIDDEN[2:] if spares else _HIDDEN:
        ruling = policy.mode(kind, engine)
        sharp = Stake.FOR_GOOD if ruling.named and ruling.value is not Mode.ALLOW else stake
        action, rule, told = _by_mode(sharp, False, ruling, who)  # no backup holds what is unknown
        rule = Rule.UNKNOWN_LOSS if rule is Rule.NOT_PROTECTABLE else rule
        gaps.append(Gap(action, rule, told))
    if engine is None and policy.names_what_it_guards:
        gaps.append(Gap(Action.REFUSE, Rule.PROTECTED, "what the policy guards by name may go"))
    if not spares and (policy[PROTECTED_VOLUMES] or policy[PROTECTED_PROJECTS]):
        gaps.append(Gap(Action.REFUSE, Rule.PROTECTED, "what the policy protects may be among it"))
    if not spares and (told := guarded.protected_context(policy, engine)):
        gaps.append(Gap(Action.REFUSE, Rule.PROTECTED, told))
    if policy.challenge(engine).value is Challenge.ENGINE and not who.can_be_asked and not spares:
        gaps.append(Gap(Action.REFUSE, Rule.TYPE_THE_ENGINE, ""))
    return max(gaps, key=lambda gap: _STRICTNESS.index(gap.action))


def _reason(
    action: Action, plan: Plan, who: Caller, verdicts: tuple[Verdict, ...], gap: Gap | None
) -> tuple[str, Rule]:
    """The sentence and the rule for the strictest action."""
    strictest = [verdict for verdict in verdicts if verdict.action is action]
    match action:
        case Action.PASS:
            for rule in (Rule.MODE_ALLOW, Rule.DISPOSABLE):
                found = [v for v in strictest if v.rule is rule and v.stake is not Stake.NOTHING]
                if found:
                    return found[0].because, rule
            return "nothing of weight would be lost", Rule.NOTHING_OF_WEIGHT
        case Action.RECORD:
            return (
                "only empty volumes, references to data that lives elsewhere, or definitions "
                "would go",
                Rule.DEFINITIONS_ONLY,
            )
        case Action.BACK_UP:
            return strictest[0].told, Rule.MODE_BACKUP
        case Action.ASK:
            return _what(plan, strictest), Rule.ASK
        case Action.REFUSE:
            pass
        case _:
            assert_never(action)
    told = {verdict.rule: verdict for verdict in reversed(strictest)}
    rules = {*told, *({gap.rule} if gap and gap.action is action else ())}
    rule = min(rules, key=list(Rule).index)
    verdict = told.get(rule)
    nobody = f"nobody can be asked ({who.kind.value}: {who.mark})"
    match rule:
        case Rule.FROZEN | Rule.PROTECTED:
            return (verdict.because if verdict else gap.because if gap else ""), rule
        case Rule.MODE_DENY:
            return (verdict.told if verdict else gap.because if gap else ""), rule
        case Rule.NOT_YOURS:
            theirs = [one.loss for one in strictest if one.rule is rule]
            whose = ", ".join(dict.fromkeys(map(_whose, theirs)))
            return f"data would be lost that is not yours, but {whose}", rule
        case Rule.UNKNOWN_LOSS:
            return "mode backup can't protect what could not be found out", rule
        case Rule.TYPE_THE_ENGINE:
            return f"the engine's name has to be typed first, and {nobody}", rule
        case Rule.BIND_MISSING:
            return f"{_what(plan, strictest)}, which the policy refuses", rule
        case Rule.NOT_PROTECTABLE if verdict:
            return f"{verdict.loss.kind.value} {verdict.loss.name}: {verdict.because}", rule
        case _:
            return f"{_what(plan, strictest)} and {nobody}", rule


def _what(plan: Plan, verdicts: list[Verdict]) -> str:
    if not plan.gaps and all(verdict.stake is Stake.MISPLACED for verdict in verdicts):
        if not any(verdict.loss.certain for verdict in verdicts):
            return "whether a host path is there can't be known from here"
        return "a host path that is not there would be made"
    return "data would be lost"


def challenge(plan: Plan, verdicts: tuple[Verdict, ...] = ()) -> str:
    """What must be typed to let it go: the project's name, that of the one thing, or how many."""
    asked = [verdict.loss for verdict in verdicts if verdict.action is Action.ASK]
    asked = [loss for loss in asked if loss.kind is not Kind.BIND_SOURCE] or list(plan.losses)
    theirs = list(dict.fromkeys(_whose(loss) for loss in asked if loss.anothers))
    if theirs:
        return f"remove data of {len(theirs)} people" if theirs[1:] else f"remove {theirs[0]} data"
    if plan.project:
        return plan.project
    if len(asked) == 1:
        return asked[0].name
    if asked:
        what = "volumes" if all(loss.kind.is_volume for loss in asked) else "things"
        return f"remove {len(asked)} {what}"
    return "go on blindly"
