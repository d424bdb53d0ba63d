"""backup, clone, rename on an ordinary day: nobody writes meanwhile, everybody goes on afterwards,
and killed at any moment nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safedocker.backup.aside import Move
from safedocker.backup.clone import clone, rename
from safedocker.backup.rest import Rest
from safedocker.backup.store import Claim, FolderStore
from safedocker.backup.take import silent
from safedocker.edge.engine import Engine
from safedocker.edge.wording_volumes import cloned
from safedocker.errors import NoBackup, SafedockerError
from tests.engine.conftest import HELPER, ROOT, Shell
from tests.engine.test_round_trip import fill, see
from tests.engine.test_take import NOW, OCCASION, Cuts, Elsewhere, Forgets, address
from tests.engines import PrivateEngine

PROJECT = "--label com.docker.compose.project=shop --label com.docker.compose.volume=db"


def make(shell: Shell, name: str, flags: str = "") -> Path:
    """A volume with a little in it; return where that lies."""
    shell.out(f"docker volume create {flags} {name}")
    place = shell.place(name)
    (place / "rows").write_bytes(os.urandom(10_000))
    os.chown(place, 999, 998)
    place.chmod(0o2700)
    return place


def serve(shell: Shell, name: str, flags: str) -> None:
    shell.out(f"docker run -d --name {name} --init {flags} busybox sleep 1000")


def states(shell: Shell) -> dict[str, str]:
    """How the containers are, our own helpers left out."""
    found = [one for one in shell.ask("/containers/json") if HELPER not in one["Labels"]]
    return {one["Names"][0].removeprefix("/"): one["State"] for one in found}


def manifests(shell: Shell) -> list[dict[str, Any]]:
    found = [
        json.loads((shell.store / id_ / "manifest.json").read_text()) for id_ in shell.backups()
    ]
    return sorted(found, key=lambda one: one["taken_at"])


def grades(manifest: dict[str, Any]) -> dict[str, str]:
    return {part["name"]: part["consistency"] for part in manifest["parts"]}


@pytest.fixture
def shell26(engine26: PrivateEngine, home: Path) -> Iterator[Shell]:
    """For what hangs on no engine's version."""
    with engine26.swept():
        yield Shell(engine26, home)


# backup


def test_a_running_container_is_paused_for_the_copy_and_goes_on(shell: Shell) -> None:
    place = make(shell, "data", "--label a=b")
    serve(shell, "web", "-v data:/srv")
    before = see(place)
    done = shell.run("safedocker backup data", check=True)
    (backup,) = manifests(shell)
    assert grades(backup) == {"data": "paused"}
    assert (backup["form"], backup["argv"]) == ("backup", ["safedocker", "backup", "data"])
    assert backup["id"] in done.stdout
    assert "paused" in done.stdout
    assert "10.0 kB in 1 file" in done.stdout
    assert states(shell) == {"web": "running"}
    assert see(place) == before, "a backup takes nothing away"
    assert shell.helpers() == shell.partial() == []
    assert "interrupted" not in shell.run("safedocker backup data", check=True).stderr
    nothing = shell.run("safedocker undo")
    assert nothing.returncode == 1
    assert "before a command" in nothing.stderr, "there is nothing to undo"
    shell.out("docker rm -f web && docker volume rm data")
    shell.run(f"safedocker restore {backup['id'][:18]}", check=True)
    assert see(shell.place("data")) == before
    shell.run(f"safedocker restore {backup['id']} --volume data --as other", check=True)
    assert see(shell.place("other")) == before


