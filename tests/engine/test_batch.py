"""Many commands of one parent: one question at a time, and an answer that holds for the rest."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from pathlib import Path

import pexpect
import pytest

from tests.engine.conftest import Screen, Shell

XARGS = "docker volume ls -q | sort | xargs -n1 docker volume rm"
ALL = {"back up": "4\r", "without": "5\r", "cancel": "6\r"}


def make(shell: Shell, *names: str) -> None:
    for name in names:
        shell.out(f"docker volume create {name}")
        (shell.place(name) / "file").write_text(name)


def contents(shell: Shell) -> dict[str, str]:
    return {name: (shell.place(name) / "file").read_text() for name in shell.volumes()}


class Batch(Screen):
    """A script at a terminal that puts several questions."""

    def question(self) -> Batch:
        """The next question stands there: one that was answered is drawn once more."""
        self.wait("LAST WRITE", "What now", "Cancel")
        return self


def terminal(shell: Shell, script: str) -> Batch:
    return Batch(script, shell.environ, shell.home)


def answers(shell: Shell) -> list[Path]:
    return list((shell.home / ".local/state/safedocker/batches").glob("*"))


LINES = {
    "xargs": "docker volume ls -q | sort | xargs -n1 docker volume rm",
    "for": "for v in $(docker volume ls -q | sort); do docker volume rm $v; done; true",
    "while": "docker volume ls -q | sort | while read v; do docker volume rm $v; done; true",
    "make": "make -s -f clean.mk",
    "python": "python3 clean.py",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_s26_back_up_for_the_rest_of_the_batch_asks_once(shell, line):
    make(shell, "one", "two", "three")
    before = contents(shell)
    (shell.home / "clean.mk").write_text(
        "clean:\n" + "".join(f"\tdocker volume rm {name}\n" for name in sorted(before))
    )
    (shell.home / "clean.py").write_text(
        "import subprocess\n"
        f"for name in {sorted(before)}:\n"
        "    subprocess.run(['docker', 'volume', 'rm', name], check=True)\n"
    )
    screen = terminal(shell, line).question().type("4\r")
    assert screen.ended() == 0
    assert screen.text.count("LAST WRITE") == 1
    named = {"xargs": "xargs -n1 docker", "make": "make -s", "python": "python3 clean.py"}
    for word in (word for key, word in named.items() if line == LINES[key]):
        assert re.search(rf"called by: {word}", screen.text), "the parent is named"
    assert "the same for all that `" in screen.text
    assert shell.volumes() == set()
    audit = shell.audit()
    assert [one["outcome"] for one in audit] == ["backed up"] * 3
    assert audit[0]["answered"] == "at the terminal, for the batch"
    assert {one["answered"] for one in audit[1:]} == {audit[1]["answered"]}
    assert str(audit[1]["answered"]).startswith("for all that `")
    assert len({one["backup"] for one in audit}) == 3, "each has a backup of its own"
    for one in audit:
        shell.run(f"safedocker undo {one['backup']}", check=True)
    assert contents(shell) == before


def test_without_a_backup_for_the_rest_is_typed_and_cancel_ends_the_rest(shell):
    make(shell, "one", "two", "three")
    screen = terminal(shell, XARGS).question().type("6\r")
    assert screen.ended() == 123
    assert screen.text.count("LAST WRITE") == 1
    assert len(shell.volumes()) == 3
    assert [one["outcome"] for one in shell.audit()] == ["cancelled"] * 3
    screen = (
        terminal(shell, XARGS).question().type("5\r").wait("type remove all").type("remove all\r")
    )
    assert screen.ended() == 0
    assert screen.text.count("LAST WRITE") == 1
    assert shell.volumes() == set()
    assert shell.backups() == []
    assert [one["outcome"] for one in shell.audit()[3:]] == ["without a backup"] * 3


def test_the_answers_for_one_command_hold_for_one(shell):
    make(shell, "one", "two")
    screen = terminal(shell, XARGS).question().type("3\r").question().type("1\r")
    assert screen.ended() == 123
    assert shell.volumes() == {"one"}
    assert answers(shell) == []


def test_ctrl_c_ends_the_batch(shell):
    make(shell, "one", "two", "three")
    screen = terminal(shell, f"{XARGS}; docker volume rm one").question().type("\x03")
    screen.wait("interrupted", "interrupted", "interrupted")
    screen.question().type("3\r")
    assert screen.ended() == 77, "the shell's own next command is asked about again"
    assert len(shell.volumes()) == 3


def test_an_answer_is_for_its_owner_alone_and_is_swept_with_the_parent(shell):
    make(shell, "one", "two")
    script = "docker volume rm one; echo on''ward; read x; docker volume rm two"
    screen = terminal(shell, script).question().type("4\r").wait("onward")
    (file,) = answers(shell)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    screen.type("\r")
    assert screen.ended() == 0
    assert shell.volumes() == set()
    make(shell, "three")
    again = terminal(shell, "docker volume rm three; true").question()
    assert answers(shell) == []
    again.type("3\r").ended()
    assert shell.volumes() == {"three"}


def test_another_form_another_folder_and_another_kind_are_asked_about_again(shell):
    make(shell, "one", "two", "three")
    shell.out(
        "docker run --name box -v /anon busybox touch /anon/x; docker volume create base;"
        "docker run --rm -v base:/d busybox sh -c 'mkdir /d/sub && head -c 4096 /dev/zero >/d/x'"
    )
    (shell.place("base") / "db.sqlite").write_bytes(b"SQLite format 3\0" + bytes(4080))
    script = (
        "docker volume rm one; cd /; docker volume rm two; cd; docker rm -v box; "
        "docker volume rm base; docker volume rm three"
    )
    screen = terminal(shell, script).question().type("5\r").wait("type remove all")
    screen.type("remove all\r")
    screen.question().type("3\r")  # two, of another folder
    screen.question().type("3\r")  # the container's anonymous volume
    screen.question().type("3\r")  # a database, of which nothing was said
    assert screen.ended() == 0
    assert shell.volumes() >= {"two", "base"}
    assert not {"one", "three"} & shell.volumes()
    assert len(shell.backups()) == 0


def test_a_gap_is_not_covered_by_an_answer(shell):
    """A Compose file that comes from a pipe with a name can't be read twice."""
    make(shell, "one")
    (shell.home / "docker-compose.yml").write_text("services: {}\n")
    script = "docker volume rm one; mkfifo f; docker compose -f f down -v & wait; true"
    if shell.engine.version == "20":
        pytest.skip("the same words, of the other Compose")
    screen = terminal(shell, script).question().type("4\r").wait("not known")
    screen.asked().type("2\r")  # without a list: nothing is known of what goes
    assert screen.ended() == 0


