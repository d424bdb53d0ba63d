"""An engine that is an account's own: its containers' users are others on the host, and what the
host's root has put into a volume is closed to it."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.debian import Unavailable
from tests.engine.people import Machine, shared
from tests.engine.test_round_trip import see
from tests.engine.test_tar_way import see_finely
from tests.rootless import ACCOUNT, RootlessEngine, hindrance

SHOP = """\
services:
  web:
    image: busybox
    command: sleep 999
    init: true
    network_mode: none
    volumes: [data:/data]
volumes: {data: {}}
"""
# Run as the root of the engine's own user namespace: one of everything that can be made there.
FILL = r"""
import os, sys
from pathlib import Path
place = Path(sys.argv[1])
(place / "file").write_text("contents")
os.link(place / "file", place / "same")
(place / "link").symlink_to("nowhere")
os.mkfifo(place / "fifo")
Path(os.fsdecode(os.fsencode(place) + b"/\xff\xfe\nodd")).write_bytes(b"x")
for owner in (1, 999, 65535):
    own = place / f"of-{owner}"
    own.write_text(str(owner))
    os.chown(own, owner, owner)
    own.chmod(0o4600)
capability = bytes.fromhex("0100000200040000000000000000000000000000")
os.setxattr(place / "file", "security.capability", capability)
with (place / "sparse").open("wb") as sparse:
    sparse.truncate(4 << 20)
    sparse.seek(2 << 20)
    sparse.write(b"in the middle")
(place / "deep/er").mkdir(parents=True)
if sys.argv[2:] == ["finely"]:
    os.setxattr(place / "file", "user.note", b"a\0b")
    os.setxattr(place / "of-999", "system.posix_acl_access", bytes.fromhex(
        "020000000100060" "0ffffffff" "02000400d2040000" "04000400ffffffff" "10000400ffffffff"
        "20000000ffffffff"))
    os.utime(place / "fifo", ns=(1, 1_700_000_000_123_456_789))
