"""`safedocker storage`: every place, and for each what a real docker then leaves of it."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from safedocker import whereabouts
from safedocker.backup.store import FolderStore
from safedocker.edge.engine import Engine
from safedocker.edge.wording_places import size
from safedocker.loss import places
from safedocker.loss.places import Ending, Fate, Sort
from safedocker.loss.storage import Spot
from tests.engine.conftest import ROOT, Shell
from tests.engine.test_take import address
from tests.engines import PrivateEngine, UnixConnection

SCHEMA = Draft202012Validator(json.loads((ROOT / "safedocker/storage.schema.json").read_text()))

# Named, anonymous, shared, in memory, on the host; of what stopped, of what runs, of nobody.
STATE = """
docker volume create lone; docker volume create named
docker create --name gone -v /x busybox; docker rm gone
docker create --name box -v named:/n -v /anon -v {home}/host:/b:ro --tmpfs /t:size=1m busybox
docker create --name pair -v /p busybox
docker create --name friend --volumes-from pair busybox
docker run -d --init --name runs -v /live --tmpfs /t busybox sleep 1000
"""
# What labels alone do not tell: a volume that is external, one that the file names and that is
# nobody's by its label, one in use elsewhere, one that no service mounts; and left in the engine
# are a service that the file no longer has, a container of `run`, a volume handed on to the next.
COMPOSE = """
services:
  db:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    network_mode: none
    volumes: ["data:/d", "theirs:/t", "plain:/p", "shared:/s", "/anon"]
  old:
    image: busybox
    network_mode: none
    volumes: ["olddata:/d", "/anon"]
volumes:
  data: {}
  olddata: {}
  shared: {}
  spare: {}
  plain: {name: plain}
  theirs: {external: true}
