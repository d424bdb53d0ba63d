"""Before one of our own commands removes a volume: whether it may, whose it is, and a line in the
audit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safedocker import auditing, inforce, whereabouts
from safedocker.edge import people, terminal, wording, wording_people
from safedocker.errors import Refused
from safedocker.loss import owners
from safedocker.loss.plan import Kind, Loss
from safedocker.policy import guarded
from safedocker.policy.options import JOURNAL, OTHERS, Others

if TYPE_CHECKING:
    from safedocker.edge.engine import Engine
    from safedocker.loss.facts import Volume
    from safedocker.loss.plan import Ownership


def may_remove(volume: Volume, engine: Engine, form: str) -> None:
    """Write down that the volume is about to be removed. Raise Refused where it is another
    person's, as policy has it, protected or frozen, or when that can't be written."""
    screen = terminal.Terminal()
    policy, who = inforce.in_force(can_ask=screen.can_ask)
    others = policy[OTHERS]

    def note(outcome: str) -> None:
        about = auditing.About(engine.identity, volume)
        auditing.note((), form, who, outcome, sys.argv, policy[JOURNAL], about)

    loss = Loss(
        Kind.NAMED_VOLUME, volume.name, volume, "", project=volume.project, labels=volume.labels
    )
    if told := guarded.kept(loss, policy, engine.identity):
        note("refused")
        raise Refused(f"refused: {told}. Nothing was removed", "see: safedocker policy")
    owner = None if engine.identity.remote else _owner(volume, engine)
    if owner is not None and not owner.mine and others is not Others.ALLOW:
        because = f"{wording.short(volume.name)} is not yours, but {owner.name}'s"
        because += f" ({wording_people.why(owner)})"
        if not who.can_be_asked or (others is Others.REFUSE and not who.root):
            note("refused")
            raise Refused(f"refused: {because}. Nothing was removed", f"ask {owner.name}")
        screen.note(because)
        if not screen.confirm(f"remove {owner.name}'s data", "go on"):
            note("cancelled")
            raise Refused("cancelled: nothing was removed")
    note("pass")


def _owner(volume: Volume, engine: Engine) -> Ownership | None:
    facts = whereabouts.bare_facts(engine)
    return owners.owner_of(volume, facts, people.signs(facts, owners.folders(facts)))
