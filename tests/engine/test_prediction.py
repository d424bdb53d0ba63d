"""Prediction is outcome: build a state, ask what a command takes, run the real one, compare."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from safedocker.loss.forms import FORMS
from tests.engines import PrivateEngine

pytestmark = pytest.mark.engine

# One state for the plain docker forms: used, unused, anonymous, stopped, shared and odd volumes.
STATE = """
docker volume create used; docker volume create unused; docker volume create --label keep=1 kept
docker volume create --label keep=1 --label also=1 both; docker volume create behind
docker volume create --opt type=none --opt o=bind --opt device=/tmp optioned
docker volume create >/dev/null
docker run -d --name up --init -v used:/u -v /anon busybox sleep 1000
docker create --name down -v behind:/b -v /anon busybox
docker create --name image busybox-volume
docker create --name donor -v /given -v used:/u busybox
docker create --name heir --volumes-from donor busybox
docker create --name orphan --volumes-from donor busybox
docker create --name mounted --mount type=volume,dst=/m --mount src=behind,dst=/n busybox
docker create --name labelled --label keep=1 -v /anon busybox
"""

COMPOSE = """
services:
  web:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [data:/data, ext:/ext, /anon, .:/src]
    depends_on: [db]
  db:
    image: busybox
    init: true
    command: sleep 1000
    volumes: [dbdata:/db, /anon]
  tool:
    image: busybox
    init: true
    profiles: [tools]
    command: sleep 1000
    volumes: [tooldata:/t, /anon]
volumes:
  data:
  dbdata: {name: fixedname}
  tooldata:
  unused:
  ext: {external: true}
"""
ORPHAN = """
services:
  gone: {image: busybox, init: true, command: sleep 1000, volumes: [old:/old, /anon]}
