"""What stdin would answer, of pipes, files and terminals; and that all of it is still there."""

import os
import subprocess
import sys
import time

import pytest

from tests.shim.test_question import ROOT

PROGRAM = """
import sys
from safedocker.edge import stdin
said = stdin.says(getattr(stdin, sys.argv[1]), int(sys.argv[2]))
left = b"" if sys.argv[3:] else sys.stdin.buffer.read()
sys.stdout.buffer.write(said.name.encode() + b" " + left)
"""
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="pipes are peeked into by tee(2)")


def said(table="DOCKER_YES", questions=1, **streams):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, table, str(questions)],
        env=ENVIRON,
        stdout=subprocess.PIPE,
        check=True,
        **streams,
    )
    word, _, left = done.stdout.partition(b" ")
    return word.decode(), left


# A table of clients' yeses, what is piped, and whether the real client was seen to go on with it.
LINES = [
    ("DOCKER_YES", b"n\n", "NO"),
    ("DOCKER_YES", b"\n", "NO"),
    ("DOCKER_YES", b"", "NO"),
    ("DOCKER_YES", b"yes\n", "NO"),
    ("DOCKER_YES", b"yes", "NO"),
    ("DOCKER_YES", b"n\ny\n", "NO"),
    ("DOCKER_YES", b"\ny\n", "NO"),
    ("DOCKER_YES", b"1\n", "NO"),
    ("DOCKER_YES", b"y\n", "YES"),
    ("DOCKER_YES", b"Y", "YES"),
    ("DOCKER_YES", b"y\r\n", "YES"),
    ("DOCKER_YES", b" \ty \n", "YES"),
    ("DOCKER_YES", b"\xc2\xa0y\n", "PERHAPS"),
    ("DOCKER_YES", b"y\xe2\x80\xa8\n", "PERHAPS"),
    ("DOCKER_YES", b"\x0by\n", "PERHAPS"),
    ("COMPOSE_V1_YES", b"yEs\n", "YES"),
    ("COMPOSE_V1_YES", b"y\x1c\n", "PERHAPS"),
    ("COMPOSE_V1_YES", b"true\n", "NO"),
    ("COMPOSE_YES", b"true\n", "YES"),
    ("COMPOSE_YES", b"T\n", "YES"),
    ("COMPOSE_YES", b"1\n", "YES"),
    ("COMPOSE_YES", b"y y\n", "PERHAPS"),
    ("COMPOSE_YES", b"yes\n", "NO"),
    ("COMPOSE_YES", b"n y\n", "NO"),
]


@LINUX
@pytest.mark.parametrize(("table", "line", "says"), LINES, ids=lambda one: repr(one)[:20])
def test_a_pipe_is_read_as_the_client_will_and_left_as_it_was(table, line, says):
    assert said(table, input=line) == (says, line)


@pytest.mark.parametrize(("table", "line", "says"), LINES, ids=lambda one: repr(one)[:20])
def test_a_file_is_read_from_where_it_stands(tmp_path, table, line, says):
    file = tmp_path / "answers"
    file.write_bytes(b"y\n" + line)
    with file.open("rb") as stream:
        os.lseek(stream.fileno(), 2, os.SEEK_SET)
        assert said(table, stdin=stream) == (says, line)


def test_nothing_to_read_is_a_no():
    assert said(stdin=subprocess.DEVNULL) == ("NO", b"")
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", PROGRAM, "DOCKER_YES", "1"]
    done = subprocess.run([*closed, "leave"], env=ENVIRON, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"NO "


@LINUX
def test_several_questions_take_a_line_each():
    assert said("COMPOSE_YES", 2, input=b"n\nn\ny\n")[0] == "NO"
    assert said("COMPOSE_YES", 2, input=b"n\n")[0] == "NO"
    assert said("COMPOSE_YES", 2, input=b"n\ny\n")[0] == "PERHAPS"
    assert said("COMPOSE_YES", 2, input=b"y\ny\n")[0] == "YES"
    assert said("COMPOSE_YES", 2, input=b"y")[0] == "PERHAPS"


@LINUX
def test_a_writer_is_waited_for_but_not_for_long():
    begin = [sys.executable, "-c", PROGRAM, "DOCKER_YES", "1", "leave"]
    for line, says in ((b"n\n", b"NO "), (b"y\n", b"YES "), (b"n", b"PERHAPS ")):
        with subprocess.Popen(
            begin, env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdin
            assert child.stdout
            child.stdin.write(line)
            child.stdin.flush()
            assert child.stdout.read() == says
    began = time.monotonic()
    with subprocess.Popen(
        begin, env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stdout.read() == b"PERHAPS "
        assert time.monotonic() - began < 5


@LINUX
def test_yes_without_an_end_is_a_yes_and_a_long_line_is_not_known():
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
        program = [sys.executable, "-c", PROGRAM, "DOCKER_YES", "1", "leave"]
        done = subprocess.run(
            program, env=ENVIRON, stdin=yes.stdout, stdout=subprocess.PIPE, check=True
        )
        yes.terminate()
    assert done.stdout == b"YES "
    assert said(input=b" " * 200_000 + b"y\n")[0] == "PERHAPS"


def test_a_terminal_says_nothing_yet():
    terminal, device = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "DOCKER_YES", "1", "leave"],
            env=ENVIRON,
            stdin=device,
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        os.close(device)
        os.close(terminal)
    assert done.stdout == b"PERHAPS "
