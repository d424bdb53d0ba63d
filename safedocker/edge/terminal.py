"""The terminal: the preview, the question, progress, faults. The only file that prints, and the
only importer of rich, which comes in where it is used.

The words are wording.py's. What is done about an answer is not decided here.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from safedocker.edge import question, wording, wording_backup, wording_people, wording_refusal
from safedocker.edge.progress import Bar
from safedocker.edge.question import Chosen
from safedocker.edge.wording import clean
from safedocker.errors import SafedockerError
from safedocker.loss.facts import Bytes, Holds
from safedocker.loss.plan import Kind
from safedocker.policy.options import Answer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from safedocker.backup.manifest import Backup
    from safedocker.backup.store import Abandoned
    from safedocker.backup.take import Progress
    from safedocker.backup.ways import Offer
    from safedocker.loss.plan import Plan
    from safedocker.policy.decide import Decision
    from safedocker.policy.options import Caller

_INDENT = 2
_GAP = 2  # between columns
_LAST_COLUMN = 20  # what the last one wants at least, to be broken into lines
_WORD = 8  # columns of a title's longest word, such as CONTENT
_ENDLESS = 10_000  # columns of a pipe
_DIM = ("dim",) * 5
_NAMED = ("bold", "", "", "", "")
_ON_ENGINE = "let that engine lose it"


class Terminal:
    """The person's terminal, if there is one: plans and notes on stderr, questions on /dev/tty."""

    def __init__(self) -> None:
        self.can_ask = _is_terminal(sys.stderr) and _has_controlling_terminal()

    def preview(
        self, plan: Plan, *, caller: Caller | None = None, now: datetime.datetime | None = None
    ) -> None:
        """Show what the command would take, on stderr. `now` is UTC."""
        with _drawing(sys.stderr) as console:
            _draw(console, plan, now or datetime.datetime.now(datetime.UTC), caller)

    def ask(
        self,
        plan: Plan,
        decision: Decision,
        *,
        caller: Caller | None = None,
        offers: Sequence[Offer] = (),
        batch: Sequence[Answer] = (),
        challenge: str = "",
    ) -> Chosen:
        """Show the plan, put the question, return the answer. Ctrl-D, and no answer, cancel.

        `offers` are the ways of a backup, the one that Enter takes first;
        `batch` are the answers that may be given for all that the caller's parent starts as well,
        `challenge` what is typed to let that go without a backup.
        Only where `can_ask`. Raise KeyboardInterrupt for Ctrl-C, and what a signal's handler
        raises; the terminal's modes are then what they were.
        """
        self.preview(plan, caller=caller)
        choices, first = _choices(plan, decision, offers, wording.batches(caller, batch))
        with question.controlling_terminal() as line:
            try:
                chosen = question.choose(line, choices, first)
                answer, for_all = chosen
                if answer is Answer.CANCEL:
                    return chosen
                if decision.confirm and not question.typed(line, decision.confirm, _ON_ENGINE):
                    return Chosen(Answer.CANCEL)
                gives_up = answer is Answer.WITHOUT and not _only_paths(decision)
                if answer in {Answer.BACK_UP, Answer.OTHERWISE} and decision.unprotected:
                    gives_up = True  # the rest goes without one
                challenge = challenge if for_all else decision.challenge
                if gives_up and not question.typed(line, challenge):
                    return Chosen(Answer.CANCEL)
            except EOFError:
                return Chosen(Answer.CANCEL)
        return chosen

    def confirm(self, challenge: str, what: str) -> bool:
        """Has the person typed the challenge, to do what is said? Only where `can_ask`."""
        with question.controlling_terminal() as line, contextlib.suppress(EOFError):
            return question.typed(line, challenge, what)
        return False

    def refusal(self, plan: Plan, decision: Decision, who: Caller) -> None:
        """Tell of a refusal. A person reads the last line first, a log's reader the first."""
        if who.can_be_asked:
            self.preview(plan, caller=who)
        _tell_line(clean(wording_refusal.told(decision)), "bold red")
        if not who.can_be_asked:
            self.preview(plan, caller=who)
        for way in wording_refusal.ways_on(plan, decision, who):
            print(f"  {way}", file=sys.stderr)

    def passed(self, plan: Plan, decision: Decision) -> None:
        """Say in one line what goes because a policy lets it; and, only at a terminal, what a
        command leaves behind."""
        if decision.rule == "mode-allow":
            self.note(f"{wording.headline(plan)}: allowed by {decision.because}")
        if self.can_ask and (told := wording.hint(plan)):
            self.note(told)

    @contextlib.contextmanager
    def progress(self, *, shown: bool = True) -> Iterator[Progress]:
        """Give what a backup reports to; a bar shows on a terminal, after PATIENCE seconds."""
        if not shown or not _is_terminal(sys.stderr):
            yield lambda _stage, _volume, _done, _total: None
            return
        bar = Bar(_console(sys.stderr))
        try:
            yield bar.report
        finally:
            bar.close()

    def backed_up(self, backup: Backup) -> None:
        """Say what was kept, and how it is undone. What is to be moved is told when it is."""
        copied = [part for part in backup.parts if part.aside is None]
        if not copied:
            return
        held = wording_backup.counted(copied)
        at = backup.verified_at.astimezone()
        self.note(
            f"backed up {held}, {Bytes(backup.copied_bytes)}, verified at {at:%H:%M:%S}; "
            f"to undo: {wording.own_command()} undo {backup.id}"
        )
        for line in wording_backup.beside(backup):
            self.note(line)

    def moved(self, backup: Backup) -> None:
        """Say what stands aside on the engine now, and how it is undone."""
        self.note(
            f"{wording_backup.moved(backup)}; to undo: {wording.own_command()} undo {backup.id}"
        )

    def interrupted_backup(self, found: Abandoned, notes: Sequence[str]) -> None:
        """Tell of an earlier run that was killed, what it may have left, and what was put right."""
        for line in wording_backup.abandoned(found, notes):
            self.note(line)

    def note(self, text: str) -> None:
        """Say one thing on stderr, unless notes are withheld."""
        if _withheld is None:
            _tell_line(clean(text), "")
        else:
            _withheld.append(clean(text))


