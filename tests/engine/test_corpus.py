"""Prediction is outcome: each line of tests/corpus is explained, then run by the real docker, and
what is gone is what was foretold: equality, not inclusion. A line that loses nothing ends through
the shims as it does without them."""

from __future__ import annotations

import json
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
PACKAGE = CORPUS.parents[1] / "safedocker"
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

RECORDED_ON = ("26", "20")
_APART = {"line", "state", "spellings"}
RECORDED = [
    {key: value for key, value in one.items() if key not in _APART}
    for one in json.loads((PACKAGE / "corpus.json").read_text())
]


def recorded_on(case: Case) -> str | None:
    """The pairing that a case's plan is recorded on, where it is."""
    return next((one for one in RECORDED_ON if one in case.on and case.form), None)


def taken(answer: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """What `safedocker policy test` is told of a command, from an answer of `explain`; None where
    it runs without a plan."""
    plan = answer["plan"]
    if plan is None or answer["form"] is None:
        return None
    losses = []
    for loss in plan["losses"]:
        kept = {key: loss[key] for key in _KEPT}
        kept["name"] = _recorded(loss["name"], folder)
        kept["used_by"] = sorted(_recorded(user, folder) for user in loss["used_by"])
        # A plan is judged by what weighs, not by a byte more or less of a log or a database.
        kept["size"] = None if loss["size"] is None else _rounded(loss["size"])
        kept["labels"] = {
            key: value for key, value in loss["labels"].items() if not key.startswith("com.docker.")
        }
        losses.append(kept)
    losses.sort(key=lambda loss: json.dumps(loss, sort_keys=True))
    return {
        "form": answer["form"]["name"],
        "project": plan["project"],
        "losses": losses,
        "gaps": sorted(_recorded(gap, folder) for gap in plan["gaps"]),
        "disputes": sorted(_recorded(one, folder) for one in plan["disputes"]),
    }


_KEPT = (
    *("kind", "used_by", "project", "holds", "size", "content", "disposable", "in_memory"),
    "labels",
)


def _recorded(text: str, folder: Path) -> str:
    """Without this run's own folder, and what the engine made up."""
    text = _plain(text, folder).replace(str(folder), ".")
    return "*" if outcome.is_digest(text) else re.sub(r"\b[0-9a-f]{12,64}\b", "*", text)


def _rounded(size: int) -> int:
    """To its first digit: 0, 700, 20000000."""
    power: int = 10 ** (len(str(size)) - 1)
    return size // power * power


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
    for answer in answers if pairing == recorded_on(case) else ():
        noted = taken(answer, bench.folder)
        assert noted is None or noted in RECORDED, (
            "record the corpus anew: python -m tests.record_corpus"
        )
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
