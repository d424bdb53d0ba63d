"""What `safedocker doctor` looks at: the real clients, the engine, the person's shells, the shims,
the policy, the store, and what killed runs left. Nothing is changed, unless --repair says so."""

from __future__ import annotations

import json

import click

from safedocker import handover, inforce
from safedocker.doctor import clients, keeping, shells, shims
from safedocker.doctor.report import Finding, Report, lines, told
from safedocker.edge import terminal
from safedocker.errors import BadPolicy, ExitCode


@click.command(short_help="Look for what is not well: shells, shims, versions, store.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--quick", is_flag=True, help="Do not read the help of every command.")
@click.option("--repair", is_flag=True, help="Clear away what killed runs left, first.")
def doctor(as_json: bool, quick: bool, repair: bool) -> int:
    """Look for what is not well, and say how to repair it.

    Which docker each of your shells runs, and sudo; the shims; the real clients and the engine,
    faults that their versions are known for, commands and options that safedocker does not know;
    the policy's files; the store and the audit; what killed runs left. Ends with 1 if something was
    found.
    """
    report = examine(quick=quick, repair=repair)
    if as_json:
        terminal.say(json.dumps(told(report), indent=1))
    else:
        terminal.say("\n".join(lines(report)))
    return int(ExitCode.ERROR) if report.findings else 0


def examine(*, quick: bool = False, repair: bool = False) -> Report:
    """Ask everything, or what is quick. Faults are findings; nothing is raised for them."""
    report = Report()
    clients.examine(report, quick=quick)
    shells.examine(report)
    shims.examine(report)
    _policy(report)
    engine = clients.open_engine(report)
    try:
        store = keeping.find_store(report)
        if store is not None:
            if repair:
                handover.put_right(store, engine, terminal.Terminal())
            keeping.examine(report, store, engine)
    finally:
        if engine is not None:
            engine.close()
    return report


def _policy(report: Report) -> None:
    """A file of the policy that does not check: until it does, what could lose data is refused."""
    try:
        inforce.in_force(can_ask=False)
    except BadPolicy as fault:
        report.findings.append(Finding("policy", "policy", fault.message, fault.hint))
