"""What can lose nothing behaves through the shims as without them: output, exit code, signals,
terminal. Each line is run by both, and compared."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.engine.conftest import Shell
from tests.engine.outcome import settled
from tests.engines import PrivateEngine

COMPOSE = """
services:
  db:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data]
volumes: {data: }
"""


@pytest.fixture(scope="module")
def shell(engine: PrivateEngine, open_shell: Callable[[PrivateEngine], Shell]) -> Iterator[Shell]:
    """A project that is up, a container with a volume that holds data, and nothing else."""
    with engine.swept():
        opened = open_shell(engine)
        header = 'version: "2.4"\n' if engine.version == "20" else ""
        (opened.home / "docker-compose.yml").write_text(f"{header}{COMPOSE}")
        opened.out(f"{opened.compose} -p app up -d; docker create --name box -v held:/h busybox")
        (opened.place("held") / "file").write_text("x")
        yield opened


def db(shell: Shell) -> str:
    """The name of the container that runs."""
    return "app_db_1" if shell.engine.version == "20" else "app-db-1"


ALIKE = {
    "ps": "docker ps -a",
    "version": "docker --version",
    "version-of-both": "docker version --format '{{.Client.Version}} {{.Server.APIVersion}}'",
    "images": "docker images | sort",
    "bare": "docker",
    "help": "docker volume rm --help",
    "help-of-group": "docker volume",
    "volume-ls": "docker volume ls",
    "volume-ls-with-dangerous-words": "docker volume ls -q -f name=prune",
    "inspect-nosuch": "docker inspect nosuch",
    "inspect": "docker inspect box -f '{{.Name}} {{.Config.Image}}'",
    "options-before": "docker --log-level error -D=false ps -aq",
    "s23-dangerous-words-in-a-container": (
        "docker run --rm busybox sh -c 'echo docker volume rm x >&2; exit 3'"
    ),
    "s23-dangerous-words-as-arguments": "docker run --rm busybox echo docker compose down -v",
    "stdin-piped": "printf 'a\\nb\\0c' | docker run --rm -i busybox od -c",
    "stdin-piped-to-exec": "printf abc | docker exec -i {db} cat",
    "much-output": "docker run --rm busybox head -c 3000000 /dev/zero | cksum",
    "output-closed-early": "docker exec {db} head -c 50000000 /dev/zero | head -c 10 | od -c",
    "rm-without-volumes": "docker create --name other busybox >/dev/null; docker rm other",
    "volume-create-and-name-that-is-taken": "docker volume create held; docker volume create -x",
    "container-exit-1": "docker run --rm busybox false",
    "exit-125": "docker run --nosuchflag busybox true",
    "exit-126": "docker run --rm busybox /etc/passwd",
    "exit-127": "docker run --rm busybox nosuchprogram",
    "exit-137": "docker run --rm --init busybox sh -c 'kill -9 $$'",
    "unknown-command": "docker frobnicate --hard",
    "unknown-global-option": "docker --nosuch volume rm held",
    "volume-rm-without-a-name": "docker volume rm",
    "volume-prune-with-a-name": "docker volume prune held",
    "volume-rm-unknown-option": "docker volume rm --hard held",
    "rm-unknown-option": "docker rm -v --hard box",
    "complete": "docker __complete volume rm '' | sort",
    "complete-options": "docker __complete volume prune --",
    "compose-ps": "{compose} -p app ps -q | wc -l",
    "compose-config": "{compose} -p app config",
    "compose-exec": "{compose} -p app exec -T db echo down -v",
    "compose-exec-down": "{compose} -p app exec -T db down -v",
    "compose-down-wrong-option": "{compose} down -p x -v",
    "compose-down-help": "{compose} down --help",
    "compose-down-volumes-elsewhere": "{compose} -f nosuch.yml down -v",
    "compose-unknown": "{compose} frobnicate",
    "no-engine": "DOCKER_HOST=unix:///nonexistent/s docker ps",
}


@pytest.mark.parametrize("line", ALIKE.values(), ids=ALIKE)
def test_harmless_lines_end_as_they_do_without_us(shell, line):
    script = line.replace("{db}", db(shell)).replace("{compose}", shell.compose)
    ours, theirs = shell.run(script), shell.run(script, real=True)
    assert ours.returncode == theirs.returncode
    assert settled(ours.stdout) == settled(theirs.stdout)
    assert settled(ours.stderr) == settled(theirs.stderr)


CODES = {
    "docker run --rm busybox true": 0,
    "docker run --rm busybox sh -c 'exit 2'": 2,
    "docker volume rm": 1,
    "docker run --nosuchflag busybox true": 125,
    "docker run --rm busybox /etc/passwd": 126,
    "docker run --rm busybox nosuchprogram": 127,
    "docker exec {db} sh -c 'kill -9 $$'": 137,
}


@pytest.mark.parametrize(("line", "code"), CODES.items(), ids=map(str, CODES.values()))
def test_exit_codes_are_dockers(shell, line, code):
    assert shell.run(line.format(db=db(shell))).returncode == code


def test_bytes_that_are_not_text_pass_both_ways(shell):
    every = bytes(range(256)) * 400
    done = subprocess.run(
        ["docker", "run", "--rm", "-i", "busybox", "cat"],
        env=shell.environ,
        input=every,
        capture_output=True,
        check=True,
    )
    assert done.stdout == every
    done = subprocess.run(
        [b"docker", b"exec", db(shell).encode(), b"printf", b"%s", b"\xff\xfe \n*"],
        env=shell.environ,
        capture_output=True,
        check=False,
    )
    theirs = subprocess.run(
        [b"docker", b"exec", db(shell).encode(), b"printf", b"%s", b"\xff\xfe \n*"],
        env=shell.bare,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        theirs.returncode,
        theirs.stdout,
        theirs.stderr,
    )


LONG = "docker run --rm --init busybox sh -c 'trap \"exit 5\" TERM; echo up; sleep 100 & wait'"


SIGNALS = {
    "sh-term": ("docker events", signal.SIGTERM),
    "sh-int": ("docker events", signal.SIGINT),
    "sh-kill": ("docker events", signal.SIGKILL),
    "python-term": (LONG, signal.SIGTERM),
    "python-int": (LONG, signal.SIGINT),
}


@pytest.mark.parametrize(("line", "number"), SIGNALS.values(), ids=SIGNALS)
def test_a_signal_to_the_client_does_what_it_does_without_us(shell, line, number):
    ends = []
    for environ in (shell.environ, shell.bare):
        child = subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdout
        if line == LONG:
            assert child.stdout.readline() == b"up\n"
        else:
            wait_for_client(child.pid)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
        ends.append((child.returncode, out, err))
    assert ends[0] == ends[1]


def wait_for_client(pid: int) -> None:
    """Return when the real docker runs in this process and has had time to get ready."""
    deadline = time.monotonic() + 20
    while os.path.basename(os.readlink(f"/proc/{pid}/exe")) != "docker":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)


def test_a_terminal_in_a_container_is_the_same_terminal(shell):
    inside = (
        "until stty size 2>/dev/null | grep .; do sleep 0.1; done; tty; read x; echo got $x; exit 4"
    )
    line = f"docker run --rm -it --init busybox sh -c '{inside}'"
    drawn = []
    for real in (False, True):
        screen = shell.terminal(line, real=real).wait("/dev/pts/0")
        assert screen.type("word\r").ended() == 4
        drawn.append(screen.text)
    assert drawn[0] == drawn[1]
    assert "50 120" in drawn[0]
    assert "got word" in drawn[0]


def test_ctrl_c_at_a_terminal_reaches_the_client(shell):
    codes = []
    for real in (False, True):
        screen = shell.terminal(
            "docker run --rm --init busybox sh -c 'echo up; sleep 100'", real=real
        )
        codes.append(screen.wait("up").type("\x03").ended())
    assert codes[0] == codes[1]


def test_without_docker_host_the_context_is_docker_s(shell):
    """The environment and the configuration that the real client sees are those of the shell."""
    host = f"unix://{shell.engine.socket}"
    shell.out(f"docker context create here --docker host={host}")
    line = "unset DOCKER_HOST; docker -c here ps -aq | wc -l; docker --context here info -f {{.ID}}"
    ours, theirs = shell.run(line), shell.run(line, real=True)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, theirs.stdout, theirs.stderr)
    assert ours.stdout.split()[0] != "0"
