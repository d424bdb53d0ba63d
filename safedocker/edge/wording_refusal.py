"""How a refusal is told: what was refused and why, and the ways on, each to whom it concerns."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from safedocker.edge import wording, wording_people
from safedocker.edge.wording import clean, command_line, short
from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.decide import Decision
from safedocker.policy.options import Caller, CallerKind

_SHOWN = 5  # losses named in one sentence

# By its form: what likely does what was wanted, and loses nothing.
_SAFER = {
    "volume-prune": "docker volume ls --filter dangling=true",
    "system-prune": "docker system df -v",
    "container-prune": "docker container ls --all --size",
}
_WITHOUT_VOLUMES = {"volumes", "renew-anon-volumes"}


def told(decision: Decision) -> str:
    """The first line: the reason's code, and the reason."""
    return f"refused ({decision.rule}): {decision.because}. Nothing was removed"


def ways_on(plan: Plan, decision: Decision, who: Caller) -> tuple[str, ...]:
    """What to do instead, each a sentence."""
    if who.kind is CallerKind.AGENT:
        return _for_an_agent(plan, decision)
    rule = decision.rule
    unprotected = decision.unprotected
    ways = []
    if plan.safer and rule != "not-yours":
        ways.append(f"to keep the volumes: {clean(plan.safer)}")
    made = [loss for loss in unprotected if loss.kind is Kind.BIND_SOURCE]
    ways += _to_make(made, plan)
    if plan.gaps:
        ways.append("no backup can protect what is not known, so none was taken")
    elif unprotected and rule == "nobody-to-ask" and len(made) < len(unprotected):
        ways.append("no backup can hold " + ", ".join(_named(loss) for loss in unprotected))
    elif rule == "nobody-to-ask" and not made:
        line = command_line(plan.command)
        ways.append(f"to back up first and go on: SAFEDOCKER_MODE=backup {line}")
        if who.kind is CallerKind.CI:
            ways += _to_declare(plan)
    match rule:
        case "nobody-to-ask":
            ways.append("to be asked: have a person type it at a terminal")
        case "unknown-loss" | "not-protectable":
            ways.append(
                "to be asked: have a person type it at a terminal, with SAFEDOCKER_MODE=ask"
            )
        case "mode-deny":
            ways.append("to go on all the same: whoever set mode deny has to lift it")
        case "protected":
            ways.append("to let it go: take it off that list first")
        case "not-yours":
            ways.append(_who_may(plan))
        case "frozen":
            ways.append("to end it sooner: a person types `safedocker unfreeze`")
        case "type-the-engine":
            ways.append("a person types the engine's name, at a terminal")
        case "engine-disagrees":
            ways.append("look first: docker ps -a --no-trunc, and the engine's log")
        case _:
            pass
    return tuple(ways)


def _who_may(plan: Plan) -> str:
    return clean(wording_people.ways_on(plan.losses))


def _to_make(made: Sequence[Loss], plan: Plan) -> list[str]:
    if any(not loss.certain for loss in made):
        line = command_line(plan.command)
        return [f"to have it looked for there first: SAFEDOCKER_BIND_REMOTE=look {line}"]
    here = plan.engine is None or plan.engine.host.startswith("unix:")
    where = "" if here else ", on the engine's host"
    ways = []
    for program, found in (
        ("mkdir -p", [loss.name for loss in made if not loss.file]),
        ("touch", [loss.name for loss in made if loss.file]),
    ):
        if found:
            line = clean(shlex.join(found))
            ways.append(f"to make the path yourself first{where}: {program} {line}")
    return ways


def _to_declare(plan: Plan) -> list[str]:
    """How CI's own volumes are declared disposable: by the project where they have one."""
    project = plan.project or next((loss.project for loss in plan.losses if loss.project), None)
    if project:
        return [f"to let it go always: [disposable] projects = [{_quoted(project)}] in a policy"]
    names = [loss.name for loss in plan.volumes][:_SHOWN]
    if not names:
        return []
    listed = ", ".join(map(_quoted, names))
    return [f"to let it go always: [disposable] volumes = [{listed}] in a policy"]


