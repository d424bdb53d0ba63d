"""Which commands an answer for a whole batch covers: those of the same parent that come after the
one it was given to, as far as a person who saw that one would expect. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from safedocker.loss.plan import Plan
from safedocker.policy.decide import Action, Decision
from safedocker.policy.options import Answer
from safedocker.policy.stakes import Stake

LASTS = 3600.0  # seconds after which an answer covers nothing more
CHALLENGE = "remove all"  # what is typed to let a whole batch go without a backup

_NEVER = {Stake.FOR_GOOD, Stake.MISPLACED}  # each of these is asked about by itself


@dataclass(frozen=True)
class Scope:
    """What a question was about. `stakes` has a line for each kind of loss that was in question,
    with what is at stake, and what was seen in it."""

    form: str
    engine: str
    directory: str
    project: str
    stakes: frozenset[str]


def scope(plan: Plan, decision: Decision, directory: str) -> Scope:
    """Say what the question about a plan is about."""
    engine = plan.engine
    return Scope(
        plan.form.name,
        f"{engine.host} {engine.id}" if engine else "",
        directory,
        plan.project or "",
        frozenset(
            f"{loss.kind.value}, {verdict.stake.value}, {loss.holds.value}"
            + (", a database" if loss.database else "")
            for verdict in decision.verdicts
            if verdict.action is Action.ASK
            for loss in (verdict.loss,)
        ),
    )


def offered(plan: Plan, decision: Decision) -> tuple[Answer, ...]:
    """The answers that may be given for all that comes after, too."""
    return tuple(one for one in Answer if _may_cover(one, plan, decision))


def covers(answer: Answer, given: Scope, plan: Plan, decision: Decision, directory: str) -> bool:
    """Does an answer that was given for a batch hold for this plan?

    A cancel does for every question of the batch. Otherwise form, engine and folder are the same,
    and no kind of loss is new; without a backup, the project and what it holds are no others.
    """
    asked = scope(plan, decision, directory)
    if answer is Answer.CANCEL:
        return True
    if not _may_cover(answer, plan, decision):
        return False
    places = (given.form, given.engine, given.directory)
    if places != (asked.form, asked.engine, asked.directory):
        return False
    if answer is Answer.BACK_UP:
        return {one.split(", ")[0] for one in asked.stakes} <= {
            one.split(", ")[0] for one in given.stakes
        }
    return given.project == asked.project and asked.stakes <= given.stakes


def _may_cover(answer: Answer, plan: Plan, decision: Decision) -> bool:
    if answer is Answer.CANCEL:
        return True
    if any(verdict.loss.anothers for verdict in decision.verdicts):
        return False  # whose data goes is asked each time
    if answer in {Answer.MAKE, Answer.OTHERWISE}:  # what it offers differs from command to command
        return False
    asked = {verdict.stake for verdict in decision.verdicts if verdict.action is Action.ASK}
    if plan.gaps or asked & _NEVER or decision.confirm:
        return False
    return answer is Answer.WITHOUT or bool(decision.protected and not decision.unprotected)
