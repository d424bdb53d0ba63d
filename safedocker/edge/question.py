"""The question on the controlling terminal: the choices, and what is typed. The only importer of
questionary and prompt_toolkit, which come in where they are used.

What is asked, and what is done about the answer, is not decided here.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import termios
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from safedocker.edge import wording
from safedocker.edge.wording import clean
from safedocker.policy.options import Answer

if TYPE_CHECKING:
    from questionary import Question

TRIES = 3  # how often a person may mistype


class Chosen(NamedTuple):
    """What the person chose, for this command or for all that its parent starts."""

    answer: Answer
    for_all: bool = False


@contextlib.contextmanager
def controlling_terminal() -> Iterator[TextIO]:
    """Open it, forget what was typed before the question, and leave its modes as they were."""
    # macOS can't wait for input on /dev/tty itself, so there its device is opened by name.
    path = os.ttyname(sys.stderr.fileno()) if sys.platform == "darwin" else "/dev/tty"
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "r+b", buffering=0) as device:
        line = io.TextIOWrapper(device, encoding="utf-8", errors="replace", write_through=True)
        modes = termios.tcgetattr(descriptor)
        termios.tcflush(descriptor, termios.TCIFLUSH)
        try:
            yield line
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
            line.detach()


def choose(line: TextIO, choices: Sequence[tuple[str, Chosen]], first: Answer) -> Chosen:
    """Let the person pick one of what is told in words; Enter alone takes the first answer of that
    kind. Raise EOFError for Ctrl-D."""
    import questionary
    from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

    shown = [questionary.Choice(told, chosen) for told, chosen in choices]
    question = questionary.select(
        "What now?",
        choices=shown,
        default=next(choice for choice in shown if choice.value == Chosen(first)),
        qmark=">",
        instruction="(arrows or number, then Enter)",
        use_shortcuts=True,
        **_streams(line),
    )
    ends = KeyBindings()

    @ends.add("c-d", eager=True)
    def _end(event: Any) -> None:
        event.app.exit(exception=EOFError, style="class:aborting")

    application = question.application
    application.key_bindings = merge_key_bindings([application.key_bindings or ends, ends])
    chosen = _run(question)
    return chosen if isinstance(chosen, Chosen) else Chosen(Answer.CANCEL)


def typed(line: TextIO, challenge: str, what: str = "delete without a backup") -> bool:
    """Has the person typed the challenge? Enter alone, or TRIES wrong ones, is a no."""
    import questionary

    shown = wording.to_type(challenge)
    told = f"To {what} type {clean(shown)} (Enter alone cancels):"
    for _ in range(TRIES):
        typed = _run(questionary.text(told, qmark=">", **_streams(line))).strip()
        if not typed:
            return False
        if typed in {shown, challenge}:
            return True
        told = f"That is not {clean(shown)}. Type {clean(shown)} (Enter alone cancels):"
    return False


def _streams(line: TextIO) -> dict[str, Any]:
    """Input and output of a question. No cursor position is asked for: an answer that comes late
    would be read by the real docker."""
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.input.vt100 import Vt100Input
    from prompt_toolkit.output.color_depth import ColorDepth
    from prompt_toolkit.output.vt100 import Vt100_Output

    def measure() -> Size:
        columns, rows = os.get_terminal_size(line.fileno())
        return Size(rows=rows or 24, columns=columns or 80)

    output = Vt100_Output(
        line,
        measure,
        term=os.environ.get("TERM"),
        default_color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
        enable_cpr=False,
    )
    return {"input": Vt100Input(line), "output": output}


def _run(question: Question) -> Any:
    """Put one question. What the handlers of SIGTERM and SIGHUP raise ends it in order: raised in
    the middle of the event loop it would be swallowed there, or leave the terminal raw."""
    application = question.application
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def end(number: int, frame: Any) -> None:
        handler = before[signal.Signals(number)]
        try:
            if callable(handler):
                handler(number, frame)
        except BaseException as fault:
            raised = fault
            loop = application.loop
            if loop is None:
                raise
            loop.call_soon_threadsafe(lambda: _leave(raised))

    def _leave(fault: BaseException) -> None:
        if application.is_running and not application.is_done:
            application.exit(exception=fault)

    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, end)
    try:
        return question.unsafe_ask()
    finally:
        for number in ours:
            signal.signal(number, before[number])