def _quoted(name: str) -> str:
    return f'"{clean(name)}"'


def safer(plan: Plan) -> str:
    """A command that likely does what was wanted and loses no volume; "" where none is known."""
    if plan.safer:
        return plan.safer
    command = plan.command
    if any(name in _WITHOUT_VOLUMES and value == "true" for name, value in command.flags):
        kept = []
        for name, value in command.flags:
            if name not in _WITHOUT_VOLUMES and value == "true":
                kept.append(f"--{name}")
            elif name not in _WITHOUT_VOLUMES and value != "false":
                kept += [f"--{name}", value]
        line = (command.program, *command.prefix, *command.path[-1:], *kept, *command.operands)
        return shlex.join(line)
    return _SAFER.get(plan.form.name, "")


def _for_an_agent(plan: Plan, decision: Decision) -> tuple[str, ...]:
    """What an agent can do: a safer command, and the question it may put to the person."""
    if decision.rule == "not-yours":
        return "leave it alone, and say whose it is", _who_may(plan)
    ways = []
    if instead := safer(plan):
        ways.append(f"run instead, which keeps the volumes: {clean(instead)}")
    elif plan.form.name == "volume-rm" and plan.volumes:
        name = plan.volumes[0].name
        ways.append(
            "to start afresh and keep it: use a volume of another name, or set this one aside: "
            f"safedocker rename {shlex.quote(clean(name))} {shlex.quote(clean(name) + '-old')}"
        )
    paths = [loss for loss in decision.unprotected if loss.kind is Kind.BIND_SOURCE]
    if all(loss.certain for loss in paths):
        ways += _to_make(paths, plan)
    ways += [
        f"ask the person: {question(plan)}",
        "only a person at a terminal can say yes; SAFEDOCKER variables change nothing for an agent",
    ]
    return tuple(ways)


def question(plan: Plan) -> str:
    """What to put to the person, in words that stand for themselves."""
    line = command_line(plan.command)
    lost = [loss for loss in plan.losses if loss.holds is not Holds.EMPTY]
    named = [_described(loss) for loss in lost[:_SHOWN]]
    if len(lost) > _SHOWN:
        named.append(f"{len(lost) - _SHOWN} more")
    if not named:
        return f'"May I run `{line}`? What it would delete could not be found out."'
    made = all(loss.kind is Kind.BIND_SOURCE for loss in lost)
    does = "make, empty" if made else "delete"
    return f'"May I run `{line}`? It would {does}: {"; ".join(named)}. Please type it yourself."'


def _described(loss: Loss) -> str:
    told = [loss.content] if loss.content not in {"", "files"} else []
    if loss.size is not None:
        told.append(str(Bytes(loss.size)))
    elif loss.holds is Holds.UNKNOWN and loss.kind.is_volume:
        told.append("what it holds is unknown")
    if loss.used_by:
        told.append("used by " + ", ".join(loss.used_by[:_SHOWN]))
    return clean(_named(loss) + (f" ({', '.join(told)})" if told else ""))


def _named(loss: Loss) -> str:
    return f"the {loss.kind.value} {short(loss.name)}"


def as_json(plan: Plan, decision: Decision, who: Caller) -> dict[str, object]:
    """What refusal.schema.json has below `refusal`."""
    agent = who.kind is CallerKind.AGENT
    return {
        "rule": decision.rule,
        "because": decision.because,
        "command": [
            *(plan.command.program, *plan.command.prefix),
            *(*plan.command.path[-1:], *plan.command.rest),
        ],
        "form": plan.form.name,
        "caller": {"kind": who.kind.value, "mark": who.mark},
        "plan": wording.judged_as_json(plan, decision.verdicts),
        "safer": safer(plan) or None,
        "ask": question(plan) if agent else None,
    }
