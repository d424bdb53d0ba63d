"""Several people on one engine: other people's data is named, and is not theirs to delete. Two uids
through real processes, a log that root has set up, and the real journald."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.people import LOG, PEOPLE, STORES, Machine, shared
from tests.engines import PrivateEngine

SHOP = """\
services:
  web:
    image: busybox
    command: sleep 999
    network_mode: none
    volumes: [db:/db]
volumes: {db: {}}
"""
FILL = "docker run --rm -v {}:/a busybox sh -c 'echo x > /a/file'"
JOURNALD = "/lib/systemd/systemd-journald"


@pytest.fixture(scope="module")
def stand(engine26: PrivateEngine) -> Iterator[Machine]:
    with shared(engine26) as one:
        yield one


@pytest.fixture
def machine(stand: Machine) -> Iterator[Machine]:
    with stand.engine.swept():
        yield stand


@pytest.fixture
def shop(machine: Machine) -> Path:
    """A project of anna's that ran, and holds data."""
    place = machine.home("anna") / "shop"
    if not place.exists():
        machine.project("anna", "shop", SHOP)
    machine.run("anna", "docker compose up -d", check=True, cwd=place)
    fill = "docker compose exec -T web sh -c 'echo x > /db/rows'; docker compose stop -t 0"
    machine.run("anna", fill, check=True, cwd=place)
    return place


def test_v10_s2_a_prune_names_each_owner_and_other_peoples_data_stays(
    machine: Machine, shop: Path
) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    machine.run("bob", FILL.format("mine"), check=True)
    machine.past("docker rm shop-web-1")
    for told in ("SAFEDOCKER_MODE=backup", "CLAUDECODE=1", "A=1"):
        done = machine.run("bob", f"{told} docker volume prune -af")
        assert (done.returncode, done.stdout) == (77, ""), done.stderr
    told = " ".join(done.stderr.split())
    assert "refused (not-yours): data would be lost that is not yours, but anna's" in told
    assert "project shop (anna's)" in told
    assert "attic belongs to anna: made by anna on" in told
    assert "mine belongs" not in told
    assert machine.volumes() == {"shop_db", "attic", "mine"}


def test_s1_s7_another_persons_project_is_not_taken_down_and_its_owner_still_may(
    machine: Machine, shop: Path
) -> None:
    done = machine.run("bob", "docker compose -p shop down -v")
    assert done.returncode == 77
    told = " ".join(done.stderr.split())
    assert (
        "shop_db, shop-web-1 belong to anna: the Compose project is in anna's folder " + str(shop)
        in told
    )
    assert "to have it removed: ask anna, or have root type it at a terminal" in told
    assert "to keep the volumes" not in told, "it is not bob's to stop either"
    agent = machine.run("bob", "docker compose -p shop down -v", CLAUDECODE="1")
    assert agent.returncode == 77
    assert "leave it alone, and say whose it is" in agent.stderr
    screen = machine.terminal("bob", "docker compose -p shop down -v")
    assert screen.ended() == 77, "nobody is asked about what is not theirs"
    assert "What now" not in screen.text
    mine = machine.run("anna", "SAFEDOCKER_MODE=backup docker compose down -v", cwd=shop)
    assert mine.returncode == 0, mine.stderr
    assert "not yours" not in mine.stderr
    assert machine.volumes() == set()


def test_the_home_is_closed_and_still_tells_whose_it_is(machine: Machine, shop: Path) -> None:
    assert machine.run("bob", f"ls {shop}").returncode != 0
    machine.run("root", f"rm -f {LOG}/*", check=True)
    done = machine.run("bob", "docker compose -p shop down -v")
    assert (
        "shop_db, shop-web-1 belong to anna: the Compose project is in anna's folder"
        in " ".join(done.stderr.split())
    )
    assert machine.volumes() == {"shop_db"}


