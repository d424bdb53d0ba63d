"""What changed since a backup, entry by entry; and a backup that is read again."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil

import pytest

from tests.engine.conftest import Shell

pytestmark = pytest.mark.engine


ONE = pytest.mark.parametrize("engine", ["26"], indirect=True)


@pytest.fixture
def kept(shell: Shell) -> Shell:
    """A volume that was backed up and is back, and a container that was."""
    shell.environ["SAFEDOCKER_PROTECT"] = "archive"
    shell.out("docker volume create --label a=b data")
    place = shell.place("data")
    for name in ("same", "content", "size", "owner", "mode", "time", "gone", "type"):
        (place / name).write_text(name)
    (place / "odd").symlink_to("t")
    (place / "link").symlink_to("same")
    (place / "folder/deep").mkdir(parents=True)
    os.utime(place / "folder", (1, 86400))
    shell.run("docker volume rm data", check=True, SAFEDOCKER_MODE="backup")
    shell.run("safedocker undo", check=True)
    return shell


def test_diff_says_nothing_changed_then_what_did(kept):
    shell = kept
    done = shell.run("safedocker diff", check=True)
    assert done.stdout == "data: no change; 13 the same\n"
    place = shell.place("data")
    at = (place / "content").stat().st_mtime
    (place / "content").write_text("CONTENT")
    os.utime(place / "content", (at, at))
    (place / "size").write_text("longer")
    os.chown(place / "owner", 7, 8)
    (place / "mode").chmod(0o600)
    os.utime(place / "time", (1, 86400))
    (place / "gone").unlink()
    (place / "type").unlink()
    (place / "type").mkdir()
    (place / "link").unlink()
    (place / "link").symlink_to("other")
    (place / "folder/new\nline").write_text("x")
    (place / "folder/new\\nline").write_text("x")
    (place / os.fsdecode(b"\xff")).write_text("x")
    (place / "odd").unlink()
    (place / "odd").symlink_to(os.fsdecode(b"a\n\xfe"))
    place.chmod(0o700)
    done = shell.run("safedocker diff --volume data --json")
    assert done.returncode == 1
    done.stdout.encode()  # no half of a surrogate, which others read as they like
    assert not re.search(r"\\ud[89a-f]", done.stdout)
    told = json.loads(done.stdout)
    assert told["differs"] is True
    (volume,) = told["volumes"]
    assert (volume["added"], volume["removed"], volume["changed"]) == (3, 1, 10)
    assert volume["same"] == 2
    (raw,) = (one for one in volume["changes"] if "path_base64" in one)
    assert (raw["path"], raw["path_base64"]) == ("\ufffd", base64.b64encode(b"\xff").decode())
    (odd,) = (one["aspects"] for one in volume["changes"] if one["path"] == "odd")
    assert odd["link"] == ["t", "a\n\ufffd"]
    assert base64.b64decode(odd["link_base64"][1]) == b"a\n\xfe"
    changes = {one["path"]: (one["turn"], set(one["aspects"])) for one in volume["changes"]}
    assert list(changes) == sorted(changes)
    assert {changes.pop(name)[0] for name in ("\ufffd", "folder/new\\nline")} == {"added"}
    del changes["odd"]
    assert changes.pop("folder") == ("changed", {"mtime"})
    touched = {name: changes[name][1] - {"mtime"} for name in ("size", "type", "link")}
    assert touched == {"size": {"size"}, "type": {"type", "size", "mode"}, "link": {"link"}}
    assert {name: one for name, one in changes.items() if name not in touched} == {
        "": ("changed", {"mode"}),
        "content": ("changed", {"content"}),
        "owner": ("changed", {"owner"}),
        "mode": ("changed", {"mode"}),
        "time": ("changed", {"mtime"}),
        "gone": ("removed", set()),
        "folder/new\nline": ("added", set()),
    }
    lines = shell.run("safedocker diff").stdout.splitlines()
    assert lines[0] == "data: 3 added, 1 removed, 10 changed; 2 the same"
    assert len(lines) == 15
    assert "  + folder/new\\nline" in lines
    assert "  + folder/new\\\\nline" in lines
    assert "  + \\udcff" in lines
    assert any("link t -> a\\n\\udcfe" in line for line in lines)
    assert "  ~ . (mode 0755 -> 0700)" in lines
    assert "  ~ owner (owner 0:0 -> 7:8)" in lines


@ONE
def test_diff_tells_the_definition_who_runs_and_that_a_volume_is_gone(kept):
    shell = kept
    shell.out("docker volume rm data; docker volume create --label a=c data")
    shell.out("docker run -d --init --name box -v data:/d busybox sleep 1000")
    done = shell.run("safedocker diff --summary")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "data: 12 removed; 1 the same",
        "  box runs with it: it may have changed meanwhile",
        "  ! label a: b -> c",
    ]
    shell.out("docker rm -f box; docker volume rm data")
    done = shell.run("safedocker diff")
    assert (done.returncode, done.stdout) == (1, "data: the volume is gone\n")


@ONE
def test_diff_ends_with_2_where_it_can_not_be_known(kept):
    shell = kept
    assert shell.run("safedocker diff --volume other").returncode == 2
    assert shell.run("safedocker diff -H unix:///nonexistent.sock").returncode == 2
    (file,) = shell.store.glob("*/*.zst")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    done = shell.run("safedocker diff")
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert done.stdout == ""


# verify


@ONE
def test_verify_names_every_part_that_is_not_what_it_was(kept):
    shell = kept
    shell.out("docker run --name box -v more:/m busybox sh -c 'head -c 60000000 /dev/zero >/blob'")
    shell.run("docker rm -v box", check=True, SAFEDOCKER_MODE="backup")
    older, newer = shell.backups()
    assert "database" not in shell.run(f"safedocker verify {newer}", check=True).stdout
    shutil.copytree(shell.store, shell.home / "safe")
    done = shell.run("safedocker verify --all --json", check=True)
    found = {one["id"]: [part["found"] for part in one["parts"]] for one in json.loads(done.stdout)}
    assert found == {newer: ["whole"], older: ["whole"]}
    (layer,) = (shell.store / newer).glob("*.zst")
    whole = layer.read_bytes()
    half = len(whole) // 2
    layer.write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    (shell.store / older / "volume-1.tar.zst").unlink()
    done = shell.run("safedocker verify --all")
    assert done.returncode == 1
    assert f"{newer}: not well\n  box: damaged: " in done.stdout
    assert f"{older}: not well\n  data: missing: volume-1.tar.zst is not there" in done.stdout
    listed = json.loads(shell.run("safedocker backups --json", check=True).stdout)
    assert [one["check"]["well"] for one in listed] == [False, False]
    shown = shell.run(f"safedocker show {older}", check=True).stdout
    assert "volume-1.tar.zst is not there" in shown
    (shell.store / newer / "manifest.json").write_text("{")
    done = shell.run("safedocker verify --all --json")
    assert done.returncode == 1
    assert "can't be read" in json.loads(done.stdout)[-1]["error"]
    layer.write_bytes(whole)
    shutil.copy(shell.home / "safe" / newer / "manifest.json", shell.store / newer)
    assert shell.run(f"safedocker verify {newer}").returncode == 0


@ONE
def test_what_was_moved_aside_is_asked_for_on_its_engine_and_deleted_there(kept):
    shell = kept
    (earlier,) = shell.backups()
    done = shell.run(
        "docker volume rm data", check=True, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="move"
    )
    assert "moved" in done.stderr
    (backup,) = {*shell.backups()} - {earlier}
    told = shell.run(f"safedocker verify {backup}", check=True).stdout
    assert "data: aside: it stands at " in told
    done = shell.run(f"safedocker verify {backup}", DOCKER_HOST="unix:///nonexistent.sock")
    assert done.returncode == 0, "its own engine is asked, wherever docker would go"
    assert shell.run(f"safedocker diff {backup}").returncode == 1
    tried = shell.run(f"safedocker drill {backup}", check=True).stdout
    assert "files compared" in tried
    shell.out("docker volume create data")
    (shell.place("data") / "new").write_text("new")
    changed = shell.run(f"safedocker diff {backup}")
    assert changed.returncode == 1
    assert "new" in changed.stdout
    shell.out("docker volume rm data")
    screen = shell.terminal(f"safedocker delete {backup}")
    screen.wait("on its engine", "delete 1 backup", "cancels").type("delete 1 backup\r")
    assert screen.ended() == 0
    assert shell.backups() == [earlier]
    assert "nothing stands aside" in shell.run("safedocker aside", check=True).stdout
    shell.run(f"safedocker undo {earlier}", check=True)

    shell.run(
        "docker volume rm data", check=True, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="move"
    )
    (backup,) = {*shell.backups()} - {earlier}
    (place,) = (shell.engine.data_root / "safedocker").glob("*/*")
    place.rename(place.with_name("lost"))
    done = shell.run(f"safedocker verify {backup}")
    assert done.returncode == 1
    assert "data: missing: it is not at" in done.stdout
