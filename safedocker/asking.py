"""The question in the walk: put to the person, or answered by what was said for the whole batch;
and the host paths that an answer makes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from safedocker.edge import batch, process, wording
from safedocker.errors import Refused
from safedocker.loss.plan import Kind
from safedocker.policy import batch as covering
from safedocker.policy import decide
from safedocker.survey import hostpaths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safedocker.backup.ways import Offer
    from safedocker.loss.plan import Plan
    from safedocker.policy.decide import Decision
    from safedocker.policy.options import Answer
    from safedocker.shim import Room


def ask(plan: Plan, decision: Decision, offers: Sequence[Offer], room: Room) -> tuple[Answer, str]:
    """Return what the person chose, now or for all that this parent starts, and how it was told.
    `offers` are the ways of a backup.

    Raise KeyboardInterrupt for Ctrl-C, and for what comes after it in the same batch.
    """
    here, parent = process.working_directory(), room.parent
    if parent is None:
        chosen = room.terminal.ask(plan, decision, caller=room.who, offers=offers)
        return chosen.answer, "at the terminal"
    state = Path(process.state_folder())
    given = batch.recall(state, parent, covering.LASTS)
    if given is not None:
        before = given.answer
        if before is None:
            raise KeyboardInterrupt
        if covering.covers(before, given.scope, plan, decision, here):
            room.turn.end()
            told = f"for {wording.batch(parent.command)}"
            room.terminal.note(f"{before.value}, as answered {told}: {wording.headline(plan)}")
            return before, told

    def remember(answer: Answer | None) -> None:
        about = covering.scope(plan, decision, here)
        batch.remember(state, parent, batch.Given(answer, about, time.time()))

    try:
        chosen = room.terminal.ask(
            plan,
            decision,
            caller=room.who,
            offers=offers,
            batch=covering.offered(plan, decision),
            challenge=covering.CHALLENGE,
        )
    except KeyboardInterrupt:
        remember(None)
        raise
    if chosen.for_all:
        remember(chosen.answer)
    return chosen.answer, "at the terminal" + (", for the batch" if chosen.for_all else "")


def make_by_policy(plan: Plan, decision: Decision, room: Room) -> None:
    """Make the host paths that are missing, where the policy has that done."""
    make_paths(plan, decide.to_make(decision, room.policy, plan))


def make_paths(plan: Plan, chosen: frozenset[str] | None = None) -> None:
    """Make the host paths, or those that are chosen, as the person who calls, so that Docker does
    not do it as root."""
    for loss in plan.losses:
        if loss.kind is Kind.BIND_SOURCE and (chosen is None or loss.name in chosen):
            try:
                hostpaths.make(loss.name, file=loss.file)
            except OSError as fault:
                raise Refused(
                    f"{loss.name} can't be made: {fault.strerror}. The command did not run"
                ) from fault