def tell(fault: SafedockerError) -> None:
    """Say on stderr what went wrong, and how to go on."""
    _tell_line(clean(fault.message), "bold red")
    for line in fault.hint.splitlines():
        print(f"  {clean(line)}", file=sys.stderr)


_withheld: list[str] | None = None  # notes for the object, or for when there is none


def tell_json(told: Mapping[str, object]) -> None:
    """Say it on stderr as one JSON object, on one line, with the notes that were withheld."""
    print(json.dumps({**told, "notes": _withheld or []}, ensure_ascii=True), file=sys.stderr)


def withhold_notes() -> None:
    """From here on stderr may have to hold one object alone: a note waits for what comes."""
    global _withheld
    _withheld = _withheld or []


def give_out_notes() -> None:
    """The command runs: say what was withheld."""
    global _withheld
    withheld, _withheld = _withheld, None
    for text in withheld or ():
        _tell_line(text, "")


def say(text: str) -> None:
    """Print a line of safedocker's own commands, on stdout."""
    print(clean(text, keep="\n"))


def show(plan: Plan, *, caller: Caller | None = None) -> None:
    """The preview, on stdout."""
    with _drawing(sys.stdout) as console:
        _draw(console, plan, datetime.datetime.now(datetime.UTC), caller)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns on stdout; nothing is cut: what does not fit goes on in the next line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in head:
        least = min(len(title), _WORD)  # a title's words are not broken
        drawn.add_column(title, overflow="fold", no_wrap=title == head[0], min_width=least)
    for row in rows:
        drawn.add_row(*(Text(clean(cell)) for cell in row))
    with _drawing(sys.stdout, folded=False) as console:
        console.print(drawn)


def details(facts: Iterable[tuple[str, str]]) -> None:
    """Print labels and what there is to say to each, on stdout."""
    pairs = list(facts)
    wide = max(len(label) for label, _told in pairs)
    with _drawing(sys.stdout, folded=False) as console:
        _block(console, [(label.ljust(wide), clean(told)) for label, told in pairs])


def text(plan: Plan, *, width: int, now: datetime.datetime, caller: Caller | None = None) -> str:
    """The preview as plain text."""
    stream = io.StringIO()
    with _drawing(stream, width=width) as console:
        _draw(console, plan, now, caller)
    return stream.getvalue()


# the preview


def _draw(
    console: Console, plan: Plan, now: datetime.datetime, caller: Caller | None = None
) -> None:
    """Print the command and its engine, what goes, what stays, what is not known, what is safer."""
    from rich.text import Text

    console.print()
    _block(console, [("safedocker:", Text(wording.command_line(plan.command), style="bold"))])
    _block(console, wording.head(plan, caller), indent=2)
    console.print()
    console.print(Text(wording.headline(plan), style=_weight(plan)))
    groups = wording.by_project(plan)
    shown = wording.listed(plan)
    titles = wording.titles(shown)
    rows = {(loss.kind, loss.name): wording.cells(loss, now) for loss in shown}
    widths = _widths(titles, list(rows.values()), console.width)
    if widths and shown:
        console.print(_row(titles, widths, *_DIM))
    for project, losses in groups.items():
        if len(groups) > 1:
            of = f"project {clean(project)}" if project else "no project"
            of += clean(wording_people.of(losses))
            console.print(Text(f"  {of}: {wording.summary(losses)}", style="bold"))
        for loss in losses:
            row = rows[loss.kind, loss.name]
            if widths:
                console.print(_row(row, widths, *_NAMED))
            else:
                _stacked(console, row)
    console.print()
    _block(console, wording.tail(plan))


