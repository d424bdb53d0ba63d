"""Random sequences of dangerous commands in mode backup, then an undo of each, the last one first:
the engine's volumes end as they began.

SAFEDOCKER_WALKS says how many walks each engine gets; each is drawn from its own number alone.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from tests.engine.conftest import Shell
from tests.engine.test_round_trip import Seen, see

WALKS = int(os.environ.get("SAFEDOCKER_WALKS", "2"))  # read before conftest.py clears it
STEPS = 7
LEFT_ALONE = {69, 73, 77}  # exit codes with which nothing was removed

COMPOSE = """
services:
  web:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data, logs:/logs, /scratch]
volumes:
  data: {labels: {com.example.note: "ü b=c"}}
  logs:
"""
SETUP = """
docker volume create --label a=b one
docker volume create two
docker volume create void
docker volume create --opt type=none --opt o=bind --opt device=$HOME/elsewhere reference
docker create --name created -v /anon -v two:/two busybox
docker run -d --init --name runs -v /anon -v one:/one busybox sleep 1000
docker run -d --init --rm --name ends -v /anon busybox sleep 1000
docker run --name done -v /anon busybox true
"""
COMMANDS = (
    "docker volume rm one",
    "docker volume rm -f two void nosuch",
    "docker volume rm reference",
    "docker volume rm $(docker volume ls -q)",
    "docker volume prune -f",
    "docker volume prune -f --filter label=a=b",
    "{prune_all}",
    "docker system prune -f --volumes",
    "docker system prune -f",
    "docker container prune -f",
    "docker rm -v created done",
    "docker rm done",
    "docker container rm --volumes=true done runs",
    "docker rm -fv runs",
    "docker rm -f runs created",
    "docker stop -t 0 ends",
    "docker kill ends",
    "docker rm -fv ends",
    "{compose} -p shop rm -fsv",
    "{compose} -p shop down -v",
    "{compose} -p shop down",
    # What comes back under an old name, with other contents.
    "REAL docker volume inspect one >/dev/null 2>&1 || { docker volume create one && "
    "echo later >$(docker volume inspect -f {{.Mountpoint}} one)/f; }",
    "REAL docker volume create two",
)

World = dict[str, tuple[dict[str, object], dict[bytes, Seen]]]


def grow(place: Path, draw: random.Random) -> None:
    """Fill a volume with a few files, folders and links of any owner and mode."""
    for number in range(draw.randrange(1, 6)):
        path = place / f"n{number}"
        match draw.randrange(4):
            case 0:
                path.symlink_to(f"../n{draw.randrange(6)}")
            case 1:
                (path / "in").mkdir(parents=True)
                (path / "in" / "leaf").write_bytes(draw.randbytes(draw.randrange(3000)))
            case _:
                path.write_bytes(draw.randbytes(draw.randrange(3000)))
        os.chown(path, draw.randrange(2000), draw.randrange(2000), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(draw.choice((0o600, 0o644, 0o755, 0o1777, 0o2750, 0)))
    os.chown(place, draw.choice((0, 999)), draw.choice((0, 999)))
    place.chmod(draw.choice((0o755, 0o700, 0o2770)))


def world(shell: Shell) -> World:
    """Every volume: how it is defined and what is in it."""
    return {name: (shell.definition(name), see(shell.place(name))) for name in shell.volumes()}


def others(shell: Shell) -> tuple[set[str], set[str]]:
    """The containers, and those that run."""
    return {one["Id"] for one in shell.ask("/containers/json")}, shell.running()


def set_up(shell: Shell, draw: random.Random) -> None:
    (shell.home / "elsewhere").mkdir()
    (shell.home / "elsewhere" / "file").write_text("stays")
    header = 'version: "2.4"\n' if shell.engine.version == "20" else ""
    (shell.home / "docker-compose.yml").write_text(header + COMPOSE)
    shell.out(f"set -e\n{SETUP}{shell.compose} -p shop up -d")
    for name in sorted(shell.volumes() - {"void", "reference"}):
        if draw.randrange(5):
            grow(shell.place(name), draw)


@pytest.mark.parametrize("number", range(WALKS))
def test_a_walk_that_is_undone_ends_where_it_began(shell, number):
    draw = random.Random(number)  # noqa: S311 - for tests
    set_up(shell, draw)
    began = world(shell)
    walked = []
    for line in draw.sample(COMMANDS, STEPS):
        line = line.replace("{compose}", shell.compose).replace(
            "{prune_all}",
            "docker volume prune -f" + ("" if shell.engine.version == "20" else " -a"),
        )
        walked.append(line)
        if line.startswith("REAL "):
            shell.run(line.removeprefix("REAL "), real=True)
            continue
        told = " && ".join(walked)
        before, around, kept = world(shell), others(shell), set(shell.backups())
        done = shell.run(line, SAFEDOCKER_MODE="backup")
        after = world(shell)
        assert done.returncode not in {70, 78}, f"{told}:\n{done.stderr}"
        assert shell.helpers() == [], told
        held: set[str] = set()
        for backup in set(shell.backups()) - kept:
            held |= parts(shell, backup)
        deadline = time.monotonic() + 5  # what is started with --rm goes a little later
        while not done.returncode and before.keys() - after.keys() < held:
            assert time.monotonic() < deadline, f"{told}: foretold, and still there"
            after = world(shell)
        gone = before.keys() - after.keys()
        assert gone <= held, f"{told}: gone without a backup"
        assert {name: after[name] for name in after} == {name: before[name] for name in after}, told
        if done.returncode in LEFT_ALONE:
            assert (after, others(shell), held) == (before, around, set()), told
    told = " && ".join(walked)
    for backup in reversed([str(line["backup"]) for line in shell.audit() if line["backup"]]):
        done = shell.run(f"safedocker undo {backup} --overwrite")
        assert done.returncode == 0, f"{told}: {done.stderr}"
    ended = world(shell)
    assert {name: ended.get(name) for name in began} == began, told
    assert ended.keys() == began.keys(), told
    assert (shell.home / "elsewhere" / "file").read_text() == "stays"


def parts(shell: Shell, backup: str) -> set[str]:
    """The volumes that a backup holds."""
    manifest = json.loads((shell.store / backup / "manifest.json").read_text())
    return {part["name"] for part in manifest["parts"] if part["kind"].endswith("volume")}
