"""The question on a real pseudo-terminal: each answer, each way out, and the terminal afterwards."""

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
from safedocker.policy.decide import Action, Decision, challenge

def loss(name, kind):
    volume = Volume(name, "local", {}, {}, "")
    return Loss(kind, name, volume, "in a test", holds=Holds.DATA, size=1200000000,
                at_least=1200000000, content="PostgreSQL 15",
                last_write=datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=3))

engine = EngineIdentity("unix:///var/run/docker.sock", "default", "here", "ID", "26", (1, 45), False)
command = parse("docker", ["compose", "down", "-v"])[0]
losses = {
    "known": (loss("shop_pgdata", Kind.NAMED_VOLUME),),
    "anonymous": (loss("0123456789abcdef" * 4, Kind.ANONYMOUS_VOLUME),),
    "gaps": (),
}[sys.argv[1]]
plan = Plan(command, forms.match(command), engine, losses,
            gaps=("what Compose makes of its files",) if sys.argv[1] == "gaps" else (),
            project="shop" if sys.argv[1] == "known" else None)
terminal = Terminal()
print("can ask:", terminal.can_ask, flush=True)
if not terminal.can_ask:
    sys.exit(3)
decision = Decision(Action.ASK, "data would be lost", "ask", challenge(plan))
try:
    with process.EndingSignals():
        print("answer:", terminal.ask(plan, decision).name)
except KeyboardInterrupt:
    print("answer: interrupted")
    sys.exit(130)
except SafedockerError as fault:
    print("answer: raised", fault.message)
    sys.exit(int(fault.exit_code))
"""


class Screen:
    """The driver under a pseudo-terminal, and what a person would do there."""

    driver = ""

    def __init__(self, plan="known", shell="{}", columns=80, **environ):
        command = shell.format(f"{sys.executable} {self.driver} {plan}")
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
        self.modes = termios.tcgetattr(self.child.child_fd)

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

    def ended(self):
        """Return the answer; see that the terminal is as it was."""
        self.wait(r"answer: ([^\r\n]+)")
        answer = self.child.match[1]
        self.child.expect(pexpect.EOF)
        self.child.close()
        return answer


@pytest.fixture(scope="module", autouse=True)
def driver(tmp_path_factory):
    file = tmp_path_factory.mktemp("driver") / "ask.py"
    file.write_text(DRIVER)
    Screen.driver = str(file)
    return file


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
def test_each_answer(keys, answer):
    screen = Screen().asked().type(keys)
    assert screen.ended() == answer


TYPED = {
    "the-project-goes-on": ("shop\r", "WITHOUT"),
    "enter-alone-cancels": ("\r", "CANCEL"),
    "wrong-three-times-cancels": ("a\rb\rSHOP\r", "CANCEL"),
    "wrong-then-right-goes-on": ("shopp\rshop\r", "WITHOUT"),
    "ctrl-d-cancels": ("\x04", "CANCEL"),
    "ctrl-c-interrupts": ("sho\x03", "interrupted"),
}


@pytest.mark.parametrize(("keys", "answer"), TYPED.values(), ids=TYPED)
def test_going_on_without_a_backup_wants_the_name_typed(keys, answer):
    screen = Screen().asked().type("2\r").wait("type shop")
    assert screen.type(keys).ended() == answer


@pytest.mark.parametrize("typed", ["0123456789ab", "0123456789abcdef" * 4])
def test_of_an_anonymous_name_what_is_shown_is_enough(typed):
    screen = Screen("anonymous").asked().type("2\r").wait(r"type 0123456789ab \(")
    assert screen.type(typed + "\r").ended() == "WITHOUT"


def test_with_a_gap_no_backup_is_offered_and_enter_cancels():
    screen = Screen("gaps").wait("none is offered")
    screen.wait("What now", r"1\) Go on without a backup", r"2\) Cancel")
    assert screen.type("\r").ended() == "CANCEL"


def test_with_a_gap_going_on_is_typed_too():
    screen = Screen("gaps").asked().type("1\r").wait("type go on blindly")
    assert screen.type("go on blindly\r").ended() == "WITHOUT"


@pytest.mark.parametrize(
    "shell",
    ["echo shop_pgdata | xargs {}", "yes 2 | {}", "{} </dev/null", "{} 0<&-"],
    ids=["xargs", "yes", "null", "closed"],
)
def test_the_question_is_put_on_the_terminal_whatever_stdin_is(shell):
    assert Screen(shell=shell).asked().type("3\r").ended() == "CANCEL"


def test_what_was_typed_before_the_question_is_no_answer():
    screen = Screen(shell="sleep 0.7; {}")
    time.sleep(0.2)
    screen.type("\r2\r3\r").asked()
    assert screen.type("1\r").ended() == "BACK_UP"


@pytest.mark.parametrize("columns", [80, 34, 20])
def test_a_narrow_terminal_can_be_answered(columns):
    assert Screen(columns=columns).wait("Back up", "Cancel").type("3\r").ended() == "CANCEL"


@pytest.mark.parametrize("keys", ["3\r", "\x03", "\x04", "2\rshop\r", "2\r\x03"])
def test_the_terminal_is_left_as_it_was(keys):
    screen = Screen(shell="stty -a >&2; echo before; {}; echo after; stty -a >&2; sleep 9")
    before = screen.wait("before").child.before
    screen.asked()
    for key in re.findall(r"\d?\r|\w+\r|.", keys):
        screen.type(key)
        time.sleep(0.1)
    screen.wait("answer: ", "after")
    shown = screen.child.before
    assert screen.wait("extproc").child.before.split() == before.rpartition("extproc")[0].split()
    for on, off in (("\x1b[?2004h", "\x1b[?2004l"), ("\x1b[?25l", "\x1b[?25h")):
        assert shown.rfind(off) >= shown.rfind(on)
    assert "\x1b[6n" not in shown
    screen.child.close(force=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_question_in_order(number):
    screen = Screen(shell="echo $$; exec {}")
    screen.wait(r"(\d+)\r\n")
    pid = int(screen.child.match[1])
    screen.asked()
    os.kill(pid, number)
    assert screen.ended().startswith(f"raised ended by {number.name}")
    assert screen.child.exitstatus == 130


def test_no_color_leaves_the_colours_out():
    screen = Screen(NO_COLOR="1")
    shown = screen.wait("What now").child.before
    assert "\x1b[" not in shown.partition("Would delete")[2].partition("KIND")[0]
    screen.wait("Cancel").type("3\r")
    rest = screen.child.read()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[[0-9;]*38;", shown + rest)


def test_colours_are_there_on_a_terminal():
    shown = Screen().wait("Would delete").child.before
    assert "\x1b[1" in shown


@pytest.mark.parametrize(
    ("shell", "environ"),
    [("{} 2>/dev/null", {}), ("{}", {"TERM": "dumb"}), ("setsid -w {}", {})],
    ids=["stderr-away", "dumb", "no-controlling-terminal"],
)
def test_nobody_can_be_asked(shell, environ):
    screen = Screen(shell=shell, **environ).wait("can ask: False", pexpect.EOF)
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
