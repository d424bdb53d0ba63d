"""The question on a real pseudo-terminal: each answer, each way out, the terminal afterwards."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import termios
import time

import pexpect
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Builds a plan, asks, and says on stdout what came of it: as the walk does, without an engine.
DRIVER = """
import datetime, sys
from safedocker.command.parse import parse
from safedocker.edge import process
from safedocker.edge.terminal import Terminal, tell
from safedocker.errors import SafedockerError
from safedocker.loss import forms
from safedocker.loss.facts import EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.decide import decide
from safedocker.policy.layers import Policy
from safedocker.policy.options import Caller, CallerKind

def loss(name, kind):
    volume = Volume(name, "local", {}, {}, "")
    return Loss(kind, name, volume, "in a test", holds=Holds.DATA, size=1200000000,
                at_least=1200000000, content="PostgreSQL 15",
                last_write=datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=3))

engine = EngineIdentity("unix:///nobody.sock", "default", "here", "ID", "26", (1, 45), False)
command = parse("docker", ["compose", "down", "-v"])[0]
losses = {
    "known": (loss("shop_pgdata", Kind.NAMED_VOLUME),),
    "anonymous": (loss("0123456789abcdef" * 4, Kind.ANONYMOUS_VOLUME),),
    "gaps": (),
}
gap = ("what Compose makes of its files",)
terminal = Terminal()
print("can ask:", terminal.can_ask, flush=True)
if not terminal.can_ask:
    sys.exit(3)
code = 0
for word in sys.stdin if sys.argv[1] == "stdin" else sys.argv[1:2]:
    name = word.strip()
    plan = Plan(command, forms.match(command), engine, losses[name],
                gaps=gap if name == "gaps" else (), project="shop" if name == "known" else None)
    decision = decide(plan, Policy(), Caller(CallerKind.PERSON, "a terminal"))
    try:
        with process.EndingSignals():
            print("answer:", terminal.ask(plan, decision).answer.name, flush=True)
    except KeyboardInterrupt:
        print("answer: interrupted", flush=True)
        code = 130
    except SafedockerError as fault:
        print("answer: raised", fault.message, flush=True)
        code = int(fault.exit_code)