def test_with_stop_it_is_started_again_and_not_what_would_be_gone(shell26: Shell) -> None:
    shell = shell26
    for name in ("data", "more", "still"):
        make(shell, name)
    serve(shell, "web", "-v data:/srv")
    serve(shell, "gone", "--rm -v more:/srv")
    serve(shell, "beside", "-v more:/srv")
    serve(shell, "frozen", "-v still:/srv")
    shell.out("docker pause frozen")
    shell.run("safedocker backup --stop data more still", check=True)
    (backup,) = manifests(shell)
    assert grades(backup) == {"data": "cold-clean", "more": "paused", "still": "paused"}
    (more,) = (part["reached"] for part in backup["parts"] if part["name"] == "more")
    assert more == "paused: gone; stopped first: beside (exit code 143)"
    running = dict.fromkeys(("web", "gone", "beside"), "running")
    assert states(shell) == {**running, "frozen": "paused"}


def test_refused_where_that_is_asked_for(shell26: Shell) -> None:
    make(shell26, "data")
    serve(shell26, "web", "-v data:/srv")
    refused = shell26.run("safedocker backup --refuse data")
    assert refused.returncode == 73
    assert "docker stop web" in refused.stderr
    assert (states(shell26), manifests(shell26), shell26.partial()) == ({"web": "running"}, [], [])


def test_what_can_not_be_meant_is_told_and_does_nothing(shell26: Shell) -> None:
    make(shell26, "data")
    make(shell26, "more")
    lines = {
        "backup": "name volumes",
        "backup --all data": "name volumes",
        "backup --stop --pause data": "choose one",
        "backup nothing data": "no volume nothing",
        "backup --project none": "project none",
        "restore": "Missing argument",
        "clone nothing copy": "no volume nothing",
        "clone data more": "volume more already",
        "rename data more": "volume more already",
    }
    for line, told in lines.items():
        refused = shell26.run(f"safedocker {line}")
        assert refused.returncode in {1, 2, 73}
        assert told in refused.stderr
    assert shell26.volumes() == {"data", "more"}
    assert shell26.backups() == shell26.partial() == []


def test_a_project_is_its_volumes_and_what_its_containers_have_without_a_name(
    shell26: Shell,
) -> None:
    make(shell26, "shop_db", PROJECT)
    make(shell26, "other")
    serve(shell26, "shop-web", "--label com.docker.compose.project=shop -v other:/o -v /cache")
    mounts = shell26.ask("/containers/shop-web/json")["Mounts"]
    anonymous = next(one["Name"] for one in mounts if one["Destination"] == "/cache")
    shell26.run("safedocker backup --project shop", check=True)
    (backup,) = manifests(shell26)
    assert set(grades(backup)) == {"shop_db", anonymous}
    assert backup["project"] == "shop"
    assert states(shell26) == {"shop-web": "running"}


def test_all_are_one_backup_a_project_and_one_that_fails_keeps_none_from_it(shell26: Shell) -> None:
    make(shell26, "shop_db", PROJECT)
    make(shell26, "shop_more", PROJECT)
    make(shell26, "busy")
    make(shell26, "data")
    shell26.out("docker volume create nothing")
    serve(shell26, "web", "-v busy:/srv")
    done = shell26.run("safedocker backup --all --refuse")
    assert done.returncode == 73
    assert "docker stop web" in done.stderr
    assert "1 of 3 backups failed" in done.stderr
    assert "nothing (empty)" in done.stdout
    assert sorted(sorted(grades(one)) for one in manifests(shell26)) == [
        ["data"],
        ["shop_db", "shop_more"],
    ]
    shell26.run("safedocker backup --all", check=True)
    assert len(shell26.backups()) == 5


@pytest.fixture
def big(shell26: Shell) -> Shell:
    """A volume that takes a while to copy, and a container that runs with it."""
    with (make(shell26, "data") / "sparse").open("wb") as file:
        file.truncate(700 << 20)
    serve(shell26, "web", "-v data:/srv")
    return shell26


def test_who_rests_goes_on_after_ctrl_c(big: Shell) -> None:
    running = big.begin("safedocker backup data")
    assert running.until("volume-1.tar.zst.part")
    assert states(big) == {"web": "paused"}
    code, _told = running.send(signal.SIGINT).ended()
    assert code == 130
    assert states(big) == {"web": "running"}
    assert big.backups() == big.partial() == big.helpers() == []