def _widths(titles: wording.Cells, rows: list[wording.Cells], width: int) -> tuple[int, ...]:
    """The columns' widths, or () where a terminal of that width can't hold them side by side.

    The last column may go on in the next line, the others not.
    """
    from rich.cells import cell_len

    columns = zip(titles, *rows, strict=True)
    *fixed, last = (max(map(cell_len, column)) for column in columns)
    left = width - _INDENT - sum(fixed) - _GAP * len(fixed)
    return (*fixed, min(last, left)) if left >= min(last, _LAST_COLUMN) else ()


def _row(cells: wording.Cells, widths: tuple[int, ...], *styles: str) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    texts = (Text(cell, style=style) for cell, style in zip(cells, styles, strict=True))
    grid.add_row(*texts)
    return Padding(grid, (0, 0, 0, _INDENT))


def _stacked(console: Console, cells: wording.Cells) -> None:
    """The same row on a narrow terminal: the name, and below it what there is to say."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(cells.name, style="bold", overflow="fold"), (0, 0, 0, 2)))
    console.print(Padding(Text(wording.sentence(cells), overflow="fold"), (0, 0, 0, 4)))


def _weight(plan: Plan) -> str:
    holds = any(loss.holds in {Holds.DATA, Holds.UNKNOWN} for loss in wording.listed(plan))
    return "bold red" if holds else "bold"


_STYLES = {
    "engine:": "bold yellow",
    "not known:": "bold yellow",
    "not yours:": "bold red",
    "in doubt:": "bold red",
    "safer:": "green",
}


def _block(console: Console, lines: Sequence[tuple[str, RenderableType]], indent: int = 0) -> None:
    """Print words with a label before each; what is too long goes on under its beginning."""
    from rich.table import Table
    from rich.text import Text

    for label, words in lines:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        told = Text(words, overflow="fold") if isinstance(words, str) else words
        grid.add_row(Text(" " * indent + label, style=_STYLES.get(label, "")), told)
        console.print(grid)


def _console(stream: TextIO, width: int | None = None) -> Console:
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR")) or not _is_terminal(stream)
    return Console(
        file=stream,
        width=width,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


@contextlib.contextmanager
def _drawing(stream: TextIO, *, width: int | None = None, folded: bool = True) -> Iterator[Console]:
    """Draw, then print it without the blanks at the ends of lines. Where it is not to be `folded`,
    and goes into a file or a pipe, the lines are as long as they get."""
    console = _console(stream, width if folded or _is_terminal(stream) else _ENDLESS)
    with console.capture() as captured:
        yield console
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    stream.flush()


def _tell_line(told: str, style: str) -> None:
    name = "safedocker:"
    if style and _is_terminal(sys.stderr) and not os.environ.get("NO_COLOR"):
        name = f"\033[1;31m{name}\033[0m"
    print(name, told, file=sys.stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _has_controlling_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _only_paths(decision: Decision) -> bool:
    """Is nothing in question but host paths that Docker would make? Then nothing is deleted."""
    asked = decision.unprotected
    return (
        bool(asked)
        and not decision.protected
        and all(loss.kind is Kind.BIND_SOURCE for loss in asked)
    )


def _choices(
    plan: Plan, decision: Decision, offers: Sequence[Offer], batches: Mapping[Answer, str]
) -> tuple[list[tuple[str, Chosen]], Answer]:
    """The choices in words, and the one that Enter takes. With gaps there is nothing that a backup
    would be sure to hold.

    `batches` are further choices: the answers that may be given for a whole batch.
    """
    paths = _only_paths(decision) and not plan.gaps
    on = "Go on, Docker makes the path" if paths else "Go on without a backup"
    if paths and not all(loss.certain for loss in decision.unprotected):
        on += " if it is not there"
    choices = [(on, Chosen(Answer.WITHOUT)), ("Cancel", Chosen(Answer.CANCEL))]
    otherwise: list[tuple[str, Chosen]] = []
    first = Answer.CANCEL
    if paths and plan.engine is not None and plan.engine.host.startswith("unix:"):
        choices.insert(0, (wording.offer_to_make(plan), Chosen(Answer.MAKE)))
    if plan.gaps:
        print("A backup can't protect what is not known, so none is offered.", file=sys.stderr)
    elif decision.protected:
        first = Answer.BACK_UP if not decision.unprotected else Answer.CANCEL
        from safedocker.backup.ways import ANY

        told, *others = (
            wording_backup.offer(offer, whole=not decision.unprotected)
            for offer in (offers or (ANY,))
        )
        choices.insert(0, (told, Chosen(Answer.BACK_UP)))
        otherwise = [(other, Chosen(Answer.OTHERWISE)) for other in others[:1]]
    elif not paths:
        print("No backup can hold what would go, so none is offered.", file=sys.stderr)
    choices += [(told, Chosen(one, True)) for one, told in batches.items()]
    return choices + otherwise, first
