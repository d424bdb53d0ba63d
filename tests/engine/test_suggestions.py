"""Scenario S22: a guard that refuses its own suggestion. Every command that a message of ours
suggests is run here, and passes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import safedocker
from safedocker.errors import ExitCode
from tests.engine.test_corpus import CASES, STATES

WAYS = re.compile(
    r"(?:to keep the volumes|to make the path yourself first|to back up first and go on|look first)"
    r": (.+)"
)
OURS = set(map(int, ExitCode)) - {int(ExitCode.ERROR), int(ExitCode.USAGE), int(ExitCode.NO_DOCKER)}

# Refusals that name ways on, of every kind that can be had from a state of the corpus.
REFUSED = {
    "20": ("volume-rm-one", "v1-down-volumes", "run-missing"),
    "26": (
        *("v11-rm-volumes", "down-volumes-cluster", "down-name-only", "s12-down-context"),
        *("start-lost", "up-missing-short", "s13-compose-rm-cluster"),
    ),
}
BY_ID = {case.id: case for case in CASES}


@pytest.mark.parametrize(
    ("pairing", "id_"),
    [
        pytest.param(pairing, id_, id=f"{pairing}-{id_}")
        for pairing, ids in REFUSED.items()
        for id_ in ids
    ],
)
def test_s22_the_ways_on_that_a_refusal_names_pass(pairing, id_, benches):
    bench, case = benches(pairing), BY_ID[id_]
    state = STATES[case.state]
    bench.ready(state)
    refused = bench.run(case.line, shims=True)
    assert refused.returncode == ExitCode.REFUSED, refused.stderr
    ways = WAYS.findall(refused.stderr)
    assert ways, refused.stderr
    for way in ways:
        bench.ready(state)
        done = bench.run(way.removesuffix(", and the engine's log"), shims=True)
        assert done.returncode not in OURS, (way, done.stderr)
        assert done.returncode == 0, (way, done.stderr)
        if way.startswith("mkdir"):
            again = bench.run(case.line, shims=True)
            assert again.returncode == 0, (way, again.stderr)


def suggested() -> list[str]:
    """The docker commands in the sentences of the source, with `thing` for every name."""
    found = set()
    for path in Path(safedocker.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "thing"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            for line in re.findall(r": (docker(?:-compose)? [a-z][\w ./-]*)", text):
                found.add(line.strip())
    return sorted(found)


def test_there_are_suggestions():
    assert {"docker context ls", "docker volume ls", "docker stop thing"} <= set(suggested())


@pytest.mark.parametrize("line", suggested())
def test_s22_the_commands_that_hints_name_pass(line, benches):
    bench = benches("26")
    bench.ready(STATES["suggested"])
    done = bench.run(line, shims=True)
    assert done.returncode not in OURS, done.stderr
