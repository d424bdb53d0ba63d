"""Prediction is outcome: each line of tests/corpus is explained, then run by the real docker, and
what is gone is what was foretold: equality, not inclusion. A line that loses nothing ends through
the shims as it does without them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from safedocker.loss.forms import FORMS
from tests.engine import outcome
from tests.engine.outcome import State, foretold, settled

pytestmark = pytest.mark.engine

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
ACTIONS = ("pass", "record", "back up", "ask", "refuse")
COLUMNS = ("person", "nobody", "backup")
PASSES = {"pass", "record"}


@dataclass(frozen=True)
class Case:
    """A line of the corpus; its README tells what the keys mean."""

    id: str
    state: str
    line: str
    on: tuple[str, ...]
    form: str | None
    verdicts: tuple[str, str, str]
    lost: dict[str, list[str]] | None  # None: hangs on the version
    same_output: bool


def states() -> dict[str, State]:
    told = tomllib.loads((CORPUS / "states.toml").read_text())
    files = told.pop("files")
    return {
        name: State(
            name,
            body.get("lines", ""),
            {file: files.get(text, text) for file, text in body.get("files", {}).items()},
            body.get("waits", 0.0),
        )
        for name, body in told.items()
    }


def cases() -> list[Case]:
    found = []
    for path in sorted(CORPUS.glob("*.toml")):
        if path.name == "states.toml":
            continue
        told = tomllib.loads(path.read_text())
        for row in told["cases"]:
            every: dict[str, Any] = {**told["all"], **row}
            found.append(
                Case(
                    every["id"],
                    every["state"],
                    every["line"],
                    tuple(every["on"]),
                    every.get("form") or None,
                    tuple(every.get("verdicts", ("pass",) * 3)),
                    every.get("lost"),
                    every.get("same_output", True),
                )
            )
    return found


STATES = states()
CASES = cases()


def test_every_form_has_an_outcome():
    """A row without a line in the corpus does not land."""
    assert {form.name for form in FORMS} - {case.form for case in CASES} == set()


def test_the_corpus_is_well_formed():
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
    for case in CASES:
        assert case.state in STATES, case.id
        assert set(case.verdicts) <= set(ACTIONS), case.id
        assert case.form is None or case.form in {form.name for form in FORMS}, case.id


PLAYS = sorted(
    ((pairing, case) for case in CASES for pairing in case.on),
    key=lambda play: (play[0].rpartition("@")[2], play[0], list(STATES).index(play[1].state)),
)


def plays() -> list[Any]:
    """All of them; `make test` plays of each form one line on each pairing, `make corpus` the rest,
    and what can run only where the suite that moves can be had."""
    seen = set()
    told = []
    for pairing, case in PLAYS:
        first = (pairing, case.form) not in seen and "28" not in pairing
        seen.add((pairing, case.form))
        marks = () if first else (pytest.mark.played,)
        told.append(pytest.param(pairing, case, id=f"{pairing}-{case.id}", marks=marks))
    return told


@pytest.mark.parametrize(("pairing", "case"), plays())
def test_prediction_is_outcome(pairing, case, benches):
    bench = benches(pairing)
    state = STATES[case.state]
    before = bench.ready(state)
    answers = bench.explain(case.line)
    assert bench.snapshot() == before, "explain changed something"

    forms = {answer["form"]["name"] for answer in answers if answer["form"]}
    assert forms == ({case.form} if case.form else set())
    faults = [answer["error"] for answer in answers if answer["error"]]
    assert not faults
    verdicts = tuple(
        max((answer["decisions"][column]["action"] for answer in answers), key=ACTIONS.index)
        for column in COLUMNS
    )
    expected = foretold(answers, before, bench.folder)
    gone, after, theirs = bench.outcome(before, case.line, expected)
    assert expected.fits(gone), (gone, expected, theirs.stderr)
    assert verdicts == case.verdicts, answers[0]["plan"] or answers[0]["runs_at_once"]
    if case.lost is not None:
        named = {
            kind: sorted(_plain(name, bench.folder) for name in _named(kind, names, before))
            for kind, names in gone.items()
        }
        assert named == {kind: sorted(names) for kind, names in case.lost.items()}
    if set(case.verdicts) <= PASSES and case.same_output and (not gone or pairing == case.on[-1]):
        bench.ready(state)
        ours = bench.run(case.line, shims=True)
        assert ours.returncode == theirs.returncode
        ordered = "compose" not in case.line  # Compose tells of several containers as they come
        for mine, real in ((ours.stdout, theirs.stdout), (ours.stderr, theirs.stderr)):
            told, said = settled(mine).splitlines(), settled(real).splitlines()
            assert (told if ordered else sorted(told)) == (said if ordered else sorted(said))
        assert bench.comes_to(after.shape())


def _plain(name: str, folder: Path) -> str:
    """A name without this run's own folder, and without the id of a task's container."""
    name = name.replace(f"{folder.parent}/", "../").replace(f"{folder}/", "")
    return re.sub(r"\.(\d+)\.[a-z0-9]{25}$", r".\1.*", name)


def _named(kind: str, names: set[str], before: outcome.Snapshot) -> list[str]:
    """Layers by their containers' names; what the engine named itself is `*`."""
    if kind == "container layer":
        return [before.containers[id_] for id_ in names]
    if kind == "image":
        return [(before.images[id_] or ("*",))[0] for id_ in names]
    if kind in {"bind source", "file"}:
        return [name.partition("/app/")[2] or name for name in names]
    return ["*" if outcome.is_digest(name) else name for name in names]
