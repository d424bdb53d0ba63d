"""`safedocker doctor` before made-up clients: what their help has and we do not know is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker import doctor

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
            "to_do": doctor.UPDATE,
            "source": "",
        }
    ]


def test_without_an_engine_that_is_what_is_found(run):
    done = run("--json", new="")
    found = json.loads(done.stdout)["findings"]
    assert done.returncode == 1
    assert [one["kind"] for one in found] == ["engine"]
    assert found[0]["to_do"]


def test_the_words_say_the_same(run):
    done = run(new="      --shred string   Shred it")
    assert done.returncode == 1
    assert done.stdout.startswith("docker 28.0.4 (")
    assert (
        "  docker volume rm: option --shred is not known here\n    update safedocker" in done.stdout
    )
    assert done.stdout.endswith("\n2 found\n")


@pytest.mark.skipif(os.path.exists("/bin/docker"), reason="a docker stands in /bin")
def test_without_a_docker_that_is_what_is_found(run):
    done = run("--json")
    found = json.loads(done.stdout)["findings"]
    assert [(one["kind"], one["subject"]) for one in found] == [("client", "docker")]
