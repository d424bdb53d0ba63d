"""How a dangerous command ends that does not get to its exec: what was done for it is put back, and
one line of the audit says why it did not run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from safedocker import auditing, handover, inforce, shim, telling
from safedocker.edge import terminal
from safedocker.errors import Interrupted, Refused, SafedockerError
from safedocker.policy.options import JOURNAL

if TYPE_CHECKING:
    from safedocker.backup.store import Backup
    from safedocker.errors import NoEngine
    from safedocker.shim import Room, Settled, Typed


def end(
    fault: BaseException, typed: Typed | Settled, room: Room | None, taken: tuple[Backup, ...]
) -> None:
    """The command does not run: put back what was done for it, and append the line that says why,
    unless one does. Where lines say that it was let run, there is one more for each.

    Nothing is raised where a line can't be written: what is told on stderr is the fault.
    """
    if room is not None:
        handover.call_off(taken, room)
        who, wanted, written = room.who, room.policy[JOURNAL], room.written
    else:  # the policy may be what is broken
        who = inforce.caller(can_ask=terminal.Terminal().can_ask)
        wanted, written = inforce.journal(), telling.Written()
    why = {
        "rule": telling.code_of(fault),
        "because": fault.message if isinstance(fault, SafedockerError) else repr(fault),
        "at": auditing.now(),
    }
    with contextlib.suppress(Refused):
        for line in written.ran:
            auditing.write({**line, **why, "outcome": "called off"}, wanted)
        if not written.ran and not written.ended:
            broken_off = isinstance(fault, KeyboardInterrupt | Interrupted)
            told = telling.about(written.plan) if written.plan else {"losses": [], "gaps": []}
            told |= {"action": "refuse", "outcome": "cancelled" if broken_off else "refused", **why}
            if not told.get("engine"):
                told["engine"] = _host(typed, fault)
            auditing.write(telling.line_of(typed, who, told), wanted)


def write_unseen(settled: Settled, fault: NoEngine) -> None:
    """Append the line of a command that the policy lets go though its engine can't be asked. Raise
    Refused where it can't be written."""
    policy, who = inforce.in_force(can_ask=terminal.Terminal().can_ask)
    told = {
        "engine": _host(settled, fault),
        "losses": [],
        "gaps": [fault.message],
        "action": "pass",
        "rule": telling.code_of(fault),
        "because": "the policy lets it go, whatever it takes",
        "outcome": "pass",
    }
    auditing.write(telling.line_of(settled, who, told), policy[JOURNAL])


def _host(typed: Typed | Settled, fault: BaseException) -> str | None:
    """The engine's address, where there is one to find; after a bug nothing more is looked for."""
    known = isinstance(fault, SafedockerError | KeyboardInterrupt)
    if not known or not isinstance(typed, shim.Settled) or not typed.form.reach.needs_engine:
        return None
    with contextlib.suppress(SafedockerError):
        return shim.address_of(typed).host
    return None