version: "2.4"
"""


def spots(shell: Shell, asked: str = "", seconds: float = 4.0) -> tuple[Spot, ...]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Engine(address(shell.engine)) as engine,
    ):
        for name in ("PATH", "DOCKER_HOST", "DOCKER_CONFIG"):
            patch.setenv(name, shell.bare[name])
        found, _prunes = whereabouts.look_at(engine, FolderStore(shell.store), asked, seconds)
    return found.spots


def compare(
    shell: Shell,
    predicted: tuple[Spot, ...],
    ending: Ending,
    sure: bool = True,
    something: bool = True,
) -> None:
    """What was predicted of each place is what is left now."""
    volumes, containers = shell.volumes(), shell.ask("/containers/json")
    ids = {one["Id"] for one in containers}
    had = {mount.get("Name") for one in containers for mount in one["Mounts"]}
    seen: dict[str, Fate] = {}
    for spot in predicted:
        if ending not in spot.fates:
            continue
        fate, place = spot.fates[ending], spot.place
        name = f"{ending.value}: {place.sort.value} {place.source or ''} {place.target}"
        if place.volume is not None:
            now = Fate.STAYS if place.source in volumes else Fate.GOES
            if now is Fate.STAYS and place.sort is Sort.ANONYMOUS and spot.container:
                now = now if place.source in had else Fate.LEFT
        elif place.sort in {Sort.LAYER, Sort.TMPFS} and spot.container:
            now = Fate.STAYS if spot.container.id in ids else Fate.GOES
        else:
            now = Fate.STAYS
        seen[name] = now
        if fate is not Fate.UNKNOWN or sure:
            assert fate is now, name
    assert bool(set(seen.values()) - {Fate.STAYS}) is something, "did anything go?"


@pytest.mark.parametrize("ending", [Ending.RM, Ending.RM_VOLUMES], ids=lambda one: one.value)
def test_v11_what_survives_a_container_is_what_the_real_rm_leaves(
    shell: Shell, ending: Ending
) -> None:
    shell.out(STATE.format(home=shell.home))
    for name in ("box", "pair", "runs"):
        predicted = spots(shell, name)
        shell.out(f"docker {ending.value} -f {name}")
        compare(shell, predicted, ending)


@pytest.mark.parametrize(
    "ending",
    [*places.PRUNES],
    ids=lambda one: one.value,
)
def test_v15_what_survives_a_prune_is_what_the_real_one_leaves(
    shell: Shell, ending: Ending
) -> None:
    """Before API 1.42 named volumes go without --all, and --all is refused."""
    old = shell.engine.version == "20"
    shell.out(STATE.format(home=shell.home))
    predicted = spots(shell)
    named = next(spot for spot in predicted if spot.place.source == "lone")
    takes = {Ending.VOLUME_PRUNE: old, Ending.SYSTEM_PRUNE_VOLUMES: old}
    goes = takes.get(ending, ending is Ending.VOLUME_PRUNE_ALL and not old)
    assert named.fates[ending] is (Fate.GOES if goes else Fate.STAYS)
    done = shell.run(f"docker {ending.value} -f", real=True)
    refused = old and ending is Ending.VOLUME_PRUNE_ALL
    assert (done.returncode != 0) is refused
    compare(shell, predicted, ending, something=not refused)


@pytest.mark.parametrize("ending", places.DOWNS, ids=lambda one: one.value)
def test_v15_what_survives_a_project_is_what_the_real_down_leaves(
    shell: Shell, ending: Ending
) -> None:
    folder = shell.home / "shop"
    folder.mkdir()
    file = folder / "docker-compose.yml"
    file.write_text(COMPOSE)
    shell.out("docker volume create theirs; docker volume create plain")
    shell.out(f"{shell.compose} up --no-start", cwd=folder)
    shell.out(f"{shell.compose} run -T --name once db true", cwd=folder)
    shell.out("docker create --name user -v shop_shared:/s busybox")
    changed = COMPOSE[: COMPOSE.index("  old:")] + COMPOSE[COMPOSE.index("volumes:\n  data") :]
    file.write_text(changed.replace("command: sleep 1000", "command: sleep 1001"))
    shell.out(f"{shell.compose} up --no-start", cwd=folder)
    predicted = spots(shell, "shop", seconds=30)
    assert {spot.place.sort for spot in predicted} == {Sort.NAMED, Sort.ANONYMOUS, Sort.LAYER}
    shell.run(f"{shell.compose} {ending.value}", cwd=folder, real=True)
    # v1 ends at the first volume that is in use, and nobody knows its order.
    stuck = shell.engine.version == "20" and ending is Ending.DOWN_VOLUMES
    unsure = {s.place.source for s in predicted if s.fates.get(ending) is Fate.UNKNOWN}
    assert unsure == ({"shop_data", "shop_spare", "plain"} if stuck else set())
    compare(shell, predicted, ending, sure=not stuck)


def test_v15_without_its_files_a_project_is_told_by_labels_and_what_they_do_not_tell_is_unknown(
    shell: Shell,
) -> None:
    folder = shell.home / "shop"
    folder.mkdir()
    file = folder / "docker-compose.yml"
    file.write_text(COMPOSE)
    shell.out("docker volume create theirs; docker volume create plain")
    shell.out(f"{shell.compose} up --no-start", cwd=folder)
    file.rename(folder / "moved.yml")
    predicted = spots(shell, "shop")
    unsure = {s.place.source for s in predicted if s.fates.get(Ending.DOWN_VOLUMES) is Fate.UNKNOWN}
    assert unsure == {"theirs", "plain"}
    shell.out(f"{shell.compose} -f moved.yml down -v", cwd=folder)
    compare(shell, predicted, Ending.DOWN_VOLUMES, sure=False)


def told(shell: Shell, words: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        shell.run(f"safedocker storage --json {words}", check=True).stdout
    )
    SCHEMA.validate(found)
    return found


def test_v15_storage_of_a_container_names_each_place_with_size_owner_and_backup(
    shell26: Shell,
) -> None:
    """All four places, one of them a folder of the host, in one command."""
    host = shell26.home / "host"
    host.mkdir(mode=0o750)
    (host / "notes").write_bytes(bytes(3000))
    os.chown(host, 12, 34)
    shell26.out(STATE.format(home=shell26.home))
    data = shell26.place("named")
    (data / "PG_VERSION").write_text("15\n")
    (data / "global").mkdir()
    os.chown(data, 999, 998)
    data.chmod(0o700)
    shell26.run("safedocker backup named", check=True)
    (backup,) = shell26.backups()
    found = {one["target"]: one for one in told(shell26, "box")["places"]}
    assert set(found) == {"/n", "/anon", "/b", "/t", "/"}
    named, memory = found["/n"], found["/t"]
    assert (named["kind"], named["content"], named["bytes"]) == ("named volume", "PostgreSQL 15", 3)
    assert named["owner"] == {"uid": 999, "gid": 998, "mode": "0700"}
    assert named["last_backup"]["id"] == backup
    assert found["/anon"]["kind"] == "anonymous volume"
    assert found["/anon"]["last_backup"] is None
    assert (memory["kind"], memory["limit_bytes"]) == ("tmpfs", 1 << 20)
    bind = found["/b"]
    assert (bind["kind"], bind["bytes"], bind["read_only"]) == ("bind mount", 3000, True)
    assert bind["owner"] == {"uid": 12, "gid": 34, "mode": "0750"}
    assert found["/"]["kind"] == "writable layer"
    text = " ".join(shell26.run("safedocker storage box", check=True).stdout.split())
    for word in ("PostgreSQL 15", backup, "999:998 0700", "left behind", "memory, up to 1.0 MB"):
        assert word in text
    assert shell26.helpers() == []


def test_v15_storage_of_the_engine_is_a_tree_with_what_freeing_would_cost(shell26: Shell) -> None:
    shell26.out(STATE.format(home=shell26.home))
    label = "--label com.docker.compose.project=shop"
    shell26.out(f"docker volume create {label} shop_db; docker create {label} --name web busybox")
    (shell26.place("lone") / "dump.rdb").write_bytes(bytes(5000))
    everything = told(shell26)
    assert {one["project"] for one in everything["places"]} == {"shop", None}
    assert everything["images_bytes"] > 1000
    text = shell26.run("safedocker storage", check=True).stdout
    assert text.index("project shop") < text.index("no project")
    assert "lost for good: lone: Redis" in text
    lone = next(one for one in everything["places"] if one["source"] == "lone")
    assert (lone["survives"]["volume prune"], lone["container"]) == ("stays", None)
    shell26.run("safedocker storage --html page.html", check=True)
    page = (shell26.home / "page.html").read_text()
    assert page.count("<svg") == 2
    assert not re.search(r"<script|https?://|url\(|@import", page)
    assert "lone" in page
    done = shell26.run("safedocker storage nosuch")
    assert (done.returncode, "no container, service or project nosuch" in done.stderr) == (1, True)


def test_with_a_thousand_volumes_storage_ends_in_time_and_says_what_it_did_not_see(
    engine26: PrivateEngine, home: Path
) -> None:
    with engine26.swept():
        shell = Shell(engine26, home)
        connection = UnixConnection(engine26.socket)
        for number in range(1000):
            body = json.dumps({"Name": f"v{number:04}"})
            connection.request(
                "POST", "/volumes/create", body, {"Content-Type": "application/json"}
            )
            assert connection.getresponse().read()
        connection.close()
        for number in range(0, 1000, 100):
            (shell.place(f"v{number:04}") / "file").write_bytes(bytes(1000))
        started = time.monotonic()
        found = spots(shell)
        assert time.monotonic() - started < 20
        assert len(found) == 1000
        assert all(spot.look.size in {1000, None} for spot in found if spot.look.content)
        unseen = [spot for spot in spots(shell, seconds=0.05) if spot.look.size is None]
        assert unseen
        assert {size(spot.look) for spot in unseen} == {"unknown"}