os.utime(place / "deep", (1, 1_134_567_890))
os.chown(place, 998, 997)
place.chmod(0o2700)
"""


@pytest.fixture(scope="module")
def stand() -> Iterator[Machine]:
    if reason := hindrance():
        pytest.skip(reason)
    try:
        with RootlessEngine() as engine, shared(engine) as machine:
            yield machine
    except Unavailable as fault:
        missing("26", fault)


@pytest.fixture
def machine(stand: Machine) -> Iterator[Machine]:
    with stand.engine.swept():
        yield stand


def environ(machine: Machine, **more: str) -> dict[str, Any]:
    """As `dockerd-rootless-setuptool.sh install` tells people to set it."""
    runtime = str(machine.engine.socket.parent)
    host = f"unix://{machine.engine.socket}"
    return {"XDG_RUNTIME_DIR": runtime, "DOCKER_HOST": host, **more}


def place_of(machine: Machine, volume: str) -> Path:
    return machine.engine.data_root / "volumes" / volume / "_data"


def fill(machine: Machine, volume: str, *how: str) -> Path:
    place = place_of(machine, volume)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.engine.socket))
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid = str(struct.unpack("3i", told)[0])
    argv = ["nsenter", "-U", "-m", "-t", pid, sys.executable, "-c", FILL, str(place), *how]
    subprocess.run(argv, check=True)
    return place


def test_a_project_that_is_taken_down_comes_back_with_all_that_a_file_system_knows(
    machine: Machine,
) -> None:
    shop = machine.project(ACCOUNT, "shop", SHOP)
    told = environ(machine, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="move")
    machine.run(ACCOUNT, "docker compose up -d", check=True, cwd=shop, **told)
    place = fill(machine, "shop_data", "finely")
    before, finely = see(place), see_finely(place)
    assert {one.uid for one in before.values()} >= {5001, 300_000, 300_998, 365_534}
    done = machine.run(ACCOUNT, "docker compose down -v", cwd=shop, **told)
    assert (done.returncode, machine.volumes()) == (0, set()), done.stderr
    assert "moved 1 volume" in done.stderr
    machine.run(ACCOUNT, "safedocker undo", check=True, **told)
    assert (see(place), see_finely(place)) == (before, finely)


def test_root_of_the_machine_gives_back_the_owners_that_the_engine_knows(machine: Machine) -> None:
    """It sees other ids in the volume's folder than the engine does: what it would write there
    itself would have wrong owners."""
    machine.past("docker volume create data")
    place = fill(machine, "data")
    before = see(place)
    told = environ(machine, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="archive")
    done = machine.run("root", "docker volume rm data", **told)
    assert (done.returncode, machine.volumes()) == (0, set()), done.stderr
    machine.run("root", "safedocker undo && safedocker clone data twin", check=True, **told)
    assert see(place) == before == see(place_of(machine, "twin"))


def test_what_the_engine_may_not_read_is_in_no_archive_and_moves(machine: Machine) -> None:
    """The host's root has put it there. An engine leaves out what is in a folder that is closed to
    it, without a word, and breaks off at a file."""
    machine.past("docker volume create data")
    place = place_of(machine, "data")
    (place / "closed").mkdir()
    (place / "closed/of-root").write_text("precious")
    (place / "closed/of-root").chmod(0o600)
    told = environ(machine, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="archive")
    try:
        for mode, why in ((0o755, "cut short"), (0o744, "could not look through all of data")):
            (place / "closed").chmod(mode)
            before = see(place)
            done = machine.run(ACCOUNT, "docker volume rm data", **told)
            assert (done.returncode, see(place)) == (73, before), done.stderr
            assert why in done.stderr
            assert "SAFEDOCKER_PROTECT=move" in done.stderr
        told["SAFEDOCKER_PROTECT"] = "move"
        machine.run(ACCOUNT, "docker volume rm data && safedocker undo", check=True, **told)
        assert see(place) == before
    finally:
        shutil.rmtree(place / "closed")  # the engine may not


def test_where_the_engine_can_not_pause_it_is_told_what_to_do_instead(machine: Machine) -> None:
    own = environ(machine, SAFEDOCKER_MODE="backup")
    if "none" not in machine.run("root", "docker info -f '{{.CgroupDriver}}'", **own).stdout:
        pytest.skip("this engine has control groups, and can pause")
    run = "docker run -d --init --network none -v data:/data {} busybox sleep 999"
    machine.run(ACCOUNT, run.format("--name web"), check=True, **own)
    machine.run(ACCOUNT, "docker exec web sh -c 'echo kept > /data/file'", check=True, **own)
    done = machine.run(ACCOUNT, "safedocker backup data", **own)
    assert done.returncode == 73
    assert "would not pause container web" in done.stderr
    assert "docker stop web" in done.stderr
    machine.run(ACCOUNT, run.format("--rm --name once -v /own"), check=True, **own)
    machine.run(ACCOUNT, "docker exec once sh -c 'echo kept > /own/file'", check=True, **own)
    done = machine.run(ACCOUNT, "docker stop once", **own)
    assert done.returncode == 73
    assert "docker cp once:" in done.stderr
    assert "docker stop once" not in done.stderr.partition("\n")[2]


def test_a_hint_about_owners_is_not_given_where_ids_are_others(machine: Machine) -> None:
    """User 999 of a container is no user 999 of the host's there, and neither is its root."""
    folder = machine.home(ACCOUNT) / "bound"
    folder.mkdir()
    os.chown(folder, 5001, 5001)
    told = "export " + " ".join(f"{key}={value}" for key, value in environ(machine).items())
    run = "docker run --rm --network none --user 999 -v $HOME/bound:/bound busybox true"
    screen = machine.terminal(ACCOUNT, f"{told}; {run}")
    assert screen.ended() == 0
    assert "hint" not in screen.text


def test_by_its_context_it_is_found_and_copied(machine: Machine) -> None:
    machine.past("docker volume create data")
    place = fill(machine, "data")
    before = see(place)
    config = str(machine.home(ACCOUNT) / ".docker")
    told = environ(machine, DOCKER_CONFIG=config, SAFEDOCKER_MODE="backup")
    use = "unset DOCKER_HOST; docker context create rootless --docker host=$HOST >/dev/null && "
    use += "docker context use rootless"
    machine.run(ACCOUNT, use, check=True, HOST=told["DOCKER_HOST"], **told)
    by = "unset DOCKER_HOST; "
    refused = machine.run(ACCOUNT, f"{by} SAFEDOCKER_MODE=deny docker volume rm data", **told)
    assert "(current context rootless)" in " ".join(refused.stderr.split())
    machine.run(ACCOUNT, f"{by} docker volume rm data && safedocker undo", check=True, **told)
    assert see(place) == before