volumes: {old: }
"""
UP = "docker volume create ext; compose up -d"


class Case(NamedTuple):
    """A state, a command and the versions it is played on."""

    form: str
    name: str
    setup: str
    command: str
    versions: str = "20 26"


CASES = [
    Case("volume-rm", "one", STATE, "docker volume rm unused"),
    Case("volume-rm", "alias", STATE, "docker volume remove unused used nosuch behind"),
    Case("volume-rm", "force", STATE, "docker volume rm -f unused nosuch -- kept"),
    Case("volume-rm", "option", STATE, "docker volume rm optioned"),
    Case("volume-rm", "equals", STATE, "docker volume rm --force=0 unused unused both"),
    Case("volume-prune", "plain", STATE, "docker volume prune -f"),
    Case("volume-prune", "label", STATE, "docker volume prune -f --filter label=keep"),
    Case("volume-prune", "not-label", STATE, "docker volume prune -f --filter label!=keep"),
    Case(
        "volume-prune",
        "two-not-labels",
        STATE,
        "docker volume prune -f --filter label!=keep --filter label!=also",
    ),
    Case("volume-prune", "all", STATE, "docker volume prune -af", "26 28"),
    Case("volume-prune", "all-false", STATE, "docker volume prune -a=false -f", "26 28"),
    Case("volume-prune", "filter-all", STATE, "docker volume prune -f --filter all=1", "26 28"),
    Case("volume-prune", "all-label", STATE, "docker volume prune -af --filter label!=keep", "26"),
    Case("volume-prune", "old-api", STATE, "DOCKER_API_VERSION=1.41 docker volume prune -f", "26"),
    Case("system-prune-volumes", "plain", STATE, "docker system prune -f --volumes"),
    Case("system-prune-volumes", "all", STATE, "docker system prune -af --volumes=1"),
    Case(
        "system-prune-volumes",
        "label",
        STATE,
        "docker system prune --volumes -f --filter label=keep",
    ),
    Case(
        "system-prune-volumes",
        "old-api",
        STATE,
        "DOCKER_API_VERSION=1.41 docker system prune -f --volumes",
        "26",
    ),
    Case("container-rm-volumes", "one", STATE, "docker rm -v down"),
    Case("container-rm-volumes", "running", STATE, "docker rm -v up"),
    Case("container-rm-volumes", "force", STATE, "docker container rm -fv up image mounted nosuch"),
    Case("container-rm-volumes", "donor", STATE, "docker rm -v donor"),
    Case("container-rm-volumes", "all-heirs", STATE, "docker rm -v donor heir orphan"),
    Case(
        "container-rm-volumes", "heir-alone", STATE + "docker rm donor heir", "docker rm -v orphan"
    ),
    Case(
        "container-rm-volumes",
        "by-id-prefix",
        STATE,
        "docker rm -v $(docker inspect -f '{{.Id}}' image | cut -c1-10)",
    ),
    Case("container-rm-volumes", "remove", STATE, "docker container remove --volumes image", "26"),
    Case("volume-rm", "dot", STATE, "docker volume rm ./unused kept/ /both", "20 26 28"),
    Case("volume-rm", "round", STATE, "docker volume rm a/../unused ../volumes/kept", "20 26 28"),
    Case("volume-rm", "out", STATE, "docker volume rm -f ../containers/down", "20 26 28"),
    Case("volume-rm", "top", STATE, "docker volume rm ../../volumes/unused", "20 26 28"),
    Case("volume-rm", "blank", STATE, "docker volume rm ' unused ' '' %75nused", "20 26 28"),
    Case("container-rm-volumes", "dot", STATE, "docker rm -v ./image /down/", "20 26 28"),
    Case("container-rm-volumes", "out", STATE, "docker rm -fv ../volumes/unused up", "20 26 28"),
    Case(
        "container-rm-volumes",
        "link",
        STATE + "docker create --name parent --link up:alias busybox",
        "docker rm -fv parent/alias",
        "20 26",
    ),
    Case("container-rm-path", "out", STATE, "docker rm ../volumes/unused nosuch", "20 26 28"),
    Case("container-rm-path", "used", STATE, "docker rm -f ../volumes/used", "20 26"),
    Case("image-rm-path", "out", STATE, "docker rmi ../volumes/unused", "20 26 28"),
    Case("network-rm-path", "out", STATE, "docker network rm ../volumes/unused", "20 26 28"),
    Case("plugin-rm-path", "out", STATE, "docker plugin rm ../volumes/unused", "20 26 28"),
    Case("secret-rm-path", "out", STATE, "docker secret rm ../volumes/unused", "20 26 28"),
    Case("config-rm-path", "out", STATE, "docker config rm ../volumes/unused", "20 26 28"),
    Case("service-rm-path", "out", STATE, "docker service rm ../volumes/unused", "20 26 28"),
    Case("node-rm-path", "out", STATE, "docker node rm ../volumes/unused", "20 26 28"),
    Case("compose-down-volumes", "plain", UP, "compose down -v"),
    Case("compose-down-volumes", "long-time", UP, "compose down -vt 1"),
    Case("compose-down-volumes", "orphans", UP, "compose down --volumes --remove-orphans"),
    Case("compose-down-volumes", "profile", UP, "compose --profile tools down -v"),
    Case(
        "compose-down-volumes",
        "profile-up",
        "docker volume create ext; compose --profile tools up -d",
        "compose down -v",
    ),
    Case(
        "compose-down-volumes",
        "one-off",
        UP + "; compose run -d --name oneoff web sleep 1000",
        "compose down -v",
    ),
    Case(
        "compose-down-volumes",
        "one-off-orphans",
        UP + "; compose run -d --name oneoff web sleep 1000",
        "compose down -v --remove-orphans",
    ),
    Case(
        "compose-down-volumes",
        "orphan",
        "compose -f orphan.yaml -p app up -d; " + UP,
        "compose down -v --remove-orphans",
    ),
    Case(
        "compose-down-volumes",
        "used-elsewhere",
        UP + "; docker run -d --name other --init -v app_data:/d busybox sleep 1000",
        "compose down -v",
        "26",
    ),
    Case(
        "compose-down-volumes",
        "recreated",
        UP + "; compose up -d --force-recreate",
        "compose down -v",
    ),
    Case("compose-down-volumes", "service", UP, "compose down -v web", "26 28"),
    Case("compose-down-volumes", "last-service", UP, "compose down -v db", "26 28"),
    Case(
        "compose-down-volumes",
        "service-of-a-profile",
        "docker volume create ext; compose --profile tools up -d",
        "compose down -v tool web",
        "26 28",
    ),
    Case(
        "compose-down-volumes",
        "env-file-missing",
        UP + r"; sed -i 's/^  web:/&\n    env_file: nosuch.env/' docker-compose.yml",
        "COMPOSE_PROJECT_NAME=zzz compose -p app -f docker-compose.yml down -v",
        "28",
    ),
    Case("compose-down-volumes", "no-service", UP, "compose down -v nosuch", "26 28"),
    Case("compose-down-volumes", "name-only", UP, "compose -p app down -v", "26 28"),
    Case("compose-down-volumes", "name-typo", UP, "compose -p app down -v nosuch", "26 28"),
    Case("compose-down-volumes", "dashes", UP, "compose -- -p other down -v", "26 28"),
    Case("compose-down-volumes", "all-resources", UP, "compose --all-resources down -v", "28"),
    Case(
        "compose-down-volumes",
        "environment-name",
        UP + "; mv compose.yaml other.yaml",
        "COMPOSE_PROJECT_NAME=app compose down -v",
        "26 28",
    ),
    Case("compose-down-volumes", "stdin", UP, "compose -f - -p app down -v <docker-compose.yml"),
    Case(
        "compose-down-volumes",
        "stdin-is-a-pipe",
        UP,
        "compose -f - -p app down -v < <(cat docker-compose.yml)",
    ),
    Case(
        "compose-down-volumes",
        "dev-stdin",
        UP,
        "compose -f /dev/stdin -p app down -v < <(cat docker-compose.yml)",
        "26",
    ),
    Case(
        "compose-down-volumes",
        "process-substitution",
        UP,
        "compose -f <(cat docker-compose.yml) -p app down -v",
        "26",
    ),
    Case(
        "compose-down-volumes",
        "env-file-from-a-process",
        UP,
        "compose --env-file <(echo A=1) down -v",
        "26",
    ),
    Case("compose-down-volumes", "no-such-file", UP, "compose -f nosuch.yml down -v"),
    Case("compose-down-volumes", "verbose", UP, "compose --verbose down -v"),
    Case("compose-down-volumes", "quiet", UP, "compose --progress quiet down -v web", "26 28"),
    Case(
        "compose-down-volumes", "quiet-typo", UP, "compose --progress=quiet -p app down -v x", "26"
    ),
    Case("compose-down-volumes", "json", UP, "compose --progress json down -v db", "26 28"),
    Case("compose-down-volumes", "upper-case-name", UP, "compose -p APP down -v", "26 28"),
    Case("compose-down-volumes", "no-progress", UP, "compose --progress bogus down -v", "26"),
    Case("compose-rm-volumes", "stop", UP, "compose rm -fsv"),
    Case("compose-rm-volumes", "running", UP, "compose rm -fv"),
    Case("compose-rm-volumes", "service", UP + "; compose stop", "compose rm -fv db"),
]


def test_every_form_has_an_outcome():
    """A row without a scenario here does not land."""
    assert {form.name for form in FORMS} == {case.form for case in CASES}


def _play(engine: PrivateEngine, folder: Path, script: str, check: bool = True) -> str:
    standalone = 'compose() { docker-compose "$@"; }'
    plugin = 'compose() { docker compose "$@"; }'
    define = standalone if engine.version == "20" else plugin
    done = engine.run("bash", "-c", f"{define}\n{script}", cwd=folder, check=check)
    return done.stdout


def _explain(engine: PrivateEngine, folder: Path, command: str) -> set[str]:
    """The names that `safedocker explain` says would go."""
    words = command.replace("compose ", "docker-compose ", 1) if engine.version == "20" else command
    if engine.version != "20":
        words = words.replace("compose ", "docker compose ", 1) if "docker " not in words else words
    plain = words.split(" ")
    variables = [*itertools.takewhile(lambda word: word.partition("=")[0].isupper(), plain)]
    words = " ".join(plain[len(variables) :])
    program = f"{sys.executable} -m safedocker explain --json --"
    done = engine.run(
        "bash",
        "-c",
        f"{' '.join(variables)} {program} {words}",
        cwd=folder,
        environ={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    told = json.loads(done.stdout)
    assert told["error"] is None, told["error"]
    if told["plan"] is None:
        return set()
    assert told["plan"]["gaps"] == []
    volumes = ("named volume", "anonymous volume")
    return {loss["name"] for loss in told["plan"]["losses"] if loss["kind"] in volumes}


def _volumes(engine: PrivateEngine) -> set[str]:
    return set(engine.run("docker", "volume", "ls", "-q").stdout.split())


@pytest.mark.parametrize(
    ("version", "case"),
    [
        pytest.param(version, case, id=f"{version}-{case.form}-{case.name}")
        for case in CASES
        for version in case.versions.split()
    ],
)
def test_prediction_is_outcome(version, case, start_engine, tmp_path):
    """What explain says goes is what the real command removes: equality, not inclusion."""
    engine = start_engine(version)
    folder = tmp_path / "app"
    folder.mkdir()
    header = 'version: "2.4"\n' if version == "20" else ""
    (folder / "docker-compose.yml").write_text(header + COMPOSE)
    (folder / "orphan.yaml").write_text(header + ORPHAN)
    with engine.swept():
        _play(engine, folder, case.setup.replace("mv compose.yaml", "mv docker-compose.yml"))
        before = _volumes(engine)
        predicted = _explain(engine, folder, case.command)
        assert _volumes(engine) == before, "explain changed something"
        _play(engine, folder, case.command, check=False)
        assert before - _volumes(engine) == predicted
