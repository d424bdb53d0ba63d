"""Engines and people of other kinds: users remapped, no right but to the socket."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Shell, until
from tests.engines import PrivateEngine

BACKUP: dict[str, Any] = {"SAFEDOCKER_MODE": "backup"}


@pytest.mark.parametrize("version", ["20", "26"])
@pytest.mark.parametrize("way", ["move", "archive"])
def test_on_an_engine_that_remaps_users_owners_come_back(version: str, way: str, home: Path):
    """Such an engine sends host ids in an archive and takes container ids."""
    with PrivateEngine(version, remapped=True) as engine:
        engine.image("busybox:latest")
        shell = Shell(engine, home)
        shell.out("docker volume create data")
        place = shell.place("data")
        shell.out(
            "docker run --rm -v data:/x busybox sh -c"
            " 'echo kept >/x/file; chown 5:6 /x/file; chown 7:8 /x; chmod 2750 /x'"
        )
        before = owners(place)
        environ: dict[str, Any] = {**BACKUP, "SAFEDOCKER_PROTECT": way}
        if (version, way) == ("26", "archive"):
            assert "owner 7:8 2750" in shell.run("safedocker storage", check=True).stdout

        shell.run("docker volume rm data", check=True, **environ)
        shell.run("safedocker undo", check=True)

        assert owners(shell.place("data")) == before
        until(lambda: not shell.behind())


def owners(place: Path) -> list[tuple[str, int, int, int]]:
    states = [(path.name, path.stat()) for path in (place, place / "file")]
    return [(name, one.st_uid, one.st_gid, one.st_mode) for name, one in states]


def test_who_can_not_see_the_engines_files_moves_as_well(engine26: PrivateEngine, home: Path):
    """A user of the docker group, and one of another machine, have the socket and no more."""
    hide = f"mount -t tmpfs tmpfs {engine26.data_root}"
    with engine26.swept():
        shell = Shell(engine26, home)
        shell.out("docker volume create data")
        place = shell.place("data")
        (place / "file").write_text("kept")
        move: dict[str, Any] = {**BACKUP, "SAFEDOCKER_PROTECT": "move"}

        def hidden(line: str) -> str:
            line = f"{hide} && test ! -e {place} && {line}"
            return shell.run(
                shlex.join(["unshare", "-m", "sh", "-c", line]), check=True, **move
            ).stderr

        assert "moved 1 volume" in hidden("docker volume rm data")
        hidden("safedocker undo")
        assert (shell.place("data") / "file").read_text() == "kept"
        until(lambda: not shell.behind())
