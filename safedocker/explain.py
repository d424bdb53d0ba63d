"""What there is to say of a command without running it: how it is read, the row it falls under,
what would go, and what is decided about that for each caller there can be."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from safedocker import inforce, shim, survey
from safedocker.command.parse import Command, parse
from safedocker.edge import process, terminal, wording, wording_refusal
from safedocker.edge.clients import RealClient, files_of
from safedocker.errors import NoAddress, NoEngine, SafedockerError, WouldFail
from safedocker.loss import forms
from safedocker.loss.plan import Plan
from safedocker.policy import decide
from safedocker.policy.decide import Action, Decision
from safedocker.policy.layers import Layer, Origin, Policy, Setting, Stratum
from safedocker.policy.options import MODE, Caller, CallerKind, Mode

VERSION = 1  # of the JSON; explain.schema.json describes it

# The three columns of the table of decisions: who is there to be asked, and in which mode.
_CALLERS = {
    "person": Caller(CallerKind.PERSON, "a terminal"),
    "nobody": Caller(CallerKind.SCRIPT, "no terminal"),
    "backup": Caller(CallerKind.SCRIPT, "no terminal"),
}
_TITLES = {"person": "a person:", "nobody": "nobody to ask:", "backup": "mode backup:"}


@dataclass(frozen=True)
class Explained:
    """A command with all that could be found out about it. Either it has a decision, with the plan
    that it is about where there is one; or a fault that it would end with before any."""

    command: Command
    who: Caller
    form: forms.Form | None = None
    at_once: str = ""  # why it would run without a look at an engine, or without a decision
    plan: Plan | None = None
    decision: Decision | None = None  # for the caller at hand
    columns: tuple[tuple[str, Decision], ...] = ()
    fault: SafedockerError | None = None


def explain(program: str, words: Sequence[str], *, can_ask: bool) -> Explained:
    """Walk as shim.py does, up to the decision. `can_ask`: is a person at a terminal here?"""
    who = inforce.caller(can_ask=can_ask)
    readings = parse(program, words)
    command = next((one for one in readings if forms.match(one)), readings[0])
    found = Explained(command, who, forms.match(command))
    if found.form is None:
        return _passes(found, *_harmless(command))
    settled = policy = None
    try:
        call = shim.Call(program, process.find_real(program, "", ""), list(words))
        settled = shim.settle(call)
        if settled is None:
            command = _as_the_client_reads(call, command)
            return _passes(replace(found, command=command, form=None), *_harmless(command))
        found = replace(found, command=settled.command, form=settled.form)
        if shim.refused_by_itself(settled):
            why = "it asks for itself, and stdin is at its end: that is a No"
            return _passes(found, why, "asks-itself")
        policy, who = inforce.in_force(can_ask=can_ask)
        with shim.connect(settled, policy) or contextlib.nullcontext() as engine:
            plan = survey.look_inside(survey.survey(settled, engine), engine, weigh=True)
    except WouldFail as fault:
        said = f": {fault}" if str(fault) else ""
        return _passes(found, f"it would fail by itself{said}", "would-fail")
    except NoAddress as fault:
        return _passes(found, f"it would fail by itself: {fault.message}", "would-fail")
    except NoEngine as fault:
        found = replace(found, fault=fault)
        return _unseen(found, settled, policy) if settled and policy else found
    except SafedockerError as fault:
        return replace(found, fault=fault)
    return replace(
        found,
        plan=plan,
        decision=decide.decide(plan, policy, who),
        columns=tuple(
            (name, decide.decide(plan, *column)) for name, column in _columns(policy).items()
        ),
    )


def _columns(policy: Policy) -> dict[str, tuple[Policy, Caller]]:
    """What is in force here for each of these callers."""
    backup = Layer(
        Stratum.ENVIRONMENT,
        "environment",
        (Setting((MODE.key,), Mode.BACKUP, Origin(MODE.variable)),),
    )
    return {
        name: (
            replace(
                policy,
                caller=who.kind,
                layers=(*policy.layers, backup) if name == "backup" else policy.layers,
            ),
            who,
        )
        for name, who in _CALLERS.items()
    }


def _unseen(found: Explained, settled: shim.Settled, policy: Policy) -> Explained:
    """What is decided where the engine can't say: the worst that the command could take counts."""

    def worst(policy: Policy, who: Caller) -> Decision:
        action = decide.about_a_gap(settled.command, settled.form, policy, who)
        if action is Action.PASS:
            return Decision(action, "nothing that it could take would be stopped", "no-engine")
        return Decision(Action.REFUSE, "what it would take can't be told", "no-engine")

    return replace(
        found,
        decision=worst(policy, found.who),
        columns=tuple((name, worst(*column)) for name, column in _columns(policy).items()),
    )


