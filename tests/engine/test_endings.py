"""How a dangerous command ends that does not run: each exit says why, leaves one line in the audit,
and is one JSON object for who asked for that."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.engine.conftest import ROOT, Shell

REFUSAL = Draft202012Validator(json.loads((ROOT / "safedocker/refusal.schema.json").read_text()))
RM = "docker volume rm data"
BACKUP = "SAFEDOCKER_MODE=backup"


@pytest.fixture
def shell(shell26: Shell) -> Shell:
    """With a volume that holds data."""
    shell26.out("docker volume create data")
    (shell26.place("data") / "rows").write_text("seven\n")
    return shell26


def a_policy(shell: Shell, text: str) -> None:
    file = shell.home / ".config/safedocker/policy.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def a_full_store(shell: Shell) -> str:
    """No room for one byte."""
    full = "mount -t tmpfs -o size=4k,nr_inodes=2 none"
    shell.store.mkdir(parents=True, exist_ok=True)
    return f"{BACKUP} unshare --mount sh -c '{full} {shell.store} && exec {RM}'"


def a_bug(shell: Shell) -> str:
    """A copy of the program with a fault in it, for these shims alone."""
    copy = shell.home / "copy"
    shutil.copytree(ROOT / "safedocker", copy / "safedocker")
    with (copy / "safedocker/survey/__init__.py").open("a") as file:
        file.write("\ndef survey(*_):\n    raise ValueError('planted')\n")
    for name in ("docker", "docker-compose"):
        shim = shell.home / "shims" / name
        shim.write_text(shim.read_text().replace(f"sd_root={ROOT}\n", f"sd_root={copy}\n"))
    return RM


def a_broken_policy(shell: Shell) -> str:
    a_policy(shell, "mode = \n")
    return RM


def a_denying_policy(shell: Shell) -> str:
    a_policy(shell, 'mode = "deny"\n')
    return RM


def a_store_that_is_gone(shell: Shell) -> str:
    a_policy(shell, 'store = "/nonexistent/store"\n')
    return RM


# Each way to end: the line that ends so, its exit code, and its reason's code.
ENDS: dict[str, tuple[Callable[[Shell], str], int, str]] = {
    "nobody-to-ask": (lambda _: RM, 77, "nobody-to-ask"),
    "mode-deny": (a_denying_policy, 77, "mode-deny"),
    "engine-unreachable": (lambda _: f"docker -H unix:///nowhere.sock {RM[7:]}", 69, "no-engine"),
    "backup-failed": (a_full_store, 73, "no-backup"),
    "store-gone": (a_store_that_is_gone, 77, "refused"),
    "bad-policy": (a_broken_policy, 78, "bad-policy"),
    "bad-variable": (lambda _: f"SAFEDOCKER_MODE=sometimes {RM}", 78, "bad-policy"),
    "a-bug": (a_bug, 70, "bug"),
}


@pytest.mark.parametrize("end", ENDS)
def test_each_end_leaves_one_line_and_is_one_object(shell, end):
    prepare, code, reason = ENDS[end]
    line = prepare(shell)
    for form in ("text", "json"):
        done = shell.run(line, SAFEDOCKER_FORMAT=form, CI="true")
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert "data" in shell.volumes()
        *before, written = shell.audit()
        assert len(before) == (form == "json"), "one line a command"
        assert (written["outcome"], written["rule"]) == ("refused", reason)
        assert written["argv"][0] == "docker"
        assert written["argv"][-3:] == ["volume", "rm", "data"]
        assert (written["caller"], written["form"]) == ("ci", "volume-rm")
        assert written["because"]
        if form == "json":
            told = json.loads(done.stderr)
            REFUSAL.validate(told)
            assert (told["code"], told["exit_code"]) == (reason, code)
        else:
            assert done.stderr.startswith("safedocker: ")
            assert "othing was removed" in done.stderr
    assert (written["engine"] or "").startswith("unix://") or reason in {"bug", "bad-policy"}
    told = shell.run("safedocker log", check=True).stdout
    assert f"refused ({reason})" in told


def test_a_bug_tells_programs_where_its_report_is(shell):
    done = shell.run(a_bug(shell), SAFEDOCKER_FORMAT="json")
    told = json.loads(done.stderr)
    assert "ValueError: planted" in told["message"]
    (report,) = (shell.home / ".local/state/safedocker").glob("bug-*.txt")
    assert str(report) in " ".join(told["ways_on"])
    assert "planted" in report.read_text()


def test_a_bug_whose_report_can_t_be_written_is_told_whole(shell):
    done = shell.run(a_bug(shell), XDG_STATE_HOME="/proc/nowhere")
    assert done.returncode == 70
    first, *rest = done.stderr.splitlines()
    assert first == "safedocker: a bug in safedocker: ValueError: planted"
    assert "  Traceback (most recent call last):" in rest


def test_what_failed_under_a_backup_is_found_by_the_volume(shell):
    shell.run(a_full_store(shell))
    told = shell.run("safedocker log --volume data", check=True).stdout
    assert "outcome:  refused (no-backup)" in told


def test_what_stands_in_the_machine_s_way_is_no_line_that_says_it_ran(shell):
    """The machine's log is wanted and can't be written: the person's own says what was done."""
    a_policy(shell, 'journal = "required"\nmode = "backup"\n')
    hidden = "mount -t tmpfs none /dev/log 2>/dev/null; mount -t tmpfs none /run"
    done = shell.run(f"unshare --mount sh -c '{hidden}; exec {RM}'")
    assert done.returncode == 77, done.stderr
    assert "the machine's log could not be written" in done.stderr
    assert shell.audit()[-1]["outcome"] == "called off"
    assert "let run" not in shell.run("safedocker log", check=True).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ended_by_a_signal_while_the_engine_is_asked(shell, number, tmp_path):
    silent = tmp_path / "silent.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(silent))
    listener.listen()
    listener.settimeout(20)
    running = shell.begin(f"docker -H unix://{silent} volume rm data", SAFEDOCKER_FORMAT="json")
    connection, _ = listener.accept()
    time.sleep(0.1)
    code, stderr = running.send(number).ended()
    connection.close()
    listener.close()
    assert code == 130, stderr
    told = json.loads(stderr)
    REFUSAL.validate(told)
    assert told["code"] == "interrupted"
    (written,) = shell.audit()
    assert (written["outcome"], written["rule"]) == ("cancelled", "interrupted")
    assert written["engine"] == f"unix://{silent}"


