"""`safedocker doctor` before made-up clients: what their help has and we do not know is named."""

import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker import install
from safedocker.backup.store import Claim, FolderStore
from safedocker.doctor.clients import UPDATE

ROOT = Path(__file__).resolve().parents[2]

CLIENT = """#!/bin/sh
case "$*" in
  --version) echo 'Docker version 28.0.4, build 1' ;;
  --help)
    cat <<'END'
Usage:  docker [OPTIONS] COMMAND

Management Commands:
  volume      Manage volumes

Global Options:
  -D, --debug   Enable debug mode
END
    ;;
  'volume --help')
    cat <<'END'
Usage:  docker volume COMMAND

Commands:
  rm          Remove one or more volumes
END
    ;;
  'volume rm --help')
    cat <<'END'
Usage:  docker volume rm [OPTIONS] VOLUME [VOLUME...]

Options:
  -f, --force   Force the removal
@NEW@
END
    ;;
  *) echo "docker: '$1' is not a docker command." >&2; exit 1 ;;
esac
"""


@pytest.fixture
def run(home):
    def call(*words, new=None, **environ):
        programs = home / "bin"
        programs.mkdir(exist_ok=True)
        if new is not None:
            client = programs / "docker"
            client.write_text(CLIENT.replace("@NEW@", new))
            client.chmod(0o755)
        own = {
            "HOME": str(home),
            "PATH": f"{programs}:/bin",
            "PYTHONPATH": str(ROOT),
            "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        }
        return subprocess.run(
            [sys.executable, "-m", "safedocker", "doctor", *words],
            env=own | environ,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_an_option_that_is_not_known_is_named(run):
    done = run("--json", new="      --shred string   Shred it")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert told["clients"][0]["version"] == "28.0.4"
    assert [one for one in told["findings"] if one["kind"] == "drift"] == [
        {
            "kind": "drift",
            "subject": "docker volume rm",
            "what": "option --shred is not known here",
            "to_do": UPDATE,
            "source": "",
        }
    ]


def test_without_an_engine_that_is_what_is_found(run):
    done = run("--json", new="")
    found = [one for one in json.loads(done.stdout)["findings"] if one["kind"] == "engine"]
    assert done.returncode == 1
    assert found[0]["to_do"]


def test_the_words_say_the_same(run):
    done = run(new="      --shred string   Shred it")
    assert done.returncode == 1
    assert done.stdout.startswith("docker 28.0.4 (")
    assert (
        "  docker volume rm: option --shred is not known here\n    update safedocker" in done.stdout
    )
    assert done.stdout.endswith(" found\n")


@pytest.mark.skipif(os.path.exists("/bin/docker"), reason="a docker stands in /bin")
def test_without_a_docker_that_is_what_is_found(run):
    done = run("--json")
    found = json.loads(done.stdout)["findings"]
    assert ("client", "docker") in [(one["kind"], one["subject"]) for one in found]


def kinds(done):
    return [(one["kind"], one["subject"]) for one in json.loads(done.stdout)["findings"]]


def test_a_backup_that_was_not_finished_is_found_and_cleared_away(run, home):
    store = FolderStore(home / ".local/share/safedocker/backups")
    at = datetime.datetime(2026, 11, 23, 2, 4, tzinfo=datetime.UTC)
    draft = store.begin(Claim(at, ("docker", "volume", "rm", "x"), "somebody"))
    draft.abandon()
    assert ("leftover", draft.id) in kinds(run("--json", new=""))
    assert (home / ".local/share/safedocker/backups" / draft.id).is_dir()
    assert ("leftover", draft.id) not in kinds(run("--json", "--repair"))
    assert not (home / ".local/share/safedocker/backups" / draft.id).exists()


def test_a_store_that_others_read_is_found(run, home):
    store = home / ".local/share/safedocker/backups"
    store.mkdir(parents=True)
    store.chmod(0o755)
    (found,) = [
        one
        for one in json.loads(run("--json", new="").stdout)["findings"]
        if one["kind"] == "store"
    ]
    subprocess.run(["sh", "-c", found["to_do"]], check=True)
    assert "store" not in dict(kinds(run("--json")))


def test_a_policy_that_does_not_check_is_found(run, home):
    (home / ".config/safedocker").mkdir(parents=True)
    (home / ".config/safedocker/policy.toml").write_text("mode = 7\n")
    assert ("policy", "policy") in kinds(run("--json", new=""))


BROKEN = {
    "python": ("sd_python=", "sd_python=/nonexistent/python", "its Python is gone"),
    "package": ("sd_root=", "sd_root=/nonexistent", "safedocker is gone"),
    "real": ("sd_real=", "sd_real=/nonexistent/docker", "is gone: /nonexistent/docker"),
    "template": ("# safedocker stands", "# another", "another version of safedocker wrote it"),
}


@pytest.mark.parametrize(("line", "becomes", "told"), BROKEN.values(), ids=BROKEN)
def test_a_shim_that_is_out_of_date_is_found_and_its_repair_repairs(run, home, line, becomes, told):
    run(new="")
    shims = home / "shims"
    real = str(home / "bin/docker")
    install.install(shims, real, None)
    text = (shims / "docker").read_text().splitlines()
    changed = [becomes if one.startswith(line) else one for one in text]
    (shims / "docker").write_text("\n".join(changed) + "\n")
    path = f"{shims}:{home}/bin:/bin"
    found = json.loads(run("--json", PATH=path).stdout)["findings"]
    (one,) = [one for one in found if one["subject"] == str(shims / "docker")]
    assert told in one["what"]
    program, *words = shlex.split(one["to_do"])
    assert program == "safedocker"
    environ = {"HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", program, *words], env=environ, check=True)
    assert str(shims / "docker") not in dict(kinds(run("--json", PATH=path))).values()
