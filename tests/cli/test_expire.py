"""Backups go by a rule or by name; never without somebody who says so, and never a kept one."""

import datetime
import hashlib
import json
import os
import pathlib
import sys
from dataclasses import replace

import pexpect
import pytest

from safedocker.backup import notes, restores
from safedocker.backup.aside import Place
from safedocker.backup.manifest import Stored
from safedocker.backup.restores import Restore
from safedocker.loss.plan import Kind
from tests.cli.test_cli import ROOT, backup, part, place

__all__ = ["place"]  # a fixture

NOW = datetime.datetime.now(datetime.UTC)
ID = "20261123-020400-abcd"


@pytest.fixture
def five(place):
    """Backups of 50, 40, 30, 20 and 10 days ago, the oldest first."""
    days = (50, 40, 30, 20, 10)
    return [
        place.keep(backup(taken_at=NOW - datetime.timedelta(days=age), parts=(part(f"v{age}"),)))
        for age in days
    ]


def left(place):
    return [one.id for one in reversed(place.store.list().backups)]


def audit(place):
    file = place.home / ".local/state/safedocker/audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def at_a_terminal(place, *words):
    return pexpect.spawn(
        sys.executable,
        ["-m", "safedocker", *words],
        env={
            "HOME": str(place.home),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        },
        cwd=str(place.home),
        dimensions=(50, 120),
        encoding="utf-8",
        timeout=60,
    )


RULES = {
    "age": (["--older-than", "25d"], 3),
    "weeks": (["--older-than", "5w"], 2),
    "count": (["--keep-last", "2"], 3),
    "age-but-the-last": (["--older-than", "15d", "--keep-last", "3"], 2),
    "never-the-newest": (["--older-than", "1h"], 4),
    "room-that-is-there": (["--free", "1kB"], 0),
    "more-room-than-there-is": (["--free", "900000TB"], 4),
}


