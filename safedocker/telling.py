"""What is written down and said of a decision: the audit's line, a refusal, a fault; in words, or
as one JSON object on stderr for programs."""

from __future__ import annotations

import datetime
import os
import pathlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safedocker import auditing, inforce
from safedocker.edge import process, terminal, wording_refusal
from safedocker.errors import Bug, ExitCode, Interrupted, Refused, SafedockerError
from safedocker.loss.history import DID_NOT_RUN
from safedocker.policy.options import JOURNAL, Format

if TYPE_CHECKING:
    from safedocker.loss.plan import Plan
    from safedocker.policy.decide import Decision
    from safedocker.policy.layers import Policy
    from safedocker.policy.options import Caller
    from safedocker.shim import Room, Settled, Typed

VERSION = 1  # of the JSON; refusal.schema.json describes it


class Refusal(Refused):
    """A decision that refuses, told with all that it is about."""

    def __init__(self, plan: Plan, decision: Decision, who: Caller, policy: Policy) -> None:
        super().__init__(wording_refusal.told(decision))
        self.plan = plan
        self.decision = decision
        self.who = who
        self.policy = policy


@dataclass
class Written:
    """What the audit has of one command so far, and what was last known of it."""

    ran: list[dict[str, object]] = field(default_factory=list)  # lines that say it was let run
    ended: bool = False  # a line says that it did not run
    plan: Plan | None = None


def write(
    plan: Plan,
    decision: Decision,
    room: Room,
    outcome: str,
    backup: str | None = None,
    answered: str | None = None,
) -> None:
    """Append the audit's line of a decision. Raise Refused where it can't be written."""
    told = {
        **about(plan),
        "action": decision.action.value,
        "rule": decision.rule,
        "because": decision.because,
        "outcome": outcome,
        "answered": answered,
        "backup": backup,
    }
    line = line_of(room.settled, room.who, told)
    # Before it is written: of two places one may have it when the other can't be written.
    if outcome in DID_NOT_RUN:
        room.written.ended = True
    else:
        room.written.ran.append(line)
    auditing.write(line, room.policy[JOURNAL])


def write_off(settled: Settled, who: Caller, policy: Policy) -> None:
    """Append the line of a command that went past the guard. Nobody looked what it takes."""
    off = {"action": "pass", "rule": "off", "because": "SAFEDOCKER=off", "outcome": "unguarded"}
    line = line_of(settled, who, {"losses": [], "gaps": ["nobody looked"], **off})
    auditing.write(line, policy[JOURNAL])


def about(plan: Plan) -> dict[str, object]:
    """What a line has of a plan."""
    return {
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
    }


def line_of(typed: Typed | Settled, who: Caller, told: Mapping[str, object]) -> dict[str, object]:
    """A line of the audit: who typed what, and what is told besides."""
    return {
        **auditing.typed(typed.words, who),
        "command": auditing.told_to_all(typed.command),
        "form": typed.form.name,
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
    # After a bug of ours it may be just this that fails.
    expected = Exception if isinstance(fault, Bug) else SafedockerError
    try:
        policy, who = inforce.in_force(can_ask=terminal.Terminal().can_ask)
    except expected:
        return inforce.format_for(None, None)
    return inforce.format_for(who, policy)


def as_json(fault: SafedockerError) -> dict[str, object]:
    """A fault for programs. `code` is a refusal's rule, or what kind of fault it is."""
    refusal = None
    ways = tuple(line for line in fault.hint.splitlines() if line)
    if isinstance(fault, Refusal):
        refusal = wording_refusal.as_json(fault.plan, fault.decision, fault.who)
        ways = wording_refusal.ways_on(fault.plan, fault.decision, fault.who)
    return {
        "safedocker": VERSION,
        "exit_code": int(fault.exit_code),
        "code": code_of(fault),
        "message": fault.message,
        "ways_on": list(ways),
        "refusal": refusal,
    }


def code_of(fault: BaseException) -> str:
    """The code of why a command did not run, which does not change: a refusal's rule, or what kind
    of fault it is."""
    if isinstance(fault, Refusal):
        return fault.decision.rule
    kind = Bug.exit_code
    if isinstance(fault, KeyboardInterrupt):
        kind = Interrupted.exit_code
    elif isinstance(fault, SafedockerError):
        kind = fault.exit_code
    return kind.name.lower().replace("_", "-")


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
    return tell(_bug(text, written))


def _bug(text: str, file: pathlib.Path | None) -> Bug:
    """A traceback as it is told: its last line, and where the rest is."""
    *_, last = text.strip().splitlines() or ["no traceback"]
    where = f"the report is in {file}"
    if file is None:
        where = f"no report could be written, so here it is\n{text}"
    return Bug(f"a bug in safedocker: {last}", f"nothing was removed by safedocker; {where}")