def _as_the_client_reads(call: shim.Call, loose: Command) -> Command:
    """The command in the meaning of the client on this machine."""
    client = RealClient(call.real, call.program, process.Streams(files_of(loose)))
    return parse(call.program, call.words, client.versions(loose))[0]


def _passes(found: Explained, why: str, rule: str) -> Explained:
    decision = Decision(Action.PASS, why, rule)
    return replace(
        found,
        at_once=why,
        decision=decision,
        columns=tuple((name, decision) for name in _CALLERS),
    )


def _harmless(command: Command) -> tuple[str, str]:
    """Why no row fits, as a sentence and as a rule's name."""
    if command.error:
        return f"its client would refuse it: {command.error}", "refused-by-client"
    if command.helps:
        return "it shows help or a version", "help"
    words = " ".join(command.path)
    if not command.path:
        return "no row: it is no command that could lose anything", "no-row"
    if any(form.path == command.path for form in forms.FORMS):
        return f"no row: `{words}` loses nothing with these options and operands", "no-row"
    return f"no row: `{words}` loses nothing", "no-row"


# in words


def read_as(command: Command) -> str:
    """The command with its options by their long names, as its client reads it."""
    said = [command.program, *(_option(*pair) for pair in command.globals)]
    path = command.path
    if path[:1] == ("compose",):
        said += ["compose"] if command.program == "docker" else []
        said += [_option(*pair) for pair in command.project]
        path = path[1:]
    said += [*path, *(_option(*pair) for pair in command.flags), *command.operands]
    return wording.clean(" ".join(said))


def _option(name: str, value: str) -> str:
    return f"--{name}" if value == "true" else f"--{name}={value}"


def tell(found: Explained) -> None:
    """All of it on stdout."""
    command = found.command
    terminal.say(f"read as: {read_as(command)}")
    for doubt in command.doubts:
        terminal.say(f"in doubt: {doubt}")
    if found.form is not None:
        terminal.say(f"row: {found.form.name}: {found.form.sentence} ({found.form.source})")
    if found.fault is not None:
        terminal.say(f"what it would delete can't be told: {found.fault.message}")
        if found.fault.hint:
            terminal.say(found.fault.hint)
        if found.decision is not None and found.decision.action is Action.PASS:
            terminal.say(f"decision: pass ({found.decision.because})")
        else:
            code = int(found.fault.exit_code)
            terminal.say(f"decision: none; it would end with exit code {code}")
    elif found.plan is None:
        terminal.say(f"{found.at_once}: it would run at once")
    else:
        _tell_plan(found, found.plan)
    terminal.say("nothing was run")


def _tell_plan(found: Explained, plan: Plan) -> None:
    terminal.show(plan, caller=found.who)
    decision = found.decision
    if decision is None:
        return
    for verdict in decision.verdicts:
        loss = verdict.loss
        told = f"{loss.kind.value} {wording.short(loss.name)}: {verdict.action.value}"
        terminal.say(f"{told}, {verdict.because}")
    for name, column in found.columns:
        terminal.say(f"{_TITLES[name]} {column.action.value} ({column.because})")
    terminal.say(f"decision: {decision.action.value} ({decision.because})")
    if decision.action is Action.REFUSE:
        terminal.say("\n".join(wording_refusal.ways_on(plan, decision, found.who)))


# for programs


def as_json(found: Explained) -> dict[str, object]:
    """The same by explain.schema.json."""
    command, form, fault = found.command, found.form, found.fault
    decision = found.decision
    return {
        "explain": VERSION,
        "command": {
            "line": wording.command_line(command),
            "read_as": read_as(command),
            "program": command.program,
            "path": list(command.path),
            "flags": _pairs(command.flags),
            "operands": list(command.operands),
            "globals": _pairs(command.globals),
            "project": _pairs(command.project),
            "doubts": list(command.doubts),
        },
        "form": form and {"name": form.name, "sentence": form.sentence, "source": form.source},
        "runs_at_once": found.at_once or None,
        "plan": found.plan
        and wording.judged_as_json(found.plan, decision.verdicts if decision else ()),
        "caller": {"kind": found.who.kind.value, "mark": found.who.mark},
        "decision": decision and _decision(decision),
        "decisions": {name: _decision(column) for name, column in found.columns} or None,
        "error": fault
        and {"message": fault.message, "hint": fault.hint, "exit_code": int(fault.exit_code)},
    }


def _pairs(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "action": decision.action.value,
        "rule": decision.rule,
        "because": decision.because,
    }