def test_a_parallel_batch_puts_one_question_at_a_time(shell):
    make(shell, *(f"v{number}" for number in range(6)))
    screen = terminal(shell, XARGS.replace("-n1", "-n1 -P4"))
    for _ in range(2):
        screen.question()
        time.sleep(1)  # the others are up to their questions by now
        assert screen.child.expect(["LAST WRITE", pexpect.TIMEOUT], timeout=0.5) == 1
        screen.type("1\r").wait("backed up")
    screen.question().type("4\r")
    assert screen.ended() == 0
    assert screen.text.count("LAST WRITE") == 3
    assert shell.volumes() == set()
    assert len(shell.backups()) == 6


def test_a_killed_asker_frees_the_terminal_and_a_waiter_can_be_interrupted(shell):
    make(shell, "one", "two", "three")
    (shell.home / "clean.py").write_text(
        "import subprocess, time\n"
        "children = []\n"
        "for name in ('one', 'two', 'three'):\n"
        "    children.append(subprocess.Popen(['docker', 'volume', 'rm', name]))\n"
        "    print('pid', children[-1].pid)\n"
        "    time.sleep(3)\n"
        "print('codes', [child.wait() for child in children])\n"
    )
    screen = terminal(shell, "python3 -u clean.py")
    pids = []
    for _ in range(3):
        screen.wait(r"pid \d+")
        pids.append(int(str(screen.child.after).split()[1]))
    time.sleep(2)
    os.kill(pids[1], signal.SIGINT)
    screen.wait("interrupted")
    os.kill(pids[0], signal.SIGKILL)
    screen.question().type("3\r").wait(r"codes \[-9, 130, 77\]")
    assert screen.ended() == 0
    assert len(shell.volumes()) == 3


def test_a_shell_that_a_person_types_into_is_offered_no_batch(shell):
    make(shell, "one", "two")
    screen = terminal(shell, "exec bash --norc -i")
    screen.type("for v in one two; do docker volume rm $v; done; exit\r")
    for _ in range(2):
        screen.question().type("1\r").wait("backed up")
    assert screen.ended() == 0
    assert "the same for all" not in screen.text
    assert answers(shell) == []
