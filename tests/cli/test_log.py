"""`safedocker log` on an audit of years, in which not every line is whole."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANY = 10_000
READABLE = 2  # of these
BROKEN = (
    '{"half',
    "",
    "null",
    "[1]",
    "[" * 100_000,
    "\0\0",
    '{"at":5}',
    '{"at":"2026-01-01T00:00:00","outcome":3}',
    '{"at":"2026-13-40","outcome":"pass"}',
    '{"at":"0001-01-01T00:00:00+14:00","outcome":"pass"}',
    '{"at":"9999-12-31T23:59:59-14:00","outcome":"pass","person":1e400}',
    '{"at":"2026-01-01T00:00:00+00:00","outcome":"pass","person":99999999999999999999,'
    '"losses":[{"kind":"named volume","name":"odd","size":-1e3},5],"argv":"abc","pid":true}',
)


def line(number: int) -> str:
    """One of ten volumes goes, a minute after the one before; each tenth was undone."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=number)
    told: dict[str, object] = {
        "audit": 1,
        "at": at.isoformat(),
        "pid": number,
        "person": os.getuid(),
        "argv": ["docker", "volume", "rm", "x"],
        "caller": "person",
        "outcome": "backed up",
        "form": "volume-rm",
        "backup": f"b{number}",
        "engine_id": "e",
        "rule": "data",
        "losses": [{"kind": "named volume", "name": f"v{number % 10}", "size": 5}],
    }
    if number % 10 == 9:
        told |= {"form": "safedocker-undo", "backups": [f"b{number - 1}"], "backup": None}
    return json.dumps(told)


@pytest.fixture
def log(home):
    folder = home / ".local/state/safedocker"
    folder.mkdir(parents=True)
    lines = [line(number) for number in range(MANY)]
    for place, broken in enumerate(BROKEN):
        lines.insert(place * 700, broken)
    (folder / "audit.jsonl").write_text("\n".join(lines) + '\n{"cut')

    def run(*words):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "safedocker", "log", *words],
            env={
                "HOME": str(home),
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "DOCKER_HOST": "unix:///nonexistent.sock",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), time.monotonic() - started

    return run


def test_of_ten_thousand_lines_the_last_ones_are_shown(log):
    lines, _ = log()
    assert sum(" docker volume rm x " in one for one in lines) == 200
    assert any(one.startswith(f"{MANY + READABLE - 200} older: --last ") for one in lines), lines[
        -3:
    ]
    assert sum(" docker volume rm x " in one for one in log("--last", "3")[0]) == 3


def test_every_line_that_can_be_read_is_told_and_one_that_can_t_stops_nothing(log):
    lines, whole = log("--json")
    told = [json.loads(one) for one in lines]
    assert len(told) == MANY + READABLE
    assert sum(one["undone_at"] is not None for one in told) == MANY / 10
    story, _ = log("--volume", "odd")
    assert "  outcome:  let run" in story
    # What is asked of each line does not grow with their number.
    _, read = log("--json", "--since", "2030-01-01")
    assert whole < 6 * read