sys.exit(code)
"""


class Screen:
    """The driver under a pseudo-terminal, and what a person would do there."""

    driver = ""

    def __init__(self, plan="known", command="{}", columns=80, **environ):
        command = command.format(f"{sys.executable} {self.driver} {plan}")
        self.child = pexpect.spawn(
            "/bin/sh",
            ["-c", command],
            dimensions=(40, columns),
            encoding="utf-8",
            timeout=15,
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"],
                "PYTHONPATH": str(ROOT),
                "TERM": "xterm-256color",
                **environ,
            },
        )

    def wait(self, *what):
        for one in what:
            self.child.expect(one)
        return self

    def type(self, keys):
        self.child.send(keys)
        return self

    def asked(self):
        """The question stands there, and what is typed is an answer."""
        return self.wait("What now", "Cancel")

    def answer(self):
        """What came of the question."""
        return self.wait(r"answer: ([^\r\n]+)\r\n").child.match[1]

    def ended(self):
        """The same, and the program has ended."""
        answer = self.answer()
        self.child.expect(pexpect.EOF)
        self.child.close()
        return answer


@pytest.fixture(scope="module", autouse=True)
def driver(tmp_path_factory):
    file = tmp_path_factory.mktemp("driver") / "ask.py"
    file.write_text(DRIVER)
    Screen.driver = str(file)
    return file


class Person:
    """Asked one question after the other at one terminal; stdin is a pipe meanwhile."""

    def __init__(self, fifo):
        self.screen = Screen("stdin", f"exec {{}} <{fifo}")
        self.plans = fifo.open("w", buffering=1)

    def __call__(self, plan="known"):
        self.plans.write(f"{plan}\n")
        return self.screen

    def leave(self):
        self.plans.close()
        self.screen.wait(pexpect.EOF).child.close()


@pytest.fixture(scope="module")
def ask(tmp_path_factory, driver):
    fifo = tmp_path_factory.mktemp("fifo") / "plans"
    os.mkfifo(fifo)
    person = Person(fifo)
    yield person
    person.leave()


DOWN = "\x1b[B"
CASES = {
    "enter-backs-up": ("\r", "BACK_UP"),
    "one-backs-up": ("1\r", "BACK_UP"),
    "down-down-cancels": (DOWN + DOWN + "\r", "CANCEL"),
    "three-cancels": ("3\r", "CANCEL"),
    "other-letters-do-nothing": ("yxq\r", "BACK_UP"),
    "ctrl-d-cancels": ("\x04", "CANCEL"),
    "ctrl-c-interrupts": ("\x03", "interrupted"),
}


@pytest.mark.parametrize(("keys", "answer"), CASES.values(), ids=CASES)
def test_each_answer(ask, keys, answer):
    assert ask().asked().type(keys).answer() == answer


TYPED = {
    "the-project-goes-on": ("shop\r", "WITHOUT"),
    "enter-alone-cancels": ("\r", "CANCEL"),
    "wrong-three-times-cancels": ("a\rb\rSHOP\r", "CANCEL"),
    "wrong-then-right-goes-on": ("shopp\rshop\r", "WITHOUT"),
    "ctrl-d-cancels": ("\x04", "CANCEL"),
    "ctrl-c-interrupts": ("sho\x03", "interrupted"),
}


@pytest.mark.parametrize(("keys", "answer"), TYPED.values(), ids=TYPED)
def test_going_on_without_a_backup_wants_the_name_typed(ask, keys, answer):
    screen = ask().asked().type("2\r").wait("type shop")
    assert screen.type(keys).answer() == answer


@pytest.mark.parametrize("typed", ["0123456789ab", "0123456789abcdef" * 4])
def test_of_an_anonymous_name_what_is_shown_is_enough(ask, typed):
    screen = ask("anonymous").asked().type("2\r").wait(r"type 0123456789ab \(")
    assert screen.type(typed + "\r").answer() == "WITHOUT"


def test_with_a_gap_no_backup_is_offered_and_enter_cancels(ask):
    screen = ask("gaps").wait("none is offered")
    screen.wait("What now", r"1\) Go on without a backup", r"2\) Cancel")
    assert screen.type("\r").answer() == "CANCEL"


def test_with_a_gap_going_on_is_typed_too(ask):
    screen = ask("gaps").asked().type("1\r").wait("type go on blindly")
    assert screen.type("go on blindly\r").answer() == "WITHOUT"


@pytest.mark.parametrize(
    "command",
    ["echo shop_pgdata | xargs {}", "yes 2 | {}", "{} 0<&-"],
    ids=["xargs", "yes", "closed"],
)
def test_the_question_is_put_on_the_terminal_whatever_stdin_is(command):
    assert Screen(command=command).asked().type("3\r").ended() == "CANCEL"


def test_what_was_typed_before_the_question_is_no_answer():
    screen = Screen(command="sleep 0.7; {}")
    time.sleep(0.2)
    screen.type("\r2\r3\r").asked()
    assert screen.type("1\r").ended() == "BACK_UP"


@pytest.mark.parametrize("columns", [34, 20])
def test_a_narrow_terminal_can_be_answered(ask, columns):
    screen = ask.screen
    screen.child.setwinsize(40, columns)
    try:
        assert ask().wait("Back up", "Cancel").type("3\r").answer() == "CANCEL"
    finally:
        screen.child.setwinsize(40, 80)


@pytest.mark.parametrize("keys", ["3\r", "\x03", "\x04", "2\rshop\r", "2\r\x03", "2\rno\r\r"])
def test_the_terminal_is_left_as_it_was(ask, keys):
    screen = ask.screen
    before = termios.tcgetattr(screen.child.child_fd)
    drawn = ask().asked().child.before
    for key in re.findall(r"\w*\r|.", keys):
        screen.type(key)
        time.sleep(0.1)
    screen.answer()
    drawn += screen.child.before
    assert termios.tcgetattr(screen.child.child_fd) == before
    for on, off in (("\x1b[?2004h", "\x1b[?2004l"), ("\x1b[?25l", "\x1b[?25h")):
        assert drawn.rfind(off) > drawn.rfind(on)
    assert "\x1b[6n" not in drawn, "the terminal's late answer would be docker's to read"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_question_in_order(ask, number):
    screen = ask.screen
    before = termios.tcgetattr(screen.child.child_fd)
    ask().asked()
    os.kill(screen.child.pid, number)
    assert screen.answer().startswith(f"raised ended by {number.name}")
    assert termios.tcgetattr(screen.child.child_fd) == before


def test_no_color_leaves_the_colours_out():
    screen = Screen(NO_COLOR="1")
    shown = screen.wait("What now").child.before
    assert "\x1b[" not in shown.partition("Would delete")[2].partition("KIND")[0]
    screen.wait("Cancel").type("3\r")
    rest = screen.child.read()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[[0-9;]*38;", shown + rest)


def test_colours_are_there_on_a_terminal(ask):
    screen = ask().wait("Would delete")
    assert "\x1b[1" in screen.child.before
    screen.asked().type("3\r").answer()


@pytest.mark.parametrize(
    ("command", "environ"),
    [("{} 2>/dev/null", {}), ("{}", {"TERM": "dumb"}), ("setsid -w {}", {})],
    ids=["stderr-away", "dumb", "no-controlling-terminal"],
)
def test_nobody_can_be_asked(command, environ):
    screen = Screen(command=command, **environ).wait("can ask: False", pexpect.EOF)
    screen.child.close()
    assert screen.child.exitstatus == 3


def test_nobody_can_be_asked_without_a_terminal(driver):
    done = subprocess.run(
        [sys.executable, driver, "known"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "can ask: False\n"


WORKING = """
import sys, threading, time
from safedocker.backup.take import Stage
from safedocker.edge.terminal import Terminal

with Terminal().progress() as report:
    report(Stage.STOP, "web", 0, None)
    for step in range(int(sys.argv[1])):
        time.sleep(0.1)
        report(Stage.COPY, "shop_pgdata", step * 10**7, 10**8)
print("threads:", threading.active_count())
"""


@pytest.mark.parametrize(
    ("tenths", "command", "shown"),
    [(17, "{}", True), (2, "{}", False), (17, "{} 2>&1 >/dev/null | cat", False)],
    ids=["long", "short", "no-terminal"],
)
def test_a_bar_shows_after_a_second_on_a_terminal(tmp_path, monkeypatch, tenths, command, shown):
    file = tmp_path / "work.py"
    file.write_text(WORKING)
    monkeypatch.setattr(Screen, "driver", str(file))
    screen = Screen(str(tenths), command).wait(pexpect.EOF)
    drawn = screen.child.before
    assert ("copying shop_pgdata" in drawn) is shown
    assert ("MB of 100 MB" in drawn) is shown
    assert drawn.rfind("\x1b[?25h") >= drawn.rfind("\x1b[?25l")
    if "/dev/null" not in command:
        assert "threads: 1" in drawn