def test_after_a_kill_the_next_run_has_them_go_on(big: Shell) -> None:
    running = big.begin("safedocker export data x.tar")
    assert running.until("claim")
    claim = None
    while states(big) != {"web": "paused"} or claim is None:
        claim = next(big.store.glob("2*/claim"), None)
    running.send(signal.SIGKILL).ended()
    assert states(big) == {"web": "paused"}
    told = big.run("safedocker backup --refuse data")
    assert "`safedocker export data x.tar` was interrupted" in told.stderr
    assert "started again: web" in told.stderr
    assert states(big) == {"web": "running"}
    assert big.partial() == big.helpers() == []
    assert not (big.home / "x.tar").exists()


def test_v9_a_running_database_is_dumped_and_its_paused_copy_comes_up(shell26: Shell) -> None:
    shell26.engine.image("postgres:15")
    data = "/var/lib/postgresql/data"

    def ask(container: str, statement: str) -> str:
        asked = ("docker", "exec", container, "psql", "-U", "postgres", "-qtAc", statement)
        deadline = time.monotonic() + 60
        while (done := shell26.run(shlex.join(asked), real=True)).returncode:
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.2)
        return done.stdout.strip()

    shell26.out(f"docker run -d --name db -v data:{data} postgres:15")
    ask("db", "create table rows as select generate_series(1, 20000) as n")
    done = shell26.run("safedocker backup data", check=True)
    (backup,) = manifests(shell26)
    (part,) = backup["parts"]
    assert (part["content"], part["consistency"]) == ("PostgreSQL 15", "paused")
    assert [dump["database"] for dump in part["dumps"]] == ["PostgreSQL"]
    assert "dumped besides: PostgreSQL" in done.stdout
    assert ask("db", "select count(*) from rows") == "20000"
    shell26.run(f"safedocker restore {backup['id']} --as copy", check=True)
    shell26.out(f"docker run -d --name again -v copy:{data} postgres:15")
    assert ask("again", "select sum(n) from rows") == ask("db", "select sum(n) from rows")


# clone


def test_a_clone_is_the_same_but_for_whose_it_is(shell: Shell) -> None:
    place = make(shell, "shop_db", f"{PROJECT} --label note='a b' --label empty=")
    fill(place)
    serve(shell, "web", "-v shop_db:/srv")
    before = see(place)
    done = shell.run("safedocker clone shop_db copy", check=True)
    assert "com.docker.compose.project" in done.stdout
    assert states(shell) == {"web": "running"}
    assert see(shell.place("copy")) == see(place) == before
    assert shell.definition("copy")["Labels"] == {"note": "a b", "empty": ""}
    assert shell.backups() == shell.partial() == shell.helpers() == []


def test_a_clone_of_an_anonymous_volume_is_no_anonymous_one(shell26: Shell) -> None:
    shell26.out("docker run --name one -v /data busybox sh -c 'echo 1 >/data/f'")
    (name,) = shell26.volumes()
    shell26.run(f"safedocker clone {name[:12]} kept", check=True)
    shell26.out("docker rm -v one && docker volume prune -f")
    assert shell26.definition("kept")["Labels"] == {}
    assert (shell26.place("kept") / "f").read_text() == "1\n"


def test_driver_options_are_kept_unless_they_name_the_data(shell26: Shell, tmp_path: Path) -> None:
    shell26.out("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=1m memory")
    shell26.run("safedocker clone memory copy", check=True)
    assert shell26.definition("copy")["Options"] == shell26.definition("memory")["Options"]
    shell26.out(f"docker volume create -o type=none -o o=bind -o device={tmp_path} bound")
    refused = shell26.run("safedocker clone bound again")
    assert refused.returncode == 1
    assert str(tmp_path) in refused.stderr
    assert "again" not in shell26.volumes()


