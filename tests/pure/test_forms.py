"""Which commands fall under which form, in any spelling."""

from __future__ import annotations

import pytest

from safedocker.command.parse import Clients, parse
from safedocker.loss import forms

V1, V2 = Clients(compose=(1, 29, 2)), Clients(docker=(26, 1, 5), compose=(2, 26, 1))


def form_of(line, clients=None):
    program, *words = line.split()
    readings = parse(program, words, clients or Clients())
    found = [form.name for one in readings if (form := forms.match(one))]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("docker volume rm x", "volume-rm"),
        ("docker volume remove x", "volume-rm"),
        ("docker -v volume rm x", "volume-rm"),
        ("docker -- volume rm x", "volume-rm"),
        ("docker -H tcp://h --debug volume rm x -f", "volume-rm"),
        ("docker volume rm --help=false x", "volume-rm"),
        ("docker volume prune", "volume-prune"),
        ("docker system prune --volumes", "system-prune-volumes"),
        ("docker system prune --volumes=false", "system-prune"),
        ("docker system prune -f", "system-prune"),
        ("docker container prune", "container-prune"),
        ("docker rm c", "container-rm"),
        ("docker rm -v=false -f c", "container-rm"),
        ("docker rm -l ../volumes/x", "container-rm-path"),
        ("docker stop -t 5 c", "container-stop"),
        ("docker container kill c", "container-kill"),
        ("docker start c", "container-start"),
        ("docker run -itv ./x:/x img rm -v", "container-run"),
        ("docker run --mount type=bind,src=/x,dst=/x img", "container-run"),
        ("docker cp a c:/b", "container-cp"),
        ("docker compose down", "compose-down"),
        ("docker compose down -v -v=false", "compose-down"),
        ("docker compose rm -f", "compose-rm"),
        ("docker compose up -d --dry-run=0", "compose-up"),
        ("docker compose run web down -v", "compose-run"),
        ("docker-compose up -d", "compose-up"),
        ("docker stack down s", "stack-rm"),
        ("docker stack up -c x.yml --prune s", "stack-deploy"),
        ("docker node update --availability drain n", "node-update"),
        ("docker service remove s", "service-rm"),
        ("docker service scale s=0", "service-scale"),
        ("docker swarm leave --force", "swarm-leave"),
        ("docker secret rm s", "secret-rm"),
        ("docker context remove s", "context-rm"),
        ("docker image rmi x", "image-rm"),
        ("docker rmi ../volumes/x", "image-rm-path"),
        ("docker builder prune -a", "builder-prune"),
        ("docker system prune -af --volumes=T", "system-prune-volumes"),
        ("docker rm -fv c", "container-rm-volumes"),
        ("docker container rm c --volumes", "container-rm-volumes"),
        ("docker compose down -v", "compose-down-volumes"),
        ("docker --context p compose down -v", "compose-down-volumes"),
        ("docker compose -f x down -v", "compose-down-volumes"),
        ("docker compose -f prod.yml down -vt 5", "compose-down-volumes"),
        ("docker compose down web --volume", "compose-down-volumes"),
        ("docker compose -- -p other down -v", "compose-down-volumes"),
        ("docker compose down -v --dry-run=false", "compose-down-volumes"),
        ("docker-compose down --vol", "compose-down-volumes"),
        ("docker-compose -p x -v down -v", "compose-down-volumes"),
        ("docker-compose -p x -- down -v", "compose-down-volumes"),
        ("docker compose rm -fsv", "compose-rm-volumes"),
        ("docker-compose rm -fsv web", "compose-rm-volumes"),
    ],
)
def test_s12_s13_dangerous_in_any_spelling(line, form):
    assert form_of(line) == form


@pytest.mark.parametrize(
    "line",
    [
        "docker volume ls -f name=rm",
        "docker volume rm --help",
        "docker volume rm",
        "docker volume prune extra",
        "docker system df",
        "docker network prune -f",
        "docker rename c d",
        "docker rm -lv a/b",
        "docker rm --help",
        "docker run --rm img rm -v /x",
        "docker exec c docker volume rm x",
        "docker compose ps",
        "docker compose logs -f",
        "docker compose down -tv",
        "docker compose down --timeout -v",
        "docker compose --dry-run down -v",
        "docker compose down -v --dry-run",
        "docker compose exec db down -v",
        "docker compose top",
        "docker-compose ps",
    ],
)
def test_s23_harmless_in_any_spelling(line):
    assert form_of(line) is None


@pytest.mark.parametrize(
    ("line", "first", "second"),
    [
        ("docker-compose down -v web", None, "compose-down-volumes"),
        ("docker-compose rm web -fsv", "compose-rm", "compose-rm-volumes"),
        ("docker-compose down --volumes=true", None, "compose-down-volumes"),
        ("docker-compose down --vol", "compose-down-volumes", None),
    ],
)
def test_the_same_words_mean_other_things_to_compose_v1_and_v2(line, first, second):
    assert form_of(line, V1) == first
    assert form_of(line, V2) == second


def test_a_doubt_on_a_dangerous_path_counts_as_dangerous():
    assert form_of("docker rm --brand-new c") == "container-rm-volumes"
    assert form_of("docker rm --brand-new c", V2) is None  # that client surely refuses it
    assert form_of("docker ps --brand-new") is None


def test_forms_have_stable_distinct_names_and_a_source():
    names = [form.name for form in forms.FORMS]
    assert len(set(names)) == len(names)
    assert all(form.source and form.sentence for form in forms.FORMS)
