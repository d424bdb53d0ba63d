"""Containers come back: those that hang on others, beside strangers of their name, and after an
undo that ended halfway; what is back, what runs and what is missing is told, and is so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.conftest import Shell

KEEP: Mapping[str, Any] = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_ASK_ABOVE": "0"}


def does(what: str) -> str:
    """A program that ends when it is told to."""
    return f"busybox sh -c 'trap \"exit 0\" TERM; {what}; while :; do sleep 0.05; done'"


MARKS = does("echo m >/etc/mark")


def inspected(shell: Shell, name: str) -> Any:
    return shell.ask(f"/containers/{name}/json")


def id_of(shell: Shell, name: str) -> str:
    return str(inspected(shell, name)["Id"])


def state(shell: Shell) -> str:
    """What the list of backups says of the newest one."""
    return str(json.loads(shell.run("safedocker backups --json", check=True).stdout)[0]["state"])


def marks(shell: Shell, name: str) -> str:
    return shell.out(f"docker cp {name}:/etc/mark - | tar -xO")


def test_containers_that_share_with_others_come_back_after_those(shell: Shell):
    """Of one backup in any order, of an earlier one, and of none: that one is told."""
    shared = "--network container:zbase --pid container:zbase --ipc container:zbase"
    shell.out(f"docker run -d --name zbase --ipc shareable {MARKS}")
    shell.out(f"docker run -d --name actr {shared} {MARKS}")
    shell.out(f"docker run -d --name linked --link zbase:db --volumes-from zbase {MARKS}")
    shell.run("docker rm -f actr linked zbase", check=True, **KEEP)

    shell.run("safedocker undo", check=True)

    assert shell.running() >= {"zbase", "actr", "linked"}
    base = id_of(shell, "zbase")
    host = inspected(shell, "actr")["HostConfig"]
    assert [host[key] for key in ("NetworkMode", "PidMode", "IpcMode")] == [f"container:{base}"] * 3
    assert inspected(shell, "linked")["HostConfig"]["Links"] == ["/zbase:/linked/db"]
    assert state(shell) == "undone"

    # each of a backup of its own: what the earlier one made is found by the id it had
    before = set(shell.backups())
    shell.run("docker rm -f actr", check=True, **KEEP)
    (child,) = set(shell.backups()) - before
    shell.run("docker rm -f zbase", check=True, **KEEP)
    (parent,) = set(shell.backups()) - before - {child}
    gone = shell.run(f"safedocker undo {child}")
    assert gone.returncode == 1
    assert f"shares the network of the container {base[:12]}, which is not there" in gone.stderr
    shell.run(f"safedocker undo {parent}", check=True)
    shell.run(f"safedocker undo {child}", check=True)
    assert {"zbase", "actr"} <= shell.running()
    assert marks(shell, "actr") == "m"


def test_a_container_that_cannot_be_made_or_started_stops_no_other(shell26: Shell):
    shell = shell26
    shell.out("docker network create --subnet 10.213.7.0/24 inner")
    shell.out(f"docker run -d --name ago -p 127.0.0.1:41987:80 {MARKS}")
    shell.out(f"docker run -d --name bad --network inner --ip 10.213.7.9 {MARKS}")
    shell.out(f"docker run -d --name sub --network container:bad {MARKS}")
    shell.out(f"docker run -d --name well {MARKS}")
    shell.run("docker rm -f ago bad sub well", check=True, **KEEP)
    shell.out("docker network rm inner; docker network create --subnet 10.213.8.0/24 inner")
    shell.out("docker run -d --name taker -p 127.0.0.1:41987:80 busybox sleep 1000")

    done = shell.run("safedocker undo")

    assert done.returncode == 1
    assert shell.running() == {"taker", "well"}
    assert "container well: created" in done.stdout
    assert "container ago is there and does not run" in done.stderr
    assert "container bad" in done.stderr
    assert "container sub" in done.stderr
    assert state(shell) == "undo was interrupted: ago, bad, sub are left"

    shell.out("docker rm -f taker; docker network rm inner")
    shell.out("docker network create --subnet 10.213.7.0/24 inner")
    well = id_of(shell, "well")
    again = shell.run("safedocker undo", check=True)
    assert "well: already there; put back by an earlier undo" in again.stdout
    assert shell.running() == {"ago", "bad", "sub", "well"}
    assert (id_of(shell, "well"), state(shell)) == (well, "undone")


def test_a_stranger_of_the_same_name_is_not_taken_for_the_container(shell26: Shell):
    shell = shell26
    shell.out("docker network create --driver bridge n1; docker network create n2")
    shell.out(f"docker run -d --name box --network n1 {MARKS}")
    shell.out("docker network connect --alias two --driver-opt a=b n2 box")
    shell.run("docker rm -f box", check=True, **KEEP)
    shell.run("safedocker undo", check=True)
    networks = inspected(shell, "box")["NetworkSettings"]["Networks"]
    assert networks["n2"]["DriverOpts"] == {"a": "b"}
    again = shell.run("safedocker undo", check=True).stdout
    assert "box: already there; put back by an earlier undo" in again
    assert "compared equal" not in again

    shell.out("docker rm -f box; docker run -d --name box busybox sleep 1000")
    stranger = id_of(shell, "box")
    refused = shell.run("safedocker undo")
    assert refused.returncode == 1
    assert "another container box" in refused.stderr
    assert "--as NEW" in refused.stderr
    assert id_of(shell, "box") == stranger
    shell.run("safedocker undo --as mine", check=True)
    assert marks(shell, "mine") == "m"
    shell.out("docker rm -f box")
    shell.run("safedocker undo", check=True)
    assert marks(shell, "box") == "m"


def test_a_volume_that_was_put_back_is_no_reason_to_leave_the_rest(shell26: Shell):
    """A container that is back writes to it already, and the one after it could not be made."""
    shell = shell26
    shell.out("docker network create --subnet 10.213.9.0/24 inner")
    written = does("echo m >/etc/mark; while :; do date >>/data/rows; sleep 0.05; done")
    shell.out(f"docker run -d --name ap -v /data {written}")
    shell.out(f"docker run -d --name bp --network inner --ip 10.213.9.9 {MARKS}")
    shell.run("docker rm -fv ap bp", check=True, **KEEP)
    shell.out("docker network rm inner; docker network create --subnet 10.213.10.0/24 inner")
    assert shell.run("safedocker undo").returncode == 1
    assert shell.running() == {"ap"}
    shell.out("docker network rm inner; docker network create --subnet 10.213.9.0/24 inner")

    done = shell.run("safedocker undo", check=True)

    assert "already there; put back by an earlier undo, changed since" in done.stdout
    assert "to mount" not in done.stdout
    assert shell.running() == {"ap", "bp"}
    assert state(shell) == "undone"


def test_what_an_undo_left_out_is_known(shell26: Shell):
    shell = shell26
    for name in ("pa", "pb"):
        shell.out(f"docker volume create {name}")
        (shell.place(name) / "file").write_text(name)
    shell.run("docker volume rm pa pb", check=True, SAFEDOCKER_MODE="backup")
    shell.run("safedocker undo --volume pa", check=True)
    assert state(shell) == "partly undone: pb is left"
    (older,) = shell.backups()
    shell.run("docker volume rm pa", check=True, SAFEDOCKER_MODE="backup")
    spared = shell.run("safedocker expire --keep-last 1 --yes", check=True).stdout
    assert f"{older} stays: it is undone only in part, and left is: pb" in spared
    shell.run(f"safedocker undo {older} --volume pb --as other", check=True)
    told = json.loads(shell.run("safedocker backups --json", check=True).stdout)
    assert told[1]["state"] == "undone, pb as other"
    shell.run("safedocker expire --keep-last 1 --yes", check=True)
    assert shell.backups() != [older]


def test_what_was_moved_aside_and_put_back_under_another_name_is_no_loss(shell26: Shell):
    shell = shell26
    for name in ("ma", "mb"):
        shell.out(f"docker volume create {name}")
        (shell.place(name) / "file").write_text(name)
    move: Mapping[str, Any] = {"SAFEDOCKER_MODE": "backup", "SAFEDOCKER_PROTECT": "move"}
    shell.run("docker volume rm ma mb", check=True, **move)
    shell.run("safedocker undo --volume ma --as ma2", check=True)
    assert state(shell) == "partly undone: mb is left"
    verified = shell.run("safedocker verify", check=True).stdout
    assert "ma: aside: it is in the volume ma2" in verified

    done = shell.run("safedocker undo", check=True)

    assert "ma2 (was ma): already there" in done.stdout
    assert (shell.place("mb") / "file").read_text() == "mb"
    assert "ma" not in shell.volumes()
    assert state(shell) == "undone, ma as ma2"
    shell.out("docker volume rm ma2 mb")
    gone = shell.run("safedocker undo")
    assert gone.returncode == 1
    assert "put back as ma2" in gone.stderr


def test_what_a_killed_run_paused_is_told_by_what_it_is_now(shell26: Shell):
    """An engine that starts again ends what was paused."""
    shell = shell26
    names = ("pz", "runs", "ends")
    for name in names:
        shell.out(f"docker run -d --name {name} {MARKS}")
    resting = [{"id": id_of(shell, one), "name": one, "paused": one == "pz"} for one in names]
    shell.out("docker kill pz ends")
    folder = shell.store / "20261101-020304-abcd"
    folder.mkdir(parents=True)
    engine = shell.out("docker info -f '{{.Name}}'")
    lines = (
        {"claim": 1, "id": folder.name, "pid": 1, "at": "2026-11-01T02:03:04+00:00", "argv": []},
        {"engine": engine, "stopping": resting},
    )
    Path(folder, "claim").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = shell.run("docker volume rm nothing").stderr
    assert "docker start pz" in told
    assert "unpause" not in told
    assert "docker start runs" not in told
    assert "started again: ends" in told
    assert shell.running() == {"runs", "ends"}