@pytest.mark.parametrize(("words", "gone"), RULES.values(), ids=RULES)
def test_a_rule_takes_the_oldest(place, five, words, gone):
    done = place.call("expire", *words, "--dry-run")
    assert done.returncode == 0
    assert left(place) == [one.id for one in five]
    assert [one.id in done.stdout for one in five] == [True] * gone + [False] * (5 - gone)
    done = place.call("expire", *words, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert left(place) == [one.id for one in five[gone:]]
    if gone:
        assert audit(place)[-1]["backups"] == [one.id for one in five[:gone]]
        assert audit(place)[-1]["form"] == "safedocker-expire"
    else:
        assert "nothing to expire" in done.stdout
    assert ("less than" in done.stdout) == ("900000TB" in words)


def test_the_policy_s_rule_counts_where_none_is_said(place, five):
    assert place.call("expire", "--yes").returncode == 2
    folder = place.home / ".config/safedocker"
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text('[expire]\nolder_than = "35d"\nkeep_last = 1\n')
    assert place.call("expire", "--yes").returncode == 0
    assert left(place) == [one.id for one in five[2:]]


def test_nothing_is_deleted_during_a_freeze(place, five):
    for far in ("999999w", "99999999m"):
        assert place.call("freeze", "--for", far).returncode == 2
    assert place.call("freeze", "--for", "1h", "release").returncode == 0
    done = place.call("expire", "--keep-last", "1", "--yes")
    assert done.returncode == 77
    assert "frozen until" in done.stderr
    assert left(place) == [one.id for one in five]


def test_what_is_kept_or_half_undone_or_elsewhere_stays(place, five):
    assert place.call("keep", five[0].id).returncode == 0
    restores.write(place.store, five[1].id, [Restore("ENGINE", "v40", done=False)])
    done = place.call("expire", "--keep-last", "1", "--yes")
    assert done.returncode == 0
    assert left(place) == [five[0].id, five[1].id, five[4].id]
    assert f"{five[0].id} stays: it is kept" in done.stdout
    assert f"{five[1].id} stays: an undo of it was interrupted" in done.stdout
    assert "kept" in place.call("backups").stdout
    assert place.call("keep", "--off", five[0].id).returncode == 0
    assert place.call("expire", "--keep-last", "1", "--yes").returncode == 0
    assert left(place) == [five[1].id, five[4].id]


def test_a_backup_that_somebody_uses_is_left_and_told(place, five):
    with place.store.reading(five[0].id):
        done = place.call("expire", "--keep-last", "3", "--yes")
    assert done.returncode == 1
    assert f"another process works on the backup {five[0].id}" in done.stderr
    assert left(place) == [five[0].id, *(one.id for one in five[2:])]


NOBODY = {
    "agent-expire": (["expire", "--keep-last", "1", "--yes"], {"CLAUDECODE": "1"}, "an agent"),
    "agent-delete": (["delete", "ID"], {"CLAUDECODE": "1"}, "an agent"),
    "script-expire": (["expire", "--keep-last", "1"], {}, "nobody can be asked"),
    "script-delete": (["delete", "ID"], {}, "nobody can be asked"),
    "ci-delete": (["delete", "ID"], {"CI": "true"}, "nobody can be asked"),
}


@pytest.mark.parametrize(("words", "environ", "sentence"), NOBODY.values(), ids=NOBODY)
def test_s14_backups_are_deleted_by_nobody_but_a_person(place, five, words, environ, sentence):
    before = left(place)
    done = place.call(*(five[0].id if word == "ID" else word for word in words), **environ)
    assert done.returncode == 77
    assert sentence in done.stderr
    assert "Nothing was deleted" in done.stderr
    assert five[0].id in done.stdout, "the preview all the same"
    assert left(place) == before
    assert audit(place)[-1]["outcome"] == "refused"


@pytest.mark.parametrize(
    "typed", ["delete 2 backups", "yes", ""], ids=["the-words", "yes", "enter"]
)
def test_s14_deleting_wants_it_typed_after_a_preview(place, five, typed):
    screen = at_a_terminal(place, "delete", five[0].id, five[1].id)
    screen.expect("v50")
    screen.expect("is the only backup of v50")
    screen.expect("delete 2 backups")
    screen.expect("cancels")
    screen.send(f"{typed}\r" + ("" if typed.startswith("delete") else "\r"))
    screen.expect(pexpect.EOF)
    screen.close()
    if typed.startswith("delete"):
        assert screen.exitstatus == 0
        assert left(place) == [one.id for one in five[2:]]
        assert audit(place)[-1]["outcome"] == "deleted"
    else:
        assert screen.exitstatus == 77
        assert left(place) == [one.id for one in five]
        assert audit(place)[-1]["outcome"] == "cancelled"


def test_s14_a_kept_backup_is_deleted_by_nobody(place, five):
    place.call("keep", five[0].id)
    done = place.call("delete", five[0].id)
    assert done.returncode == 1
    assert f"keep --off {five[0].id}" in done.stderr
    with pytest.raises(Exception, match="is kept"):
        place.store.delete(five[0].id)  # whoever pinned it after the preview
    assert left(place) == [one.id for one in five]


def test_a_damaged_backup_can_be_deleted_by_its_whole_id(place, five):
    pathlib.Path(place.store.where, five[0].id, "manifest.json").write_text("{")
    screen = at_a_terminal(place, "delete", five[0].id)
    screen.expect("delete 1 backup")
    screen.expect("cancels")
    screen.send("delete 1 backup\r")
    screen.expect(pexpect.EOF)
    screen.close()
    assert screen.exitstatus == 0
    assert not pathlib.Path(place.store.where, five[0].id).exists()


BAD = {
    "no-rule": ["expire"],
    "no-age": ["expire", "--older-than", "thirty"],
    "no-size": ["expire", "--free", "10 potatoes"],
    "none-last": ["expire", "--keep-last", "0"],
    "no-ids": ["delete"],
    "both": ["verify", "--all", "2026"],
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
def test_a_rule_that_says_nothing_deletes_nothing(place, five, words):
    assert place.call(*words).returncode == 2
    assert left(place) == [one.id for one in five]


def test_notes_come_back_as_they_were_written_and_a_broken_one_is_none(place):
    made = place.keep(backup())
    check = notes.Check(NOW, (notes.PartCheck("a", notes.Found.DAMAGED, "why"),))
    tried = notes.PartDrill("a", notes.Outcome.CAME_UP, "told", ("log",), {"tables": 3})
    drill = notes.Drill(NOW, "laptop", (tried,))
    notes.write_check(place.store, made.id, check)
    notes.write_drill(place.store, made.id, drill)
    assert notes.read(place.store, made.id) == notes.Notes(check, drill, kept=False)
    for name in ("check.json", "drill.json"):
        file = pathlib.Path(place.store.where, made.id, name)
        assert os.stat(file).st_mode & 0o777 == 0o600
        file.write_text('{"at": 3}')
    assert notes.read(place.store, made.id) == notes.Notes(None, None, kept=False)
    assert place.call("show", made.id).returncode == 0


def test_a_note_that_was_not_finished_is_swept(place):
    made = place.keep(backup())
    half = pathlib.Path(place.store.where, made.id, "check.json.part")
    half.write_text("{")
    place.store.sweep()
    assert not half.exists()


def test_verify_tells_of_each_part_without_an_engine(place):
    good = Stored("context-1.json", 3, hashlib.sha256(b"abc").hexdigest())
    parts = (
        part("known", Kind.CONTEXT, way="context", file=good, inventory=None),
        part("bad"),
        part("newer", way="teleport"),
        part("lost", file=replace(part().file, name="volume-2.tar.zst")),
        part("nfs", way="definition", file=None, inventory=None),
        part("moved", way="move", file=None, inventory=None, aside=Place("/d", f"{ID}/1", 5)),
    )
    made = place.keep(backup(parts=parts))
    pathlib.Path(place.store.where, made.id, "volume-2.tar.zst").unlink()
    (told,) = json.loads(place.run("verify", "--json").stdout)
    assert {one["name"]: one["found"] for one in told["parts"]} == {
        "known": "whole",
        "bad": "damaged",
        "lost": "missing",
        "newer": "not known",
        "nfs": "definition only",
        "moved": "not known",
    }
    assert told["well"] is False
    assert place.run("verify").returncode == 1
    assert "not well: bad, newer, lost, moved" in place.call("backups").stdout


def test_what_stands_aside_on_an_engine_out_of_reach_is_not_forgotten(place, five):
    moved = part("moved", way="move", file=None, inventory=None, aside=Place("/d", f"{ID}/1", 5))
    old = NOW - datetime.timedelta(days=99)
    made = place.keep(backup(parts=(moved,), taken_at=old))
    done = place.run("expire", "--older-than", "60d", "--yes")
    assert done.returncode == 1
    assert made.id in left(place)
    assert "unix:///nonexistent/docker.sock" in done.stderr
    told = place.run("expire", "--free", "900000TB", "--dry-run").stdout
    assert five[0].id in told
    assert made.id not in told, "it takes no room in the store"
