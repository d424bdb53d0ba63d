"""Writes safedocker/corpus.json: what each line of tests/corpus would take, as `explain` says of it
on a real engine; `safedocker policy test` tries a policy out on that. Minutes.

    python -m tests.record_corpus
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.outcome import Bench, is_digest, open_bench
from tests.engine.test_corpus import CASES, STATES, Case
from tests.engines import PrivateEngine

FILE = Path(__file__).resolve().parents[1] / "safedocker/corpus.json"
PAIRINGS = ("26", "20")
_KEPT = (
    *("kind", "used_by", "project", "holds", "size", "content", "disposable", "in_memory"),
    "labels",
)


def plain(text: str, folder: Path) -> str:
    """Without this run's own folder, and what the engine made up."""
    text = (
        text.replace(f"{folder.parent}/", "../").replace(f"{folder}/", "").replace(str(folder), ".")
    )
    text = re.sub(r"\.(\d+)\.[a-z0-9]{25}", r".\1.*", text)
    return "*" if is_digest(text) else re.sub(r"\b[0-9a-f]{12,64}\b", "*", text)


def taken(answer: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is recorded of one answer of `explain`."""
    plan = answer["plan"]
    losses = []
    for loss in plan["losses"]:
        kept = {key: loss[key] for key in _KEPT}
        kept["name"] = plain(loss["name"], folder)
        kept["used_by"] = sorted(plain(user, folder) for user in loss["used_by"])
        # A plan is judged by what it weighs, not by a byte more or less of a log or a database.
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
        "gaps": sorted(plain(gap, folder) for gap in plan["gaps"]),
        "disputes": sorted(plain(one, folder) for one in plan["disputes"]),
    }


def _rounded(size: int) -> int:
    """To its first digit: 0, 700, 20000000."""
    power: int = 10 ** (len(str(size)) - 1)
    return size // power * power


def seen(bench: Bench, case: Case) -> list[dict[str, Any]]:
    answers = bench.explain(case.line)
    return [taken(one, bench.folder) for one in answers if one["form"] and one["plan"]]


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        for pairing in PAIRINGS:
            mine = [case for case in CASES if case.form and case.on and pairing in case.on]
            if pairing != PAIRINGS[0]:
                mine = [case for case in mine if PAIRINGS[0] not in case.on]
            mine.sort(key=lambda case: list(STATES).index(case.state))
            with PrivateEngine(pairing) as engine:
                bench = open_bench(engine, engine, Path(place) / pairing)
                try:
                    for case in mine:
                        bench.ready(STATES[case.state])
                        for one in seen(bench, case):
                            key = json.dumps(one, sort_keys=True)
                            same = found.setdefault(
                                key, {"line": case.line, "spellings": -1, **one}
                            )
                            same["spellings"] += 1
                finally:
                    bench.close()
    lines = [json.dumps(one, ensure_ascii=True) for one in found.values()]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