def test_ctrl_c_at_the_question_is_written_down(shell):
    assert shell.terminal(RM).asked().type("\x03").ended() == 130
    (written,) = shell.audit()
    assert (written["outcome"], written["rule"]) == ("cancelled", "interrupted")
    assert [one["name"] for one in written["losses"]] == ["data"]
    assert Path(str(written["directory"])) == shell.home


def test_what_passes_though_the_engine_can_t_be_asked_is_written_down(shell):
    a_policy(shell, 'mode = "allow"\n')
    done = shell.run("docker -H unix:///nowhere.sock volume rm data")
    assert done.returncode == 1
    assert "Cannot connect" in done.stderr
    (written,) = shell.audit()
    assert (written["outcome"], written["engine"]) == ("pass", "unix:///nowhere.sock")
    assert written["gaps"]


def test_notes_stand_in_the_object_and_not_beside_it(shell):
    """A run before was killed: what this one puts right is told where it is refused."""
    running = shell.begin(RM, SAFEDOCKER_MODE="backup", SAFEDOCKER_PROTECT="archive")
    assert running.until("claim")
    running.send(signal.SIGKILL).ended()
    done = shell.run(RM, SAFEDOCKER_FORMAT="json")
    told = json.loads(done.stderr)
    REFUSAL.validate(told)
    assert told["code"] == "nobody-to-ask"
    assert told["notes"]
    done = shell.run(RM, SAFEDOCKER_FORMAT="json", SAFEDOCKER_MODE="backup", check=True)
    assert done.stderr.startswith("safedocker: backed up 1 volume")
