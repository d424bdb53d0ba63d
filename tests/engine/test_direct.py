"""A volume's own folder is taken where it is certain to be the engine's, and in no other case."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safedocker.edge.engine import Engine
from tests.engine.conftest import ROOT
from tests.engine.test_take import address, make_volume
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
