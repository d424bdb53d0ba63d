"""safedocker policy: what is in force and where it stands; a file checked, trusted, tried out."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import safedocker
from safedocker import inforce
from safedocker.cli.opened import note
from safedocker.edge import process, terminal, wording
from safedocker.errors import BadPolicy, Refused, SafedockerError
from safedocker.policy import load, schema, trial
from safedocker.policy.layers import Layer, Policy, Setting, Stratum, Value
from safedocker.policy.options import (
    AGENTS,
    CHALLENGE,
    CI,
    KINDS,
    MODE,
    OPTIONS,
    Caller,
    CallerKind,
    Option,
)

VERSION = 1  # of the JSON
_CORPUS = Path(safedocker.__file__).with_name("corpus.json")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def _listed() -> str:
    """The table of options, for --help."""
    lines = ["\b", "What a file can say:"]
    for option in OPTIONS:
        lines.append(f"  {option.key}" + (f" ({option.variable})" if option.variable else ""))
        lines += textwrap.wrap(
            option.help.replace("`", ""), 72, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines)


@click.group(
    invoke_without_command=True,
    short_help="Show the policy in force, and its files.",
    epilog=_listed(),
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def policy(context: click.Context, as_json: bool) -> None:
    """Show each value in force here, with the file and the line that it stands on.

    Nearer files win: /etc/safedocker/policy.toml, then policy.toml of ~/.config/safedocker, then
    .safedocker.toml of each folder from the root to this one, then SAFEDOCKER_ variables. What the
    machine's file binds can only be tightened; so can everything by a project's file that is not
    trusted, and by the variables of an agent: HOME and XDG_CONFIG_HOME too, for what stands in the
    account's own ~/.config holds then. Under sudo the file of who typed it can tighten.
    """
    if context.invoked_subcommand is not None:
        return
    found, who = inforce.in_force(can_ask=terminal.Terminal().can_ask)
    if as_json:
        terminal.say(json.dumps(_as_json(found, who), indent=1))
    else:
        _show(found, who)


def _show(found: Policy, who: Caller) -> None:
    terminal.say(f"for you: {who.kind.value} ({who.mark})")
    for layer in found.heard:
        terminal.say(f"read: {layer.place}{_standing(layer, found.caller)}")
    if found.frozen:
        terminal.say(f"{found.frozen.told} ({found.frozen.source})")
    terminal.say("")
    rows = [(key, value, _from(place, bound)) for key, value, place, bound in _values(found)]
    terminal.table(("OPTION", "VALUE", "FROM"), rows)
    if any(one.key[0] in {"caller", "loss"} for layer in found.heard for one in layer.settings):
        terminal.say("")
        callers = [Policy(found.layers, kind) for kind in CallerKind]
        modes = [(kind.value, *(one.mode(kind).value.value for one in callers)) for kind in KINDS]
        terminal.table(("MODE", *(kind.value for kind in CallerKind)), modes)
    for told in _of_engines(found):
        terminal.say(told)
    for setting, why in _without_effect(found):
        told = f"{'.'.join(setting.key)} in {setting.origin.place}"
        terminal.say(f"not in force: {told}: {why}")


def _standing(layer: Layer, caller: CallerKind) -> str:
    loosens = layer.may_loosen(caller)
    if layer.stratum is Stratum.PROJECT:
        return ", trusted" if loosens else ", not trusted: it only tightens"
    if layer.stratum is Stratum.USER and not loosens:
        return f": {_why_not(layer)}"
    return ""


def _from(place: str, bound: bool) -> str:
    return f"{place}, binding" if bound else place


def _values(found: Policy) -> Iterator[tuple[str, str, str, bool]]:
    for option in OPTIONS:
        at = _in_force(found, option)
        yield option.key, option.type.show(at.value), at.place, at.bound


def _in_force(found: Policy, option: Option[Any]) -> Value[Any]:
    if option is MODE:
        return found.mode()
    if option in {AGENTS, CI}:
        return found.marks(CallerKind.AGENT if option is AGENTS else CallerKind.CI)
    return found.of(option)


def _of_engines(found: Policy) -> Iterator[str]:
    for layer in found.heard:
        for one in layer.settings:
            if one.key[0] in {"context", "host"}:
                option: Option[Any] = MODE if one.key[2] == "mode" else CHALLENGE
                shown = option.type.show(one.value)
                yield f"{one.key[0]} {one.key[1]}: {one.key[2]} = {shown} ({one.origin.place})"


def _without_effect(found: Policy) -> Iterator[tuple[Setting, str]]:
    """What a layer says that is not in force because it may not loosen."""
    layers = found.heard
    for number, layer in enumerate(layers):
        before = Policy(layers[:number], found.caller)
        after = Policy(layers[: number + 1], found.caller)
        for one in layer.settings:
            option = next((o for o in OPTIONS if _key(o) == one.key), None)
            if option is None or option.joined:
                continue
            at = _in_force(after, option)
            if option is MODE:
                ignored = at.value is not one.value and at.depth <= number
            else:
                ignored = at.value != one.value
            if ignored:
                bound = _in_force(before, option).bound
                yield one, "what is binding is only tightened" if bound else _why_not(layer)


def _why_not(layer: Layer) -> str:
    """Why a layer does not loosen."""
    if layer.stratum is Stratum.PROJECT:
        return f"the file is not trusted: safedocker policy trust {layer.place}"
    if layer.stratum is Stratum.ENVIRONMENT:
        return "an agent's variables only tighten"
    if not layer.loosens:
        return "under sudo the file of who typed it only tightens"
    return "a variable names it, and an agent's only tighten"


def _key(option: Option[Any]) -> tuple[str, ...]:
    return tuple(option.key.split("."))


def _as_json(found: Policy, who: Caller) -> dict[str, object]:
    return {
        "policy": VERSION,
        "caller": {"kind": who.kind.value, "mark": who.mark},
        "files": [
            {
                "file": one.place,
                "layer": one.stratum.value,
                "loosens": one.may_loosen(found.caller),
            }
            for one in found.heard
        ],
        "frozen": found.frozen
        and {
            "until": found.frozen.until.isoformat(),
            "why": found.frozen.why,
            "by": found.frozen.by,
            "file": found.frozen.source,
        },
        "options": [
            {"key": key, "value": value, "from": place, "binding": bound}
            for key, value, place, bound in _values(found)
        ],
        "modes": {
            kind.value: {
                name: {"mode": at.value.value, "from": at.place, "binding": at.bound}
                for loss, name in KINDS.items()
                for at in (Policy(found.layers, kind).mode(loss),)
            }
            for kind in CallerKind
        },
        "engines": [
            {"key": list(one.key), "value": one.value.value, "from": one.origin.place}
            for layer in found.heard
            for one in layer.settings
            if one.key[0] in {"context", "host"}
        ],
    }


@policy.command(short_help="Check a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--system", is_flag=True, help="As the machine's file, which may bind.")
def check(file: Path, system: bool) -> None:
    """Check a file without putting it into force. Ends with 78, and the line, where it does not.

    A file below /etc/safedocker is checked as the machine's.
    """
    machine = system or load.SYSTEM in file.absolute().parents
    layer = load.read_file(file, Stratum.SYSTEM if machine else Stratum.USER)
    told = wording.count(len(layer.settings), "value")
    terminal.say(f"{file} checks: {told}")


@policy.command(name="schema", short_help="Print the JSON Schema of a file.")
def schema_() -> None:
    """Print the JSON Schema of a file, for editors."""
    terminal.say(json.dumps(schema.schema(), indent=1))


@policy.command(short_help="Let a project's file loosen.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--off", is_flag=True, help="Take it back.")
def trust(file: Path | None, off: bool) -> None:
    """Let a project's .safedocker.toml loosen, as it is now: the nearest one, or FILE.

    Shows it, and wants a person to say so. Once the file changes it only tightens, until it is
    trusted again.
    """
    places = inforce.places()
    found = Path(os.path.abspath(file)) if file else _nearest(places)
    screen = terminal.Terminal()
    who = inforce.caller(can_ask=screen.can_ask)
    if off:
        if load.write_trust(places, found, None):
            note((), "policy-trust", who, f"no longer trusted: {found}")
            terminal.say(f"{found} only tightens from now on")
            return
        raise SafedockerError(f"{found} was not trusted")
    if found.name != load.PROJECT_FILE:
        raise SafedockerError(f"{found} is no project's file: those are named {load.PROJECT_FILE}")
    layer = load.read_file(found, Stratum.PROJECT)
    text = layer.text
    if _CONTROL.search(text):
        raise BadPolicy(f"{found} holds characters that a terminal does not show", "take them out")
    terminal.say(f"{found}:\n\n{text.rstrip()}\n")
    if not who.can_be_asked:
        note((), "policy-trust", who, f"refused: {found}")
        raise Refused(
            f"refused: nobody can be asked ({who.kind.value}: {who.mark}). Nothing was trusted",
            "a person does that, at a terminal",
        )
    if not screen.confirm("trust", f"let {found} loosen, as it stands above,"):
        raise Refused("cancelled: nothing was trusted")
    load.write_trust(places, found, load.digest(text))
    note((), "policy-trust", who, f"trusted: {found}")
    terminal.say(f"{found} is trusted as it is")


def _nearest(places: load.Places) -> Path:
    found = [file for file in load.project_files(places.start) if file.is_file()]
    if not found:
        where = process.working_directory()
        raise SafedockerError(f"there is no {load.PROJECT_FILE} in {where} or above")
    return found[-1]


@policy.command(short_help="Try a file out: which verdicts it changes.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--system", is_flag=True, help="In the place of the machine's file.")
@click.option("--project", is_flag=True, help="In the place of a project's file that is trusted.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def test(file: Path, system: bool, project: bool, as_json: bool) -> None:
    """Show which verdicts would be others with FILE in the place of your own file.

    The commands are those of safedocker's own corpus: what each would take was recorded on real
    engines, its names are the corpus's. What your file says of names of your own shows in
    `safedocker explain`.
    """
    if system and project:
        raise click.UsageError("--system or --project, not both")
    stratum = Stratum.SYSTEM if system else Stratum.PROJECT if project else Stratum.USER
    new = load.read_file(file, stratum)
    here = load.layers(os.environ, inforce.places())
    order = list(Stratum)
    kept = [one for one in here if one.stratum is not stratum]
    at = sum(order.index(one.stratum) < order.index(stratum) for one in kept)
    tried = (*kept[:at], new, *kept[at:])
    corpus = tuple(trial.cases(json.loads(_CORPUS.read_text(encoding="utf-8"))))
    before, after = (
        [Policy(tuple(layers), who.kind) for who in trial.CALLERS] for layers in (here, tried)
    )
    changed = list(trial.changes(corpus, before, after))
    if as_json:
        terminal.say(json.dumps([_change(one) for one in changed], indent=1))
        return
    if changed:
        head = ("COMMAND", "STATE", "CALLER", "NOW", "WITH IT", "BECAUSE")
        terminal.table(head, [tuple(map(str, _change(one).values())) for one in changed])
        terminal.say("")
    every = len(corpus) * len(trial.CALLERS)
    terminal.say(f"{wording.count(len(changed), 'verdict')} of {every} would be another")


def _change(one: trial.Change) -> dict[str, str]:
    return {
        "command": one.case.line,
        "state": one.case.state,
        "caller": one.who.kind.value,
        "now": one.before.action.value,
        "with_it": one.after.action.value,
        "because": one.after.because,
    }