def test_root_is_asked_with_the_owners_name_and_sudo_is_who_typed_it(machine: Machine) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    root = machine.terminal("root", "docker volume rm attic").asked()
    assert "attic belongs to anna: made by anna on" in " ".join(root.text.split())
    root.type("2\r").wait("remove anna's data").type("remove anna's data\r")
    assert root.ended() == 0
    assert machine.volumes() == set()
    machine.run("anna", FILL.format("attic"), check=True)
    own = machine.run("root", "docker volume rm attic", SUDO_UID=str(PEOPLE["anna"]))
    assert own.returncode == 77
    assert "not yours" not in own.stderr
    forged = machine.run("bob", "docker volume rm attic", SUDO_UID=str(PEOPLE["anna"]))
    assert "refused (not-yours)" in forged.stderr, "who is not root is who the kernel says"


def test_policy_may_let_others_be_asked_or_do_it(machine: Machine) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    screen = machine.terminal("bob", "docker volume rm attic", SAFEDOCKER_OTHERS="ask").asked()
    screen.type("\x03")
    assert screen.ended() == 130
    allowed = "SAFEDOCKER_OTHERS=allow SAFEDOCKER_MODE=backup"
    done = machine.run("bob", f"{allowed} docker volume rm attic")
    assert done.returncode == 0, done.stderr
    assert machine.volumes() == set()


@pytest.mark.parametrize("verb", ["rename attic other", "rescue --remove attic"])
def test_our_own_verbs_remove_nothing_of_others_either(machine: Machine, verb: str) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    done = machine.run("bob", f"safedocker {verb}")
    assert (done.returncode, machine.volumes()) == (77, {"attic"}), done.stderr
    assert "not yours, but anna's" in done.stderr
    done = machine.run("anna", f"safedocker {verb}")
    assert done.returncode == 0, done.stderr
    assert "attic" not in machine.volumes()


def test_a_label_says_whose_it_is_where_nothing_else_does(machine: Machine) -> None:
    machine.past("docker volume create --label com.safedocker.owner=anna given")
    machine.past("docker volume create nobodys")
    for name in ("given", "nobodys"):
        machine.past(FILL.format(name))
    given = machine.run("bob", "docker volume rm given")
    assert "given belongs to anna: label com.safedocker.owner=anna" in given.stderr
    free = machine.run("bob", "docker volume rm nobodys")
    assert "refused (nobody-to-ask)" in free.stderr
    assert "not yours" not in free.stderr


def test_each_users_lines_are_theirs_alone_and_hold_no_secrets(machine: Machine) -> None:
    machine.run("root", f"rm -f {LOG}/*", check=True)
    run = "docker run --rm -e PASSWORD=hunter2 -v attic:/a -v /not/here:/b busybox echo hunter2"
    machine.run("anna", run)
    machine.run("anna", "docker volume create attic; docker volume rm attic", check=True)
    uid = PEOPLE["anna"]
    text = machine.run("bob", f"cat {LOG}/{uid}.jsonl", check=True).stdout
    told = [json.loads(line) for line in text.splitlines()]
    assert "hunter2" not in text
    assert {line["outcome"] for line in told if "outcome" in line} == {"refused", "backed up"}
    assert [line["volumes"] for line in told if "mark" in line] == [["attic"]]
    own = (machine.home("anna") / ".local/state/safedocker/audit.jsonl").read_text()
    assert "hunter2" in own, "the person's own audit keeps the words"
    for wrong in (
        f"echo x >> {LOG}/{uid}.jsonl",
        f"rm -f {LOG}/{uid}.jsonl",
        f"mv {LOG}/{uid}.jsonl /tmp/",
    ):
        assert machine.run("bob", wrong).returncode != 0
    # What bob writes of anna under a name of his own choosing is nobody's word.
    lie = json.dumps(
        {
            "mark": 1,
            "at": time.time(),
            "engine": "unix:///run/engine.sock",
            "person": uid,
            "volumes": ["lied"],
            "containers": [],
        }
    )
    machine.run("bob", f"echo {json.dumps(lie)} > {LOG}/9999.jsonl", check=True)
    machine.past("docker volume create lied")
    machine.past(FILL.format("lied"))
    assert "belongs" not in machine.run("root", "docker volume rm lied").stderr