@pytest.mark.parametrize("kind", [Engine, Elsewhere])
def test_a_copy_that_lacks_what_can_not_be_read_says_so(shell26: Shell, kind: type[Engine]) -> None:
    place = make(shell26, "data")
    os.setxattr(place / "rows", "user.note", b"kept")
    store = FolderStore(shell26.store)
    claim = Claim(NOW, ("safedocker", "clone"), "a test")
    with contextlib.closing(kind(address(shell26.engine))) as engine:
        source = engine.volume("data")
        assert source
        copied = clone(source, "copy", Rest.STOP, engine, store, claim, silent)
    if kind is Engine:
        assert copied.notes == ()
        assert os.getxattr(shell26.place("copy") / "rows", "user.note") == b"kept"
    else:
        (note,) = copied.notes
        assert note.startswith("not copied, as it can't be read here: extended attributes")
        assert f"  {note}" in list(cloned(copied))


class Fails(Elsewhere):
    """An engine that fails when the last byte is written."""

    def write_volume(self, name: str, chunks: Iterable[bytes]) -> None:
        super().write_volume(name, chunks)
        raise NoBackup("no space left on device")


class Adds(Elsewhere):
    """An engine that has another file in a volume than was sent."""

    def write_volume(self, name: str, chunks: Iterable[bytes]) -> None:
        super().write_volume(name, chunks)
        volume = self.volume(name)
        assert volume
        (Path(volume.mountpoint) / "rows").write_bytes(b"other")


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Fails, "no space"), (Adds, "bytes expected"), (Forgets, "gave only"), (Cuts, "cut short")],
    ids=["fails", "s17 writes other", "s18 leaves out", "ends early"],
)
def test_a_copy_that_is_not_the_same_is_taken_away_again(
    shell26: Shell, kind: type[Engine], told: str
) -> None:
    before = see(make(shell26, "data"))
    serve(shell26, "web", "-v data:/srv")
    store = FolderStore(shell26.store)
    claim = Claim(NOW, ("safedocker", "clone"), "a test")
    with contextlib.closing(kind(address(shell26.engine))) as engine:
        source = engine.volume("data")
        assert source
        with pytest.raises(SafedockerError, match=told):
            clone(source, "copy", Rest.STOP, engine, store, claim, silent)
    assert shell26.volumes() == {"data"}
    assert see(shell26.place("data")) == before
    assert shell26.running() == {"web"}
    assert store.sweep() == ()
    assert shell26.partial() == shell26.helpers() == []


# rename


def test_a_volume_has_a_new_name_without_a_copy_and_its_old_one_again(shell: Shell) -> None:
    flags = f"{PROJECT} --label com.docker.compose.config-hash=x --label note=b"
    fill(make(shell, "shop_db", flags))
    before, defined = see(shell.place("shop_db")), shell.definition("shop_db")
    inode = shell.place("shop_db").stat().st_ino
    done = shell.run("safedocker rename shop_db db", check=True)
    assert shell.volumes() == {"db"}
    assert see(shell.place("db")) == before
    labels = dict(defined["Labels"])  # type: ignore[call-overload]  # JSON
    del labels["com.docker.compose.config-hash"]
    assert shell.definition("db")["Labels"] == labels
    assert "name: db" in done.stdout
    assert "external: true" in done.stdout
    assert "nothing was copied" in done.stdout
    assert shell.place("db").stat().st_ino == inode
    shell.out("docker volume create shop_db && docker volume create other")
    (shell.place("other") / "mine").write_text("theirs")
    for taken in ("shop_db", "other"):  # defined otherwise; and holding something
        refused = shell.run(f"safedocker rename db {taken}")
        assert (refused.returncode, "already: nothing" in refused.stderr) == (1, True)
    shell.out("docker volume rm shop_db")
    (back,) = (line for line in done.stdout.splitlines() if "old name back" in line)
    shell.run(back.partition(": ")[2], check=True)
    assert see(shell.place("shop_db")) == before
    assert shell.definition("shop_db") == {**defined, "Labels": labels}
    assert shell.backups() == shell.partial() == shell.helpers() == []


