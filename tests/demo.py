"""The 2 AM story, played for real: an engine of its own, a Postgres with rows in it, the shim on
PATH, `docker compose down -v` typed at a terminal, the backup taken, undone, the rows counted.

    python tests/demo.py                       play it; exit 0 when every row is back
    python tests/demo.py --picture FILE.svg    and save a picture of the terminal at the question
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

if not __package__:  # run as a file: the siblings are found from the root of the repository
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import engines

ROWS = 300_000
COLUMNS = 96
COMPOSE = """\
services:
  db:
    image: postgres:15
    volumes:
      - pgdata:/var/lib/postgresql/data
volumes:
  pgdata:
"""
PROMPT = "shop$ "
SOCKET = Path("/tmp/2am.sock")
_COUNT = "select count(*), md5(string_agg(id || note, ',' order by id)) from orders"
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b\][^\x07]*\x07|\x1b[=>78]")


def say(text: str) -> None:
    """One line of the story, apart from what the programs print."""
    sys.stdout.write(f"\n\x1b[1m# {text}\x1b[0m\n")
    sys.stdout.flush()


class Story:
    """A project folder, an engine, and a shell's environment with the shims first on PATH."""

    def __init__(self, engine: engines.PrivateEngine) -> None:
        self.engine = engine
        self.home = engine.folder / "home"
        self.project = self.home / "shop"
        self.project.mkdir(parents=True)
        (self.project / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
        shims = self.home / "shims"
        program = shutil.which("safedocker", path=str(Path(sys.executable).parent))
        self.safedocker = program or sys.exit("safedocker is not installed beside this Python")
        self.engine.run(self.safedocker, "install", "--shims", shims, home=self.home)
        self.environ = engine.environ(self.home)
        here = Path(self.safedocker).parent
        self.environ["PATH"] = f"{shims}:{self.environ['PATH']}:{here}"
        self.environ |= {"TERM": "xterm-256color", "PS1": PROMPT, "DOCKER_HOST": f"unix://{SOCKET}"}
        (self.home / ".inputrc").write_text("set enable-bracketed-paste off\n")
        SOCKET.unlink(missing_ok=True)
        SOCKET.symlink_to(engine.socket)
        self.log = _Both()
        self.shell = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile", "-i"],
            env=self.environ,
            cwd=str(self.project),
            dimensions=(40, COLUMNS),
            encoding="utf-8",
            timeout=180,
        )
        self.shell.logfile_read = self.log
        self.shell.expect_exact(PROMPT)

    def type(self, line: str, answer: str | None = None) -> str:
        """Type a command at a terminal, with `answer` as the keys pressed at the question; return
        what stood on the screen when the question came, or at the end."""
        self.log.text = ""
        self.shell.sendline(line)
        self.shell.expect_exact("\n")  # the line's own echo
        screen = ""
        if answer is not None:
            self.shell.expect_exact("Back up")
            self.shell.expect_exact("Cancel")
            time.sleep(0.5)
            screen = PROMPT + self.log.text
            self.shell.send(answer)
        self.shell.expect_exact(PROMPT)
        self.log.shown = False
        self.shell.sendline("echo $?")
        self.shell.expect_exact(PROMPT)
        self.log.shown = True
        status = (self.shell.before or "").split()[-1]
        if status != "0":
            sys.exit(f"{line} ended with {status}")
        return screen

    def close(self) -> None:
        """End the shell."""
        self.shell.close(force=True)
        SOCKET.unlink(missing_ok=True)

    def sql(self, statement: str) -> str:
        """What the database answers."""
        return self.engine.run(
            *("docker", "exec", "shop-db-1", "psql", "-U", "postgres", "-qtAc", statement),
            home=self.home,
        ).stdout.strip()

    def wait_for_database(self) -> None:
        """Return when Postgres answers, over TCP, so that initdb's own server does not count."""
        ready = ("docker", "exec", "shop-db-1", "pg_isready", "-h", "127.0.0.1", "-q")
        deadline = time.monotonic() + 120
        while self.engine.run(*ready, home=self.home, check=False).returncode:
            if time.monotonic() > deadline:
                sys.exit("Postgres did not come up")
            time.sleep(0.3)


class _Both(io.TextIOBase):
    """Writes to the screen, and keeps what was written since somebody emptied it."""

    def __init__(self) -> None:
        self.text = ""
        self.shown = True

    def write(self, text: str) -> int:
        self.text += text
        if self.shown:
            sys.stdout.write(text)
            sys.stdout.flush()
        return len(text)


def play(engine: engines.PrivateEngine, picture: Path | None) -> bool:
    """Play the story; return whether every row came back."""
    engine.image("postgres:15")
    story = Story(engine)
    try:
        return _play(story, picture)
    finally:
        story.close()


def _play(story: Story, picture: Path | None) -> bool:
    say(f"A project with a Postgres. {ROWS:,} orders are written into it.")
    story.type("docker compose up -d")
    story.wait_for_database()
    story.sql("create table orders (id int primary key, note text)")
    story.sql("insert into orders select n, 'order ' || n from generate_series(1, 300000) n")
    before = story.sql(_COUNT)
    sys.stdout.write(f"rows | checksum: {before}\n")
    say("2 AM. Something hangs; `down -v` “to clean up”. safedocker asks; Enter takes the backup.")
    screen = story.type("docker compose down -v", answer="\r")
    if picture is not None:
        draw(screen, picture)
    say("The volume is really gone.")
    story.type("docker volume ls")
    say("2:02 AM.")
    story.type("safedocker undo")
    story.type("docker compose up -d")
    story.wait_for_database()
    after = story.sql(_COUNT)
    sys.stdout.write(f"rows | checksum: {after}\n")
    story.type("safedocker backups")
    if before != after:
        say(f"NOT the same: {before} before, {after} after.")
        return False
    say(f"Every row is back: {after.split('|', maxsplit=1)[0]} of {ROWS}, and the same checksum.")
    return True


def draw(screen: str, file: Path) -> None:
    """Save what stood on the terminal as a picture."""
    text = _CURSOR.sub("", screen).replace("\r\n", "\n").replace("\r", "")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    console.save_svg(str(file), title="2 AM")


def main() -> int:
    """The whole story, on an engine that lives as long as it."""
    parser = argparse.ArgumentParser(description="Play the 2 AM story on a private engine.")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    failed = engines.install(("20", "26"))
    if failed:
        sys.exit("; ".join(f"{what}: {why}" for what, why in failed.items()))
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        os.environ.pop(variable, None)
    with engines.PrivateEngine("26") as engine:
        if not play(engine, options.picture):
            return 1
    say("Now put it before your own docker:")
    sys.stdout.write(
        "  .venv/bin/safedocker install       # shows what it writes, and asks\n"
        "  .venv/bin/safedocker explain -- docker system prune --volumes\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
