"""What stays behind when a command runs whose volumes were moved aside. Nobody types this one."""

from __future__ import annotations

import time

import click

from safedocker.cli.opened import engine_of, open_store
from safedocker.edge import stamp
from safedocker.handover import AFTER

_OFTEN, _SELDOM = 0.02, 0.5  # seconds between two looks, at first and for a command that takes long


@click.command(AFTER, hidden=True)
@click.argument("id_", metavar="ID")
@click.argument("process")
def after_the_command(id_: str, process: str) -> None:
    """Wait until the command has ended; what it did not remove gets back what was moved aside."""
    from safedocker.backup import recover

    pause = _OFTEN
    while stamp.lives(process):
        time.sleep(pause)
        pause = min(pause * 1.2, _SELDOM)
    store = open_store()
    backup = store.get(id_)
    with engine_of(backup, {}, any_engine=False) as engine:
        if engine is not None:
            recover.after_the_command(backup, engine, store, recover.TASKS_END)