def test_without_a_log_of_the_machines_nothing_of_it_is_made(machine: Machine) -> None:
    machine.run("root", f"mv {LOG} {LOG}-away", check=True)
    try:
        machine.run("anna", FILL.format("attic"), check=True)
        done = machine.run("bob", "docker volume rm attic")
        assert "refused (nobody-to-ask)" in done.stderr
        assert machine.run("root", f"ls {LOG}").returncode != 0
        needed = machine.run(
            "bob", "docker volume rm attic", SAFEDOCKER_JOURNAL="required", SAFEDOCKER_MODE="backup"
        )
        assert needed.returncode == 77
        assert "the machine's log could not be written" in needed.stderr
        assert machine.volumes() == {"attic"}
    finally:
        machine.run("root", f"mv {LOG}-away {LOG}", check=True)


def test_s26_journald_takes_each_decision_and_says_itself_who_sent_it(machine: Machine) -> None:
    if not os.path.exists(JOURNALD):
        pytest.skip("no systemd-journald on this machine")
    conf = "mkdir -p /run/systemd/journal /run/systemd/journald.conf.d; printf " + (
        "'[Journal]\\nAudit=no\\nReadKMsg=no\\n' > /run/systemd/journald.conf.d/own.conf"
    )
    machine.run("root", conf, check=True)
    journald = machine.begin(JOURNALD)
    try:
        _until(machine, "test -S /run/systemd/journal/socket")
        machine.run("anna", FILL.format("attic"), check=True)
        (machine.folder / "cleanup.sh").write_text("docker volume rm attic\nexit 3\n")
        script = f"sh {machine.folder}/cleanup.sh"
        assert machine.run("bob", script, SAFEDOCKER_JOURNAL="required").returncode == 3
        uid = PEOPLE["bob"]
        asked = f"journalctl --no-pager -q -o json SAFEDOCKER_VOLUME=attic _UID={uid}"
        _until(machine, f"{asked} | grep -q .")
        (line,) = map(json.loads, machine.run("root", asked, check=True).stdout.splitlines())
        told = json.loads(line["SAFEDOCKER_LINE"])
        assert line["SAFEDOCKER_OUTCOME"] == told["outcome"] == "refused"
        assert told["parent"] == script, "the script that called is named"
        assert line["MESSAGE"].endswith("docker volume rm attic: refused (attic)")
        off = "journalctl --no-pager -q -o cat -t safedocker | wc -l"
        before = machine.run("root", off).stdout
        machine.run("bob", "docker volume rm attic", SAFEDOCKER_JOURNAL="off")
        assert machine.run("root", off).stdout == before
    finally:
        journald.terminate()
        journald.communicate()
        machine.run("root", "rm -rf /run/systemd", check=True)


def test_a_log_of_the_systems_that_is_away_stops_nothing_unless_policy_says_so(
    machine: Machine,
) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    backup = "SAFEDOCKER_MODE=backup docker volume rm attic"
    done = machine.run("anna", backup, SAFEDOCKER_JOURNAL="required")
    assert done.returncode == 77
    assert "/run/systemd/journal/socket" in done.stderr
    assert machine.volumes() == {"attic"}
    done = machine.run("anna", backup)
    assert (done.returncode, machine.volumes()) == (0, set()), done.stderr


def test_the_machines_store_has_a_closed_folder_for_each_user(machine: Machine) -> None:
    machine.run("anna", FILL.format("attic"), check=True)
    remove = f"SAFEDOCKER_MODE=backup SAFEDOCKER_STORE={STORES} docker volume rm attic"
    machine.run("anna", remove, check=True)
    uid = PEOPLE["anna"]
    listed = machine.run("root", f"stat -c '%u %a' {STORES}/{uid}; ls {STORES}/{uid}/backups")
    assert listed.stdout.startswith(f"{uid} 700\n20")
    assert machine.run("bob", f"ls {STORES}/{uid}").returncode != 0
    machine.run("anna", "safedocker undo", check=True, SAFEDOCKER_STORE=str(STORES))
    assert machine.volumes() == {"attic"}
    # A folder that somebody else has made in anna's name is not hers to use.
    machine.run("root", f"rm -rf {STORES}/{uid}", check=True)
    machine.run("bob", f"mkdir -m 777 {STORES}/{uid}", check=True)
    done = machine.run("anna", remove)
    assert (done.returncode, machine.volumes()) == (77, {"attic"})
    assert "is not yours alone" in done.stderr


def _until(machine: Machine, script: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while machine.run("root", script).returncode:
        assert time.monotonic() < deadline, f"{script}: it never came to be"
        time.sleep(0.1)