class Holds(Engine):
    """An engine that does not let a volume go: a container was made with it just now."""

    def remove_volume(self, name: str) -> None:
        if name == "data":
            raise SafedockerError("volume is in use")
        super().remove_volume(name)


def test_a_rename_that_can_not_be_ended_is_taken_back(shell26: Shell) -> None:
    before = see(make(shell26, "data"))
    store = FolderStore(shell26.store)
    claim = Claim(NOW, ("safedocker", "rename"), "a test")
    with contextlib.closing(Holds(address(shell26.engine))) as engine:
        source = engine.volume("data")
        assert source
        with pytest.raises(SafedockerError, match="in use"):
            rename(source, "db", engine, store, OCCASION, claim, silent)
    assert shell26.volumes() == {"data"}
    assert see(shell26.place("data")) == before
    assert shell26.partial() == shell26.helpers() == []


def test_nothing_is_moved_that_is_not_what_was_looked_at(shell26: Shell) -> None:
    place = make(shell26, "data")
    root, move = str(shell26.engine.data_root), "20260101-000000-aaaa/1"
    with contextlib.closing(Engine(address(shell26.engine))) as engine:
        engine.mover.rehearse(root, [Move("data", move, "{}")], ())
        with pytest.raises(NoBackup, match="moving it aside failed"):
            engine.mover.aside(root, [Move("data", move, "1")])
        with pytest.raises(NoBackup, match="moving it aside failed"):
            engine.mover.into(root, "data", 1, "other")
        engine.mover.remove(root, [Move("data", move)])
    assert (place / "rows").stat().st_size == 10_000


def test_a_volume_of_a_container_keeps_its_name(shell26: Shell) -> None:
    before = see(make(shell26, "data"))
    serve(shell26, "web", "-v data:/srv")
    refused = shell26.run("safedocker rename data db")
    assert refused.returncode == 1
    assert "docker stop web && docker rm web" in refused.stderr
    assert "web (busybox) has it at /srv" in refused.stderr
    shell26.out("docker stop web && docker rm web")
    assert shell26.backups() == []
    shell26.run("safedocker rename data db", check=True)
    assert see(shell26.place("db")) == before


