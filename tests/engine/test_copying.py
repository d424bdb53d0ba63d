"""docker cp: what safedocker says is written over is what is written over, both ways; and a copy
that weighs nothing is let through as if nobody looked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safedocker import shim, survey
from safedocker.edge.engine import Engine
from safedocker.errors import WouldFail
from safedocker.loss.plan import Kind, Plan
from tests.engine.conftest import Shell
from tests.engines import PrivateEngine

# What stands in the containers, and on this machine: "old" where a copy may write over it.
INSIDE = """
rm -rf /srv; mkdir -p /srv/app/sub /srv/empty /vol/app; cd /srv
for f in app/a app/b app/sub/c a /vol/app/a /vol/b; do echo WORD > $f; done
ln -s /srv/app /srv/link; ln -s app/a /srv/to-a
"""
HERE = """
mkdir -p app/sub out/app/sub out/empty
for f in a app/a app/new app/sub/c; do echo new > $f; done
for f in out/a out/app/a out/app/b out/app/sub/c out/other; do echo old > $f; done
ln -s out/app link
"""


@pytest.fixture(scope="module")
def shell(engine: PrivateEngine, open_shell: Callable[[PrivateEngine], Shell]) -> Iterator[Shell]:
    """Two containers, one that runs and one that does not."""
    with engine.swept():
        opened = open_shell(engine)
        for name in ("web", "off"):
            opened.out(
                f"docker run -d --name {name} --init --network none -v /vol busybox sleep 999"
            )
            fill(opened, name, "new")
        opened.out("docker stop -t 0 off")
        yield opened


@pytest.fixture
def here(shell: Shell, tmp_path: Path) -> Path:
    subprocess.run(["sh", "-ec", HERE], cwd=tmp_path, check=True)
    fill(shell, "web", "old")
    return tmp_path


def fill(shell: Shell, name: str, word: str) -> None:
    shell.out(f"docker exec -i {name} sh -e <<'END'\n{INSIDE.replace('WORD', word)}\nEND")


def planned(shell: Shell, command: str, folder: Path) -> Plan | None:
    """What a command would take, as the walk finds it; None where it fails by itself."""
    words = ["--host", f"unix://{shell.engine.socket}", *command.split()[1:]]
    settled = shim.settle(shim.Call("docker", str(shell.engine.docker), words))
    assert settled is not None
    with Engine(shim.address_of(settled)) as engine:
        try:
            return survey.survey(settled, engine)
        except WouldFail:
            return None


def foretold(plan: Plan | None) -> set[str]:
    """The files of the one loss: its name, or those named in it."""
    if plan is None or not plan.losses:
        return set()
    (loss,) = plan.losses
    assert (loss.kind, plan.gaps) == (Kind.FILE, ())
    told = loss.why.partition(" are written over: ")[2]
    return {os.path.join(loss.name, one) for one in told.split(", ")} if told else {loss.name}


def changed_here(folder: Path, before: set[str]) -> set[str]:
    return {path for path in before if "old" not in (folder / path).read_text()}


def old_here(folder: Path) -> set[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)) for path in files if path.read_text() == "old\n"}


def old_inside(shell: Shell) -> set[str]:
    found = "find /srv /vol -type f -exec grep -l old {} +"
    told = shell.out(f"docker exec web sh -c '{found}; true'")
    return {f"web:{path}" for path in told.split()}


COPIES = {
    "file-onto-file": "docker cp a web:/srv/a",
    "file-into-folder": "docker cp a web:/srv",
    "file-new": "docker cp a web:/srv/new",
    "file-into-volume": "docker cp a web:/vol/app",
    "file-through-link": "docker cp a web:/srv/link",
    "file-onto-link": "docker cp a web:/srv/to-a",
    "folder-into-folder": "docker cp app web:/srv",
    "folder-new": "docker cp app web:/srv/empty",
    "contents": "docker cp app/. web:/srv/app",
    "contents-slash": "docker cp app/. web:/srv/app/",
    "contents-volume": "docker cp app/. web:/vol/app",
    "folder-onto-file": "docker cp app web:/srv/a",
    "nothing-there": "docker cp nosuch web:/srv",
    "no-such-parent": "docker cp a web:/nosuch/x",
    "out-file": "docker cp web:/srv/a out",
    "out-file-onto-file": "docker cp web:/srv/app/a out/other",
    "out-relative": "docker cp web:srv/a ./out/",
    "out-folder": "docker cp web:/srv/app out",
    "out-contents": "docker cp web:/srv/app/. out/app",
    "out-new": "docker cp web:/srv/app out/empty",
    "out-link": "docker cp web:/srv/app/. link",
    "out-nothing": "docker cp web:/nosuch out",
    "out-follow": "docker cp -L web:/srv/to-a out/a",
    "out-of-a-stopped-one": "docker cp off:/srv/app out",
    "out-volume": "docker cp off:/vol/app out",
    "stream-out": "docker cp web:/srv/app -",
    "both-here": "docker cp a out",
    "unknown": "docker cp nosuch:/srv out",
}


@pytest.mark.parametrize("name", COPIES)
def test_what_is_foretold_is_written_over(name, shell, here, monkeypatch):
    monkeypatch.chdir(here)
    if name.startswith("out"):  # what stands here is to differ from what comes
        fill(shell, "web", "new")
    before, inside = old_here(here), old_inside(shell)
    plan = planned(shell, COPIES[name], here)
    told = foretold(plan)
    done = shell.run(COPIES[name], real=True, cwd=here)
    if plan is None:
        assert done.returncode != 0
    written = changed_here(here, before) | (inside - old_inside(shell))
    real = {one if ":" in one else os.path.relpath(os.path.realpath(one), here) for one in told}
    assert {one.replace("/srv/link/", "/srv/app/") for one in real} == written


def test_many_files_are_counted_in_one_loss(shell, here, monkeypatch):
    monkeypatch.chdir(here)
    for number in range(100):
        (here / "app" / f"f{number}").write_text("new")
    shell.out("docker exec web sh -c 'for i in $(seq 0 89); do echo old > /srv/app/f$i; done'")
    plan = planned(shell, "docker cp app web:/srv", here)
    assert plan is not None
    (loss,) = plan.losses
    assert (loss.name, loss.size) == ("web:/srv/app", 92 * 4)
    assert loss.why.startswith("92 files in it are written over: ")


def test_a_database_under_the_copy_is_named_and_a_person_asked(shell, here):
    shell.out("docker exec web sh -c 'echo old > /vol/dump.rdb'")
    (here / "dump.rdb").write_text("new")
    screen = shell.terminal("docker cp dump.rdb web:/vol", cwd=here)
    screen.asked().type("\r")
    assert screen.ended() == 77
    assert "Redis" in screen.text
    assert shell.out("docker exec web cat /vol/dump.rdb") == "old"
    assert shell.run("docker cp dump.rdb web:/vol", cwd=here).returncode == 0  # nobody to ask
    assert shell.out("docker exec web cat /vol/dump.rdb") == "new"


def test_light_copies_and_streams_pass_as_they_are(shell, here):
    for command in (
        "docker cp a web:/srv/a",
        "tar c a | docker cp - web:/srv",
        "docker cp web:/srv/a - | tar t",
    ):
        by_shim, real = shell.run(command, cwd=here), shell.run(command, cwd=here, real=True)
        assert (
            (by_shim.returncode, by_shim.stdout)
            == (real.returncode, real.stdout)
            == (0, real.stdout)
        )
        assert by_shim.stderr.replace("\r", "") == real.stderr.replace("\r", "")
