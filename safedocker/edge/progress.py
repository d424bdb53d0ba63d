"""The bar that shows how far a backup is. Imports rich where it is used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from safedocker.edge import wording
from safedocker.loss.facts import Bytes

if TYPE_CHECKING:
    from rich.console import Console

    from safedocker.backup.take import Stage

PATIENCE = 1.0  # seconds of work before a progress bar shows
_REDRAW = 0.1  # seconds


class Bar:
    """A bar that shows itself after PATIENCE seconds. `report` is a Progress."""

    def __init__(self, console: Console) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.SpinnerColumn("line"),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=20),
            progress.TextColumn("{task.fields[amount]}", markup=False),
            progress.TimeElapsedColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("backup", total=None, amount="")
        self._at: tuple[Stage | None, str] = (None, "")
        self._closed = threading.Event()
        self._drawer = threading.Thread(target=self._draw, daemon=True)
        self._drawer.start()

    def report(self, stage: Stage, volume: str, done: int, total: int | None) -> None:
        """Take in where the backup is. The stream has headers too: `done` may pass `total`."""
        if self._at != (stage, volume):
            self._at = (stage, volume)
            self._bar.reset(self._task, total=None)
        amount = Bytes(done) if done else ""
        self._bar.update(
            self._task,
            description=f"{stage.value} {wording.short(volume)}",
            completed=min(done, total) if total else done,
            total=total or None,
            amount=f"{amount} of {Bytes(total)}" if amount and total and done < total else amount,
        )

    def close(self) -> None:
        """Take the bar away. No thread is left: exec follows."""
        self._closed.set()
        self._drawer.join()

    def _draw(self) -> None:
        if self._closed.wait(PATIENCE):
            return
        with self._bar:
            while not self._closed.wait(_REDRAW):
                self._bar.refresh()