def test_a_reference_is_renamed_by_its_definition(shell26: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("stays")
    shell26.out(f"docker volume create -o type=none -o o=bind -o device={tmp_path} bound")
    shell26.run("safedocker rename bound other", check=True)
    assert shell26.volumes() == {"other"}
    assert shell26.out("docker run --rm -v other:/d busybox cat /d/file") == "stays"


# Killed between what a rename does to the engine: makes one, fills it, removes the other.
DIES = """
import datetime, os, signal, sys
from pathlib import Path
from safedocker.backup import clone, contents
from safedocker.backup.store import Claim, FolderStore
from safedocker.backup.take import silent
from safedocker.edge.address import Address
from safedocker.edge.engine import Engine
from safedocker.edge.mover import Mover
from tests.engine.test_take import NOW, OCCASION
socket, place, moment = sys.argv[1:]
def dying(real, name):
    def step(*words, **more):
        if moment == f"before {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        told = real(*words, **more)
        if moment == f"after {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return told
    return step
Mover._candidates = lambda *_: []  # an engine without an image that could move it
for owner, name in ((Engine, "create_volume"), (contents, "write"), (Engine, "remove_volume")):
    setattr(owner, name, dying(getattr(owner, name), name))
engine = Engine(Address(f"unix://{socket}", "a test", "default", None, False))
claim = Claim(NOW, ("safedocker", "rename", "data", "db"), "a test")
clone.rename(engine.volume("data"), "db", engine, FolderStore(Path(place)), OCCASION, claim, silent)
"""
MOMENTS = (
    "before create_volume",
    "before write",
    "after write",
    "after remove_volume",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_renaming_one_is_whole_and_the_next_run_says_which_is_not(
    shell26: Shell, moment: str
) -> None:
    shell = shell26
    before = see(make(shell, "data"))
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(shell.engine.socket), str(shell.store), moment],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    gone = moment == "after remove_volume"
    assert "data" in shell.volumes() or gone
    whole = "db" if gone else "data"
    assert see(shell.place(whole)) == before
    told = shell.run("safedocker backup nothing").stderr
    assert "`safedocker rename data db` was interrupted" in told
    half = not gone
    assert ("docker volume rm db" in told) == half, "only then db may be half-written"
    assert shell.partial() == shell.helpers() == []
    if not gone:
        shell.out("docker volume rm -f db")
        shell.run("safedocker rename data db", check=True)
    assert see(shell.place("db")) == before
    shell.run("safedocker undo", check=True)
    assert see(shell.place("data")) == before


def dies(shell: Shell, last: int, line: str) -> tuple[int, str]:
    """Run a command of ours until the step; return how it ended, and the step."""
    told = shell.home / "steps"
    told.unlink(missing_ok=True)
    driver = Path(__file__).with_name("dying.py")
    done = subprocess.run(
        [sys.executable, driver, told, str(last), "", "own", str(ROOT), *line.split()],
        env={**shell.environ, "PYTHONPATH": str(ROOT)},
        cwd=shell.home,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode, told.read_text().splitlines()[-1]


LINES = {
    "rename": ("rename data other", {"other"}),
    "clone": ("clone data other", {"data", "other"}),
    "import": ("import x.tar other --overwrite", {"data", "other"}),
}


@pytest.mark.played
@pytest.mark.parametrize(("line", "left"), LINES.values(), ids=LINES)
def test_a_verb_killed_before_every_single_step(shell26: Shell, line: str, left: set[str]) -> None:
    """What was there is there, whole, or in a backup; what is there at the end is whole."""
    shell = shell26
    last, code = 0, -1
    while code:
        last += 1
        before = see(make(shell, "data"))
        shell.run("safedocker export data x.tar", check=True)
        if line.startswith("import"):
            shell.out("docker volume create other")
            (shell.place("other") / "mine").write_text("since")
        if line.startswith("clone"):
            serve(shell, "web", "-v data:/srv")
        code, step = dies(shell, last, line)
        at = f"step {last}: {step}"
        told = shell.run("safedocker backup nothing").stderr
        assert (shell.partial(), shell.helpers()) == ([], []), at
        if line.startswith("clone"):
            assert shell.running() == {"web"}, (at, told)
            shell.out("docker rm -f web")
        if code == 0:
            assert shell.volumes() == left
            assert see(shell.place("other")) == before
        elif line.startswith("rename"):
            there = {"data", "other"} & shell.volumes()
            (whole,) = (one for one in there if (shell.place(one) / "rows").exists())
            assert see(shell.place(whole)) == before, at
            if there == {"data", "other"}:
                assert "type it again" in told, at
            if "data" in there:
                shell.run(f"safedocker {line}", check=True)
            assert shell.volumes() == {"other"}, at
            assert see(shell.place("other")) == before, at
        else:
            assert see(shell.place("data")) == before, at
        other = shell.place("other") if "other" in shell.volumes() else None
        if line.startswith("import") and not (other and (other / "mine").exists()):
            if other:  # what may be half-written is replaced, as its hint says
                shell.out("docker volume rm other")
            backup = next(id_ for id_ in shell.backups())
            shell.run(f"safedocker restore {backup}", check=True)
            assert (shell.place("other") / "mine").read_text() == "since", at
        elif other and code and not line.startswith("import") and see(other) != before:
            assert "docker volume rm other" in told, at
        shell.run("docker volume rm -f data other; rm x.tar", real=True)
        shutil.rmtree(shell.store)
    assert last > 20
