"""What is written down and said of a decision: the audit's line, a refusal, a fault; in words, or
as one JSON object on stderr for programs."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import traceback
from typing import TYPE_CHECKING

from safedocker import auditing, inforce
from safedocker.edge import process, terminal, wording_refusal
from safedocker.errors import ExitCode, Refused, SafedockerError
from safedocker.loss.history import DID_NOT_RUN
from safedocker.policy.options import JOURNAL, Format

if TYPE_CHECKING:
    from safedocker.loss.plan import Plan
    from safedocker.policy.decide import Decision
    from safedocker.policy.layers import Policy
    from safedocker.policy.options import Caller
    from safedocker.shim import Room, Settled

VERSION = 1  # of the JSON; refusal.schema.json describes it


class Refusal(Refused):
    """A decision that refuses, told with all that it is about."""

    def __init__(self, plan: Plan, decision: Decision, who: Caller, policy: Policy) -> None:
        super().__init__(wording_refusal.told(decision))
        self.plan = plan
        self.decision = decision
        self.who = who
        self.policy = policy


def write(
    plan: Plan,
    decision: Decision,
    room: Room,
    outcome: str,
    backup: str | None = None,
    answered: str | None = None,
) -> None:
    """Append the audit's line of a decision. Raise Refused where it can't be written."""
    line = _line(
        room.settled,
        room.who,
        {
            "engine": plan.engine.host if plan.engine else None,
            "engine_id": plan.engine.id if plan.engine else None,
            "engine_name": plan.engine.name if plan.engine else None,
            "project": plan.project,
            "losses": [
                {
                    "kind": loss.kind.value,
                    "name": loss.name,
                    "size": loss.size,
                    "why": loss.why,
                    "used_by": list(loss.used_by),
                    "image": loss.image or None,
                    "target": loss.target or None,
                    "project": loss.project,
                    "owner": loss.owner.uid if loss.owner else None,
                }
                for loss in plan.losses
            ],
            "disputes": list(plan.disputes),
            "gaps": list(plan.gaps),
            "action": decision.action.value,
            "rule": decision.rule,
            "because": decision.because,
            "outcome": outcome,
            "answered": answered,
            "backup": backup,
        },
    )
    auditing.write(line, room.policy[JOURNAL])
    if outcome not in DID_NOT_RUN:
        room.ran.append(line)


def call_off(room: Room) -> None:
    """The command does not run after all: where a line says that it was let, one more says so.
    Nothing is raised."""
    wanted = room.policy[JOURNAL]
    for line in room.ran:
        with contextlib.suppress(Refused):
            auditing.write({**line, "at": auditing.now(), "outcome": "called off"}, wanted)
    room.ran.clear()


def write_off(settled: Settled, who: Caller, policy: Policy) -> None:
    """Append the line of a command that went past the guard. Nobody looked what it takes."""
    off = {"action": "pass", "rule": "off", "because": "SAFEDOCKER=off", "outcome": "unguarded"}
    line = _line(settled, who, {"losses": [], "gaps": ["nobody looked"], **off})
    auditing.write(line, policy[JOURNAL])


def _line(settled: Settled, who: Caller, told: dict[str, object]) -> dict[str, object]:
    return {
        **auditing.typed(settled.words, who),
        "command": auditing.told_to_all(settled.command),
        "form": settled.form.name,
        **told,
    }


def tell(fault: SafedockerError) -> int:
    """Say on stderr why the command did not run; return the exit code."""
    told = f"{fault.message} {fault.hint}".lower()
    if "nothing was removed" not in told and fault.exit_code is not ExitCode.NO_DOCKER:
        fault.hint = f"nothing was removed: the command did not run\n{fault.hint}".strip()
    if _format(fault) is Format.JSON:
        terminal.tell_json(as_json(fault))
    elif isinstance(fault, Refusal):
        terminal.Terminal().refusal(fault.plan, fault.decision, fault.who)
    else:
        terminal.tell(fault)
    return int(fault.exit_code)


def _format(fault: SafedockerError) -> Format:
    if isinstance(fault, Refusal):
        return inforce.format_for(fault.who, fault.policy)
    try:
        policy, who = inforce.in_force(can_ask=terminal.Terminal().can_ask)
    except SafedockerError:
        return inforce.format_for(None, None)
    return inforce.format_for(who, policy)


def as_json(fault: SafedockerError) -> dict[str, object]:
    """A fault for programs. `code` is a refusal's rule, or what kind of fault it is."""
    refusal = None
    ways = tuple(line for line in fault.hint.splitlines() if line)
    code = fault.exit_code.name.lower().replace("_", "-")
    if isinstance(fault, Refusal):
        refusal = wording_refusal.as_json(fault.plan, fault.decision, fault.who)
        ways = wording_refusal.ways_on(fault.plan, fault.decision, fault.who)
        code = fault.decision.rule
    return {
        "safedocker": VERSION,
        "exit_code": int(fault.exit_code),
        "code": code,
        "message": fault.message,
        "ways_on": list(ways),
        "refusal": refusal,
    }


def report(fault: Exception, arguments: list[str]) -> int:
    """Write what went wrong into a file for the bug report, and say where it is."""
    text = "".join(traceback.format_exception(fault))
    name = f"bug-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    file = pathlib.Path(process.state_folder(), name)
    written: pathlib.Path | None = file
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(f"{arguments!r}\n{text}", encoding="utf-8", errors="backslashreplace")
    except OSError:
        written = None  # the text is on the terminal all the same
    terminal.tell_bug(text, written)
    return int(ExitCode.BUG)
