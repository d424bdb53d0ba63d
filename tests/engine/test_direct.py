"""A volume's own folder is taken where it is certain to be the engine's, and in no other case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker.backup.aside import Move
from safedocker.backup.manifest import Consistency
from safedocker.backup.store import FolderStore
from safedocker.backup.take import Stage, keep
from safedocker.edge.engine import Engine
from safedocker.errors import NoBackup
from tests.engine.conftest import ROOT
from tests.engine.test_take import (
    NOW,
    OCCASION,
    Elsewhere,
    address,
    assert_nothing_left,
    keep_all,
    losses,
    make_volume,
)
from tests.engines import PrivateEngine

# In mounts of its own: something else stands where the engine's folder is, also for the proxy.
LOOKS = """
import subprocess, sys
sys.path.insert(0, {root!r})
from safedocker.backup import contents
from safedocker.edge.address import Address
from safedocker.edge.engine import Engine
with subprocess.Popen([sys.executable, {proxy!r}, {listen!r}, {socket!r}], stdout=-1) as proxy:
    proxy.stdout.readline()
    engine = Engine(Address("unix://{listen}", "a test", "default", None, False))
    with engine.folder("data") as folder:
        print("none" if folder is None else "one")
    print(contents.inspect(engine, "data", lambda _done: None).files)
    engine.close()
    proxy.kill()
"""


def look(private: PrivateEngine, copied: Path, over: Path) -> list[str]:
    """What a process sees for which a copy stands over a path."""
    program = LOOKS.format(
        root=str(ROOT),
        proxy=str(Path(__file__).with_name("proxy.py")),
        listen=str(private.folder / "looks.sock"),
        socket=str(private.socket),
    )
    mount = 'mount --bind "$1" "$2" && exec "$3" -c "$4"'
    argv = ("unshare", "-m", "sh", "-ec", mount, "sh", copied, over, sys.executable, program)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("what", ["volumes", "volumes/data/_data", "volumes/other"])
def test_a_copy_that_stands_where_the_engines_folder_is_is_not_taken_for_it(
    engine26: PrivateEngine, tmp_path: Path, what: str
) -> None:
    with engine26.swept():
        place = make_volume(engine26, "data")
        make_volume(engine26, "other")
        subprocess.run(["cp", "-a", engine26.data_root / what, tmp_path / "copy"], check=True)
        (place / "newer").write_text("not in the copy")
        found = look(engine26, tmp_path / "copy", engine26.data_root / what)
        # Another volume's folder is nothing to this one.
        assert found == ["one" if what == "volumes/other" else "none", "3"]
        assert not (tmp_path / "copy/newer").exists()


def test_the_folder_is_given_once_it_is_proven_and_nothing_of_that_stays(
    fresh: PrivateEngine,
) -> None:
    place = make_volume(fresh, "data")
    with Engine(address(fresh)) as engine:
        with engine.folder("data") as folder:
            assert folder is not None
            assert Path(f"/proc/self/fd/{folder}").readlink() == place
        left = fresh.run("docker", "volume", "ls", "-q").stdout.split()
    assert left == ["data"]


def mount_into(private: PrivateEngine, source: Path, target: Path) -> None:
    """Mount a folder as root of the engine's machine would: the engine sees it too."""
    assert private._process
    pid = private._process.pid
    first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    argv = ("nsenter", "--mount", "--target", first, "mount", "--bind", source, target)
    subprocess.run(argv, check=True)


def test_what_a_process_of_the_machine_writes_meanwhile_is_noticed(
    engine26: PrivateEngine, home: Path
) -> None:
    store = FolderStore(home / "backups")
    with engine26.swept(), Engine(address(engine26)) as engine:
        place = make_volume(engine26, "data")
        times = 0

        def write(at: Stage, *_: object) -> None:
            nonlocal times
            if at is Stage.COPY and times:
                with (place / "noise").open("r+b") as file:
                    file.write(os.urandom(9))
                times -= 1

        times = 1000
        with pytest.raises(NoBackup, match=r"in the volume data, noise was changed.*twice") as told:
            keep_all(engine, store, "data", progress=write)
        assert str(place) in told.value.hint
        assert_nothing_left(store)

        times = 1
        (part,) = keep_all(engine, store, "data", progress=write).parts
        assert (part.consistency, part.way) == (Consistency.COLD_CLEAN, "tar")
        assert not [one for one in part.not_kept if "extended attributes" in one]

        times = 1000  # and where a copy of what is in use is allowed, it is called one
        live = keep(losses(engine, "data"), None, engine, store, OCCASION, write, NOW)
        assert live.parts[0].consistency is Consistency.LIVE
        assert live.parts[0].reached == "noise was changed while it was read"


@pytest.mark.parametrize("seen", [Engine, Elsewhere], ids=["its folder", "as it is sent"])
def test_what_is_mounted_in_a_volume_is_not_copied_for_it(
    engine26: PrivateEngine, home: Path, seen: type[Engine]
) -> None:
    store = FolderStore(home / "backups")
    other = home / "other disk"
    other.mkdir()
    (other / "precious").touch()
    with engine26.swept(), seen(address(engine26)) as engine:
        place = make_volume(engine26, "data")
        (place / "a b").mkdir()
        mount_into(engine26, other, place / "a b")
        with pytest.raises(NoBackup, match=r"is mounted .* at a b, .*nothing was removed"):
            keep_all(engine, store, "data")
        assert_nothing_left(store)
        if seen is Engine:
            engine26.image("busybox:latest")
            check_it_stays_where_the_volume_is_aside(engine, place, other)
        else:  # why it is not left out: the engine takes it, too
            assert engine26.run("docker", "volume", "rm", "data", check=False).returncode
            assert not (other / "precious").exists()
        engine26.stop()


def check_it_stays_where_the_volume_is_aside(engine: Engine, place: Path, other: Path) -> None:
    """The volume can be moved with what is mounted in it, and goes for good without that."""
    root, mover = str(place.parents[2]), engine.mover
    move = Move("data", "a-test/1", str(place.stat().st_ino))
    mover.rehearse(root, [move], ["busybox"])
    mover.aside(root, [move])
    assert not place.exists()
    mover.remove(root, [move])
    assert (other / "precious").exists()
