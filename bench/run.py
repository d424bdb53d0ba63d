"""What safedocker costs, as ratios inside one run: the shim against a bare start, and `down -v`
of a real Postgres and its undo against the tutorial's `docker run ... tar czf` of the same volume.

    python bench/run.py [--scale 4 16 64]      an engine of its own; prints a table
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

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = """\
services:
  db:
    image: postgres:15
    volumes:
      - pgdata:/var/lib/postgresql/data
volumes:
  pgdata:
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
    """Run a command of ours: this tree's, whatever is installed."""
    subprocess.run(
        [sys.executable, "-m", "safedocker", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "HOME": str(folder), **(environ or {}), "PYTHONPATH": str(ROOT)},
    )


class Database:
    """A Compose project with a Postgres that pgbench has filled, and the shims before docker."""

    def __init__(self, engine: engines.PrivateEngine, scale: int) -> None:
        self.engine = engine
        self.project = engine.folder / f"bench-{scale}"
        self.project.mkdir()
        (self.project / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
        self.volume = f"bench-{scale}_pgdata"
        self.home = engine.folder / "home"
        shims = self.home / "shims"
        self.bare = engine.environ(self.home)
        _safedocker(self.home, "install", "--shims", str(shims), environ=self.bare)
        self.guarded = self.bare | {"SAFEDOCKER_MODE": "backup"}
        self.guarded["PATH"] = f"{shims}:{self.bare['PATH']}"
        self.up()
        fill = f"export PGUSER=postgres; pgbench -q -i -s {scale} postgres && psql -qc checkpoint"
        self.run("docker", "compose", "exec", "-T", "db", "sh", "-c", fill, timeout=1200)

    def run(self, *argv: str, guarded: str = "", timeout: float = 600) -> float:
        """Run it in the project's folder, by the shims and this way to protect if one is named;
        return the seconds."""
        environ = self.guarded | {"SAFEDOCKER_PROTECT": guarded} if guarded else self.bare
        started = time.perf_counter()
        done = subprocess.run(
            argv, env=environ, cwd=self.project, capture_output=True, text=True, timeout=timeout
        )
        if done.returncode:
            sys.exit(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
        return time.perf_counter() - started

    def up(self) -> None:
        """Start it, and wait until it answers over TCP: initdb's own server does not count."""
        self.run("docker", "compose", "up", "-d")
        ready = ("docker", "compose", "exec", "-T", "db", "pg_isready", "-h", "127.0.0.1", "-q")
        while subprocess.run(ready, env=self.bare, cwd=self.project).returncode:
            time.sleep(0.2)

    def megabytes(self) -> int:
        """What the volume holds."""
        place = self.engine.data_root / "volumes" / self.volume / "_data"
        return sum(file.lstat().st_size for file in place.rglob("*")) // 1_000_000

    def undo(self) -> float:
        """Seconds of `safedocker undo`."""
        started = time.perf_counter()
        _safedocker(self.home, "undo", environ=self.bare)
        return time.perf_counter() - started


def database(engine: engines.PrivateEngine, scale: int) -> list[tuple[str, float, str]]:
    """`down -v` and undo by each way, against the tutorial's tar of the same volume, and against
    the real `down -v` of it."""
    one = Database(engine, scale)
    out = one.home / "out"
    out.mkdir(exist_ok=True)
    down = ("docker", "compose", "down", "-v")
    moved = one.run(*down, guarded="move")
    moved_back = one.undo()
    one.up()
    copied = one.run(*down, guarded="archive")
    copied_back = one.undo()
    both = ("docker", "run", "--rm", "-v", f"{one.volume}:/data", "-v", f"{out}:/out", "busybox")
    tar = one.run(*both, "tar", "czf", "/out/v.tgz", "-C", "/data", ".")
    untar = one.run(*both, "tar", "xzf", "/out/v.tgz", "-C", "/data")
    size = one.megabytes()
    one.up()
    real = one.run(*down)
    told = f"Postgres, {size} MB: "
    more = told + "`down -v`, moved aside: more seconds"
    return [
        (more, moved - real, f"the real one, {real:.1f} s"),
        (told + "undo of that: seconds", moved_back, "-"),
        (told + "`down -v`, copied: more", (copied - real) / tar, f"`tar czf`, {tar:.1f} s"),
        (told + "undo of that, compared", copied_back / untar, f"`tar xzf`, {untar:.1f} s"),
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
    parser.add_argument("--scale", type=int, nargs="+", default=[4, 16, 64], help="pgbench's")
    options = parser.parse_args()
    failed = engines.install(("20", "26"))
    if failed:
        sys.exit("; ".join(f"{what}: {why}" for what, why in failed.items()))
    with engines.PrivateEngine("26") as engine:
        engine.image("busybox:latest")
        rows = starts(engine.folder)
        engine.image("postgres:15")
        for scale in options.scale:
            rows += database(engine, scale)
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
