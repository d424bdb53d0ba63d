"""A program runs in a container: streams both ways at once, exit code, over each transport."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from safedocker.edge.address import Tls
from safedocker.edge.engine import Engine
from safedocker.errors import NoBackup, NoEngine
from tests.engine.test_engine import address, certificate, forwarding, ssh
from tests.engines import PrivateEngine

__all__ = ["ssh"]  # a fixture

PIECES = [os.urandom(100_000) for _ in range(60)]
DATA = b"".join(PIECES)
DIGEST = hashlib.md5(DATA).hexdigest()  # noqa: S324 - busybox has it


@pytest.fixture
def box(fresh: PrivateEngine) -> str:
    run = ("docker", "run", "-d", "--init", "--name", "box", "busybox", "sleep", "1000")
    return fresh.run(*run).stdout.strip()


@pytest.fixture
def client(fresh: PrivateEngine) -> Iterator[Engine]:
    with Engine(address(f"unix://{fresh.socket}")) as engine:
        yield engine


def run(
    engine: Engine,
    container: str,
    script: str,
    stdin: Sequence[bytes] | None = None,
    silence: float = 30,
) -> tuple[bytes, str, int]:
    argv = ("sh", "-c", script)
    with engine.execute(container, argv, {"TOLD": "a b"}, stdin, silence) as ran:
        out = b"".join(ran)
    return out, ran.said, ran.exit_code


def test_streams_go_both_ways_at_once_and_the_exit_code_comes_back(
    client: Engine, box: str
) -> None:
    script = f"head -c {len(DATA)} | tee /dev/stderr; echo end >&2; exit 7"
    out, said, code = run(client, box, script, PIECES)
    assert out == DATA
    assert said.endswith("end\n")
    assert len(said) < 5000
    assert code == 7
    assert run(client, box, 'echo "$TOLD"; echo no >&2') == (b"a b\n", "no\n", 0)


def test_an_empty_piece_of_stdin_is_no_end(client: Engine, box: str) -> None:
    assert run(client, box, "head -c 4", [b"", b"ab", b"", b"cd"])[0] == b"abcd"


def test_what_can_not_be_run_is_told(client: Engine, box: str, fresh: PrivateEngine) -> None:
    with client.execute(box, ("nosuch",), {}, None, 30) as ran:
        assert b"executable file not found" in b"".join(ran)
    assert ran.exit_code in {126, 127}
    fresh.run("docker", "pause", "box")
    with pytest.raises(NoBackup, match="paused"):
        run(client, box, "true")
    fresh.run("docker", "unpause", "box")
    fresh.run("docker", "kill", "box")
    with pytest.raises(NoBackup, match="not running"):
        run(client, box, "true")


def test_a_program_that_stands_still_is_given_up(client: Engine, box: str) -> None:
    started = time.monotonic()
    with pytest.raises(NoEngine, match="said nothing for 1 s"):
        run(client, box, "echo a; exec sleep 100", silence=1)
    assert time.monotonic() - started < 20


def test_a_container_that_is_killed_ends_its_programs(
    client: Engine, box: str, fresh: PrivateEngine
) -> None:
    kill = threading.Timer(1, lambda: fresh.run("docker", "kill", "box"))
    kill.start()
    _out, _said, code = run(client, box, "while true; do echo x; sleep 0.1; done")
    kill.join()
    assert code != 0


def test_what_stdin_raises_passes_through(client: Engine, box: str) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        client.execute(box, ("cat",), {}, broken(), 30) as ran,
    ):
        list(ran)


def test_over_tls_and_ssh(fresh: PrivateEngine, box: str, tmp_path: Path, ssh) -> None:
    script = f"head -c {len(DATA)} | md5sum; echo no >&2; exit 3"
    wanted = (f"{DIGEST}  -\n".encode(), "no\n", 3)
    ours = certificate(tmp_path, "localhost", "-addext", "subjectAltName=DNS:localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*ours)
    with forwarding(fresh.socket, context) as port:
        far = replace(address(f"tcp://localhost:{port}"), tls=Tls(ours[0], None, None, True))
        with Engine(far) as engine:
            assert run(engine, box, script, PIECES) == wanted
            assert len(run(engine, box, "head -c 3000000 /dev/zero")[0]) == 3_000_000
    ssh(f"exec {fresh.docker} -H unix://{fresh.socket} system dial-stdio")
    with Engine(address("ssh://me@box")) as engine:
        assert run(engine, box, script, PIECES) == wanted
