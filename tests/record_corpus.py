"""Writes safedocker/corpus.json: what each line of tests/corpus would take, as `explain` says of it
on a real engine; `safedocker policy test` tries a policy out on that. Minutes.

    python -m tests.record_corpus
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.outcome import Bench, open_bench
from tests.engine.test_corpus import CASES, PACKAGE, RECORDED_ON, STATES, Case, recorded_on, taken
from tests.engines import PrivateEngine

FILE = PACKAGE / "corpus.json"


def seen(bench: Bench, case: Case) -> list[dict[str, Any]]:
    answers = bench.explain(case.line)
    told = (taken(one, bench.folder) for one in answers)
    return [one for one in told if one is not None]


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        for pairing in RECORDED_ON:
            mine = [case for case in CASES if recorded_on(case) == pairing]
            mine.sort(key=lambda case: list(STATES).index(case.state))
            with PrivateEngine(pairing) as engine:
                bench = open_bench(engine, engine, Path(place) / pairing)
                try:
                    for case in mine:
                        bench.ready(STATES[case.state])
                        for one in seen(bench, case):
                            key = json.dumps(one, sort_keys=True)
                            same = found.setdefault(
                                key,
                                {"line": case.line, "state": case.state, "spellings": -1, **one},
                            )
                            same["spellings"] += 1
                finally:
                    bench.close()
    lines = [json.dumps(one, ensure_ascii=True) for one in found.values()]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
