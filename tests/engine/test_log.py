"""`safedocker log`: what was decided, joined with what the engine itself tells."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time

from tests.engine.conftest import Shell
from tests.engines import UnixConnection

FILL = "docker run --rm -v {}:/a busybox sh -c 'echo x > /a/file'"
BACKUP = "SAFEDOCKER_MODE=backup"


def blocks(told: str) -> list[str]:
    """The parts of a volume's story: the first line, what happened, the newest first, the reach."""
    return [" ".join(part.split()) for part in told.strip().split("\n\n")]


def test_s26_what_deleted_pgdata_who_when_from_where_and_what_became_of_it(shell: Shell) -> None:
    shell.out(FILL.format("pgdata"))
    (shell.home / "cleanup.sh").write_text("docker volume rm pgdata; exit 0\n")
    shell.run("docker volume rm pgdata", CLAUDECODE="1")
    shell.run(f"{BACKUP} sh cleanup.sh", check=True)
    (backup,) = shell.backups()
    gone = shell.run("safedocker log --volume pgdata", check=True).stdout
    now, removed, refused, reach = blocks(gone)
    assert now == "pgdata: it is not on the engine now"
    assert "typed: docker volume rm pgdata" in removed
    assert f"in: {shell.home}" in removed
    assert "from: sh cleanup.sh" in removed
    assert "outcome: let run after a backup" in removed
    assert re.search(r"engine: removed \d{4}-\d\d-\d\d \d\d:", removed)
    assert f"backup: {backup}; to put it back:" in removed
    assert "(agent: CLAUDECODE)" in refused
    assert "outcome: refused (nobody-to-ask)" in refused
    assert reach.startswith("the engine's own events reach back to 20")

    back = re.search(r"to put it back: (.+)", gone)
    assert back
    shell.run(back[1], check=True)
    told = shell.run("safedocker log --volume pgdata", check=True).stdout
    assert "there is a volume of that name on the engine now, made 20" in blocks(told)[0]
    assert re.search(rf"backup: +{backup}, put back 20", told)


def test_a_deletion_that_went_past_safedocker_is_told_from_one_that_did_not(shell: Shell) -> None:
    shell.run("docker volume create ours; docker volume create past", check=True)
    shell.run("docker volume rm ours", check=True)
    shell.out("docker volume rm past")
    shell.out("docker volume create pruned")
    shell.out("docker volume prune -f" + ("" if shell.engine.version == "20" else " -a"))
    lines = shell.run("safedocker log --json", check=True).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    own = {"ours", "past", "pruned"}  # other tests have left events
    gone = [one for one in told if one["log"] == "removal"]
    causes = {one["name"]: one["cause"] for one in gone if one["name"] in own}
    names = {"ours": "command", "past": "unseen"}
    if shell.engine.version == "20":  # which tells of a prune, and not what it took
        assert [one["cause"] for one in gone if one["kind"] == "prune"][-1] == "unseen"
    else:
        names["pruned"] = "unseen"
    assert causes == names
    (decision,) = (one for one in told if one["log"] == "decision")
    assert (decision["outcome"], decision["let_run"]) == ("backed up", True)
    table = shell.run("safedocker log", check=True).stdout
    for name in set(names) - {"ours"}:
        assert re.search(rf"not known +- +volume {name} +removed, by no command that", table)
    events = shell.engine.run(
        *("docker", "events", "--since", "1", "--until", str(time.time())),
        *("--filter", "event=destroy", "--format", "{{.ID}} {{.Actor.ID}}"),
    ).stdout
    assert "safedocker-scratch-" in events, "a volume of our own went too"
    assert "safedocker-scratch-" not in table + "".join(lines)
    story = shell.run("safedocker log --volume past", check=True).stdout
    assert "past safedocker: another program, or docker by its full path" in story


def test_what_is_asked_for_alone(shell26: Shell) -> None:
    shell26.out(FILL.format("one"))
    shell26.out("docker create --name box -v two:/x busybox")
    shell26.run("docker volume rm one", CLAUDECODE="1")
    shell26.run("docker volume rm one", CI="true")
    shell26.run(f"{BACKUP} docker rm box", check=True)

    def asked(options: str) -> list[str]:
        lines = shell26.run(f"safedocker log --json {options}", check=True).stdout.splitlines()
        found = [json.loads(line) for line in lines]
        return [f"{one['caller']} {one['outcome']}" for one in found if one["log"] == "decision"]

    everything = asked("")
    assert everything[1:] == ["ci refused", "agent refused"], "the newest first"
    assert asked("--caller CLAUDECODE --volume one --since 1h") == ["agent refused"]
    assert asked("--outcome refused --since yesterday") == ["ci refused", "agent refused"]
    assert asked("--container box") == everything[:1]
    assert asked("--since 2999-01-01") == asked("--engine nowhere") == []
    assert asked(f"--engine unix://{shell26.engine.socket}") == everything
    wrong = shell26.run("safedocker log --since never")
    assert (wrong.returncode, "is no time: 2h, 3d" in wrong.stderr) == (2, True)


def test_without_an_engine_what_was_written_down_is_told_and_no_more(shell26: Shell) -> None:
    shell26.out(FILL.format("one"))
    shell26.run("docker volume rm one")
    away = "unix:///nonexistent/docker.sock"
    done = shell26.run(f"safedocker log --host {away}", check=True)
    assert "docker volume rm one" in done.stdout
    assert "events reach back" not in done.stdout
    assert "only what was written down is told" in done.stderr
    done = shell26.run(f"safedocker log --volume one --host {away}", check=True)
    assert "one: whether it is there now is not known" in done.stdout


def test_what_was_let_run_and_then_called_off_is_told_as_such(shell26: Shell) -> None:
    """Volumes keep coming while they are backed up: after three rounds the command does not run."""
    shell26.out(FILL.format("first"))
    ended = threading.Event()

    def keep_making() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            connection = UnixConnection(shell26.engine.socket)
            body = json.dumps({"Name": f"more-{number}"})
            connection.request(
                "POST", "/volumes/create", body, {"Content-Type": "application/json"}
            )
            assert connection.getresponse().status == http.HTTPStatus.CREATED
            connection.close()
            ended.wait(0.1)

    maker = threading.Thread(target=keep_making)
    maker.start()
    try:
        done = shell26.run(f"{BACKUP} docker volume prune -af")
    finally:
        ended.set()
        maker.join()
    assert done.returncode == 77
    assert "keeps growing" in done.stderr
    assert "first" in shell26.volumes()
    assert [line["outcome"] for line in shell26.audit()] == ["backed up"] * 3 + ["called off"] * 3
    told = shell26.run("safedocker log --volume first", check=True).stdout
    assert "called off: it did not run" in told
    assert "let run" not in told
