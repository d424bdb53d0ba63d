"""What safedocker costs, as ratios inside one run: the shim against a bare start, and a backup and
its undo against the tutorial's `docker run ... tar czf` of the same volume.

    python bench/run.py [--megabytes 64 256]      an engine of its own; prints a table
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import engines

FILL = """
d=/data; i=0
while [ $i -lt {megabytes} ]; do
  head -c 700000 /bin/busybox > $d/code-$i; head -c 300000 /dev/urandom > $d/noise-$i; i=$((i + 1))
done
"""


def best(call: Callable[[], object], times: int) -> float:
    """Seconds of the quickest of several runs."""
    found = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - started)
    return found


def starts(folder: Path) -> list[tuple[str, float, str]]:
    """What a command pays before the real binary starts."""
    true = shutil.which("true") or "/bin/true"
    bare = folder / "bare"
    bare.write_text(f'#!/bin/sh\nexec {true} "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    shims = folder / "start-shims"
    _safedocker(folder, "install", "--shims", str(shims), "--real", true, "--real-compose", true)
    docker = str(shims / "docker")

    def run(*argv: str) -> Callable[[], object]:
        return lambda: subprocess.run(argv, check=True, env={"PATH": os.defpath, "HOME": "/"})

    run(docker, "run", "x")()
    sh, python = best(run(str(bare), "ps"), 40), best(run(sys.executable, "-I", "-c", "pass"), 40)
    return [
        ("a harmless verb, by sh", best(run(docker, "ps"), 40) / sh, "a bare sh that execs"),
        ("another verb, by Python", best(run(docker, "run", "x"), 40) / python, "a bare Python"),
        (
            "docker run with a mount that is there",
            best(run(docker, "run", "-v", "/:/x", "x"), 40) / python,
            "a bare Python",
        ),
    ]


def _safedocker(folder: Path, *words: str, environ: dict[str, str] | None = None) -> None:
    program = Path(sys.executable).with_name("safedocker")
    subprocess.run(
        [program, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ or {"PATH": os.defpath, "HOME": str(folder)},
    )


def copies(engine: engines.PrivateEngine, megabytes: int) -> list[tuple[str, float, str]]:
    """A backup with its check, and an undo with its comparison, against tar in a container."""
    home = engine.folder / "home"
    shims = home / f"shims-{megabytes}"
    environ = engine.environ(home)
    _safedocker(home, "install", "--shims", str(shims), environ=environ)
    guarded = environ | {"SAFEDOCKER_MODE": "backup", "PATH": f"{shims}:{environ['PATH']}"}
    name, out = f"bench-{megabytes}", home / "out"
    out.mkdir(exist_ok=True)
    into = ("docker", "run", "--rm", "-v", f"{name}:/data")
    engine.run(*into, "busybox", "sh", "-c", FILL.format(megabytes=megabytes), timeout=600)
    both = (*into, "-v", f"{out}:/out", "busybox", "tar")
    tar = best(lambda: engine.run(*both, "czf", "/out/v.tgz", "-C", "/data", "."), 1)
    untar = best(lambda: engine.run(*both, "xzf", "/out/v.tgz", "-C", "/data"), 1)
    remove = ("docker", "volume", "rm", name)
    backup = best(lambda: subprocess.run(remove, env=guarded, check=True, capture_output=True), 1)
    undo = best(lambda: _safedocker(home, "undo", environ=environ), 1)
    engine.run(*remove)
    size = f"{megabytes} MB: "
    return [
        (size + "volume rm with a backup", backup / tar, f"docker run ... tar czf ({tar:.1f} s)"),
        (size + "undo", undo / untar, f"docker run ... tar xzf ({untar:.1f} s)"),
    ]


def table(rows: Sequence[tuple[str, float, str]]) -> str:
    """The rows as Markdown."""
    head = "| what | ratio | against |\n|---|---|---|\n"
    return head + "\n".join(
        f"| {what} | {ratio:.2f} | {against} |" for what, ratio, against in rows
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="safedocker's costs as ratios inside one run.")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[64, 256])
    options = parser.parse_args()
    failed = engines.install(("20", "26"))
    if failed:
        sys.exit("; ".join(f"{what}: {why}" for what, why in failed.items()))
    with engines.PrivateEngine("26") as engine:
        engine.image("busybox:latest")
        rows = starts(engine.folder)
        for megabytes in options.megabytes:
            rows += copies(engine, megabytes)
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
