"""What happens between the question and exec: facts are read again, and what has grown is asked
about again, or refused. And an engine whose own count of uses is wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.engine.conftest import Screen, Shell, proxied, until

MAKE = "docker volume create {0} && echo x >$(docker volume inspect -f '{{{{.Mountpoint}}}}' {0})/f"


@contextlib.contextmanager
def before_it(shell: Shell, *arguments: str, tcp: bool = False) -> Iterator[str]:
    """A proxy before the engine; gives its address."""
    with proxied(shell.engine, *arguments, env=shell.bare, cwd=shell.home, tcp=tcp) as address:
        yield address


def make(shell: Shell, *names: str) -> None:
    for name in names:
        shell.out(MAKE.format(name))


def prune(shell: Shell) -> str:
    return "docker volume prune -f" + ("" if shell.engine.version == "20" else " -a")


def question(screen: Screen) -> Screen:
    return screen.wait("Would delete", "LAST WRITE").asked()


def test_s28_a_volume_that_came_during_the_question_is_asked_about(shell):
    make(shell, "early")
    screen = question(shell.terminal(prune(shell)))
    make(shell, "late")
    screen.type("1\r").wait("more would go now than when you were asked")
    question(screen).type("1\r")
    assert screen.ended() == 0
    assert "late" in screen.text
    assert shell.volumes() == set()
    shell.run("safedocker undo", check=True)
    assert shell.volumes() == {"early", "late"}


def test_s28_the_second_question_can_be_answered_otherwise(shell):
    make(shell, "early")
    screen = question(shell.terminal(prune(shell)))
    make(shell, "late")
    question(screen.type("2\r").wait("type early").type("early\r")).type("3\r")
    assert screen.ended() == 77
    assert shell.volumes() == {"early", "late"}


def test_a_container_made_again_under_the_same_name_is_asked_about_again(shell):
    run = "docker run -d --init --name box -v /data busybox sh -c 'echo x >/data/f; sleep 1000'"
    shell.out(run)
    screen = question(shell.terminal("docker rm -fv box"))
    first = shell.volumes()
    shell.out(f"docker rm -f box; {run}")
    (second,) = shell.volumes() - first
    question(screen.type("1\r").wait("more would go now")).type("1\r")
    assert screen.ended() == 0
    assert second[:12] in screen.text
    assert shell.volumes() == first, "the first one lost its container, and stays"


def test_what_is_less_than_was_asked_about_goes_without_a_second_question(shell):
    make(shell, "one", "two")
    screen = question(shell.terminal(prune(shell)))
    shell.out("docker volume rm two")
    assert screen.type("2\r").wait("type remove 2 volumes").type("remove 2 volumes\r").ended() == 0
    assert shell.volumes() == set()


LATE = f"ls .local/share/safedocker/backups/*/manifest.json && {MAKE.format('late')}"
ONCE = f"test -e made || {{ {LATE} && touch made; }}"
EACH = "n=$(docker volume ls -q | wc -l); " + LATE.replace("late", "late$n")


def test_s28_mode_backup_protects_what_came_while_it_copied(shell):
    make(shell, "early")
    with before_it(shell, "--before", ONCE) as host:
        done = shell.run(prune(shell), check=True, DOCKER_HOST=host, SAFEDOCKER_MODE="backup")
    assert "more would go now" in done.stderr
    assert shell.volumes() == set()
    assert len(shell.backups()) == 2
    shell.run("safedocker undo", check=True)
    assert shell.volumes() == {"early", "late"}
    assert (shell.place("late") / "f").read_text() == "x\n"


def test_s28_what_came_while_it_was_asked_about_is_moved_aside_too(shell):
    make(shell, "early")
    moving = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": "move"}
    with before_it(shell, "--before", ONCE) as host:
        done = shell.run(prune(shell), check=True, DOCKER_HOST=host, **moving)
    assert "more would go now" in done.stderr
    assert "moved 2 volumes" in done.stderr
    assert shell.volumes() == set()
    assert len(shell.backups()) == 1, "the first would have moved what the second did"
    until(lambda: not shell.behind())
    shell.run("safedocker undo", check=True)
    assert (shell.place("early") / "f").read_text() == (shell.place("late") / "f").read_text()
    assert "nothing stands aside" in shell.run("safedocker aside", check=True).stdout


def test_s28_the_last_backup_takes_over_who_was_stopped_for_the_first(shell26):
    shell = shell26
    run = "docker run -d --init --name {} -v /data busybox sh -c 'echo x >/data/f; sleep 1000'"
    shell.out(run.format("box"))
    late = ONCE.replace(MAKE.format("late"), run.format("late") + " && sleep 0.5")
    moving = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": "move"}
    with before_it(shell, "--before", late) as host:
        done = shell.run("docker rm -fv box late", check=True, DOCKER_HOST=host, **moving)
    assert "more would go now" in done.stderr
    assert shell.volumes() == set()
    until(lambda: not shell.behind())
    (id_,) = shell.backups()
    told = json.loads((shell.store / id_ / "manifest.json").read_text())
    assert {one["name"] for one in told["stopped"]} == {"box", "late"}
    shell.run("safedocker verify", check=True)
    shell.run("safedocker undo", check=True)
    assert len(shell.volumes()) == 2


def test_s28_nobody_to_ask_is_refused_when_it_has_grown(shell):
    """The empty one could go without a word; then one came that holds data."""
    shell.out("docker volume create void")
    with before_it(shell, "--before", ONCE) as host:
        done = shell.run(prune(shell), DOCKER_HOST=host)
    assert done.returncode == 77
    assert "late" in done.stderr
    assert shell.volumes() == {"void", "late"}


def test_s28_what_keeps_growing_is_refused(shell):
    make(shell, "early")
    with before_it(shell, "--before", EACH) as host:
        done = shell.run(prune(shell), DOCKER_HOST=host, SAFEDOCKER_MODE="backup")
    assert done.returncode == 77
    assert "keeps growing" in done.stderr
    assert shell.volumes() >= {"early", "late1", "late2", "late3"}


USED = {
    "rm": "docker rm -fv box",
    "prune": "{prune}",
    "system-prune": "docker system prune -f --volumes",
}


@pytest.mark.parametrize("mode", ["ask", "backup"])
@pytest.mark.parametrize("line", USED.values(), ids=USED)
def test_s10_an_engine_that_lost_count_of_uses_is_refused(shell, line, mode):
    """It would remove volumes of containers that run."""
    shell.out(
        "docker run -d --init --name box -v used:/used -v /anon busybox "
        "sh -c 'echo x | tee /used/f >/anon/f; sleep 1000'"
    )
    before = shell.state()
    with before_it(shell, "--lost-count") as host:
        script = line.format(prune=prune(shell))
        done = shell.run(script, DOCKER_HOST=host, SAFEDOCKER_MODE=mode)
        assert done.returncode == 77
        assert "the engine says that nobody uses the volume" in done.stderr
        if mode == "ask":
            screen = shell.terminal(script, DOCKER_HOST=host)
            assert screen.ended() == 77
            assert "What now" not in screen.text
            assert "in doubt:" in screen.text
    assert shell.state() == before
    assert shell.backups() == []
