"""What is told of a standard stream that is full, closed, or read by nobody any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT, Place, backup


@pytest.fixture
def place(home: Path) -> Place:
    return Place(home)


def sh(place: Place, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which `safedocker` is ours."""
    own = f'safedocker() {{ {sys.executable} -m safedocker "$@"; }}\n'
    environ = {"HOME": str(place.home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", own + script],
        env={**environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=place.home,
    )


FULL, CLOSED = "No space left on device", "Bad file descriptor"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("backups >/dev/full", FULL),
        ("verify --all >/dev/full", FULL),
        ("--help >/dev/full", FULL),
        ("backups >&-", CLOSED),
        ("--version >&-", CLOSED),
    ],
)
def test_what_can_not_be_told_is_one_sentence(place, words, told) -> None:
    place.keep(backup())
    done = sh(place, f"safedocker {words}")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == f"safedocker: standard output can't be written: {told}"
    assert second.startswith("  ")
    assert not list(place.home.rglob("bug-*"))


def test_who_reads_no_further_is_told_nothing(place) -> None:
    for _ in range(3):
        place.keep(backup())
    for words in ("backups", "--help"):
        done = sh(place, f"safedocker {words} | true; echo ${{PIPESTATUS[0]}}")
        assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_closed_stream_is_nobody_elses_file(place) -> None:
    """Else the next file that is opened gets its number, and what is told goes into that."""
    made = place.keep(backup())
    before = {p: p.read_bytes() for p in place.home.rglob("*") if p.is_file()}
    done = sh(place, f"safedocker keep {made.id} <&- 2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert made.id in done.stdout
    done = sh(place, "safedocker show nothing 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = sh(place, "safedocker import - data <&-")
    assert done.returncode not in {0, 70}
    after = {p: p.read_bytes() for p in place.home.rglob("*") if p.is_file()}
    assert {p: after.get(p) for p in before} == before
    assert os.path.exists(place.store.where)
