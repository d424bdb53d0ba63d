"""What a form takes from facts laid out by hand: the corners a real engine seldom stands in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.command.parse import Clients, parse
from safedocker.loss import compose, forms, reach
from safedocker.loss.facts import (
    ANONYMOUS,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    HELPER,
    Container,
    DryRun,
    EngineIdentity,
    Facts,
    Image,
    Model,
    ModelVolume,
    Mount,
    Volume,
)
from safedocker.loss.plan import Kind

ENGINE = EngineIdentity("unix:///x", "default", "box", "id", "26.1.5", (1, 45), remote=False)
V2 = Clients(docker=(26, 1, 5), compose=(2, 26, 1))


def volume(name, **labels):
    return Volume(name, "local", {}, {k.replace("_", "."): v for k, v in labels.items()}, "then")


def container(name, *mounts, running=False, labels=None, auto_remove=False, id_=None):
    made = tuple(Mount("volume", v, "", f"/{v}", anonymous) for v, anonymous in mounts)
    return Container(
        id_ or name * 8,
        name,
        "img",
        running,
        labels or {},
        made,
        auto_remove=auto_remove,
        inspected=True,
    )


def facts(*volumes, containers=(), **more):
    return Facts(ENGINE, (1, 45), {v.name: v for v in volumes}, tuple(containers), **more)


def plan(line, given, clients=V2):
    program, *words = line.split()
    (command,) = parse(program, words, clients)
    form = forms.match(command)
    assert form is not None
    return reach.reach(command, form, given)


def lost(line, given, clients=V2):
    """The names of the volumes that go."""
    return [loss.name for loss in plan(line, given, clients).volumes]


def test_two_not_labels_spare_only_what_carries_both():
    """docker/cli#6918, as the engines 20.10 to 29.7 have it."""
    a, b, both = volume("a", keep="1"), volume("b", also="1"), volume("c", keep="1", also="1")
    line = "docker volume prune -f -a --filter label!=keep --filter label!=also"
    assert lost(line, facts(a, b, both)) == ["a", "b"]


def test_configured_filters_narrow_but_the_commands_own_opposite_wins():
    held = facts(volume("a", keep="1"), volume("b"), prune_filters=(("label!", "keep"),))
    assert lost("docker volume prune -af", held) == ["b"]
    assert lost("docker volume prune -af --filter label=keep", held) == ["a"]


def test_prune_at_an_unknown_api_is_read_as_the_oldest():
    held = replace(facts(volume("named")), api=(0, 0))
    assert lost("docker volume prune -f", held) == ["named"]
    assert lost("docker volume prune -f", facts(volume("named"))) == []


def test_an_ambiguous_prefix_removes_nothing():
    held = facts(
        volume("v"),
        containers=[
            container("one", ("v", True), id_="abc1"),
            container("two", id_="abc2"),
        ],
    )
    assert lost("docker rm -v abc", held) == []
    assert lost("docker rm -v abc1", held) == ["v"]


def test_a_name_beats_another_containers_id_prefix():
    held = facts(
        volume("v"),
        volume("w"),
        containers=[
            container("abc", ("v", True), id_="1111"),
            container("two", ("w", True), id_="abc2"),
        ],
    )
    assert lost("docker rm -v abc", held) == ["v"]


def test_a_backup_may_stop_what_the_command_stops_and_pause_what_would_be_gone_then():
    held = facts(
        volume("v"),
        containers=[
            container("db", ("v", True), running=True),
            container("web"),
            container("once", running=True, auto_remove=True),
        ],
    )
    found = plan("docker rm -fv db web once", held)
    assert found.stops == (held.containers[0].id,)
    assert found.pauses == (held.containers[2].id,)


def test_a_container_that_could_not_be_inspected_is_a_gap():
    blind = replace(container("db", ("v", None)), inspected=False)
    found = plan("docker rm -v db", facts(volume("v"), containers=[blind]))
    assert [loss.name for loss in found.volumes] == ["v"]
    assert found.gaps


def test_what_a_container_that_removes_itself_leaves_is_disposable_when_it_ends():
    box = container("c", ("v", True), running=True, auto_remove=True)
    held = facts(volume("v"), containers=[box])
    assert {loss.disposable for loss in plan("docker stop c", held).losses} == {True}
    assert [loss.disposable for loss in plan("docker rm -fv c", held).volumes] == [False]
    assert lost("docker kill -s WINCH c", held) == lost("docker kill -s 28 c", held) == []
    assert lost("docker kill -s SIGINT c", held) == ["v"]
    for refused in ("0", "-1", "65", "JUNK", "RTMIN-1"):
        assert lost(f"docker kill -s {refused} c", held) == [], refused
    assert lost("docker kill -s rtmin+3 c", held) == lost("docker kill -s 64 c", held) == ["v"]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("docker volume rm ./x", ["x"]),
        ("docker volume rm ../volumes/x", ["x"]),
        ("docker volume rm a/../x", ["x"]),
        ("docker volume rm ../../v1.41/volumes/x", ["x"]),
        ("docker volume rm a/x", []),
        ("docker volume rm %78", []),
        ("docker rm ../volumes/x", ["x"]),
        ("docker rmi ../volumes/x", ["x"]),
        ("docker network rm ../volumes/x", ["x"]),
        ("docker checkpoint rm --checkpoint-dir /d c ../../../volumes/x", ["x"]),
    ],
)
def test_an_operand_is_joined_into_a_path_and_cleaned(line, names):
    """moby client/client.go getAPIPath; the same lines run on real engines in test_corpus."""
    assert lost(line, facts(volume("x"))) == names


def project(*services):
    return [
        container(f"app-{s}-1", labels={COMPOSE_PROJECT: "app", COMPOSE_SERVICE: s})
        for s in services
    ]


def test_where_the_dry_run_lists_less_than_the_model_the_model_counts_too():
    """A wording of the dry run that is new to us must not hide a volume."""
    model = Model("app", (ModelVolume("d", "app_d", False),), ("web",), dry_run=DryRun((), ()))
    held = facts(volume("app_d"), containers=project("web"), model=model, compose=(2, 26, 1))
    assert lost("docker compose down -v", held) == ["app_d"]


def test_a_project_goes_with_its_orphans_once_a_service_has_ended_and_nothing_is_stopped_before():
    model = Model("app", (), ("web",))
    running = [replace(one, running=True, state="running") for one in project("web", "old")]
    held = facts(containers=running, model=model, compose=(2, 26, 1))
    told = plan("docker compose wait --down-project web", held)
    assert [loss.name for loss in told.losses] == ["app-old-1", "app-web-1"]
    assert not told.stops
    assert not told.pauses
    assert forms.match(parse("docker", ["compose", "wait", "web"], V2)[0]) is None


def test_down_with_images_takes_those_that_have_no_other_name_and_no_other_container():
    """As seen on 26.1 and 28.5: Compose's dry run lists every name, and the engine decides."""
    made, kept, used = (Image(id=f"sha256:{n}", names=names, size=1) for n, names in IMAGES.items())
    other = replace(container("other"), image_id=used.id)
    rehearsed = DryRun(("app-web-1",), (), images=("app-web:latest", "mine:1", "kept:1", "used:1"))
    model = Model("app", (), ("web",), dry_run=rehearsed)
    held = facts(
        containers=[*project("web"), other],
        images=(made, kept, used),
        model=model,
        compose=(2, 26, 1),
    )
    told = plan("docker compose down --rmi all", held).losses
    assert [one.name for one in told if one.kind is Kind.IMAGE] == ["app-web:latest"]
    assert Kind.IMAGE not in {one.kind for one in plan("docker compose down", held).losses}


IMAGES = {
    "a": ("app-web:latest", "mine:1"),
    "b": ("kept:1", "kept:2"),
    "c": ("used:1",),
}


def test_services_named_without_a_rehearsal_are_read_as_the_whole_project():
    """2.26 by name only takes everything for a typing error; nothing but a rehearsal tells."""
    model = Model("app", (), (), by_name_only=True)
    label = {"com_docker_compose_project": "app"}
    held = facts(volume("x", **label), containers=project("web"), model=model, compose=(2, 26, 1))
    assert lost("docker compose -p app down -v --dry-run=0 typo", held) == ["x"]


def test_a_helper_of_ours_keeps_no_volume_alive_and_hides_none():
    helper = container("h", ("v", True), labels={HELPER: "whoever"})
    assert lost("docker volume rm v", facts(volume("v"), containers=[helper])) == ["v"]
    assert lost("docker rm -v h", facts(volume("v"), containers=[helper])) == ["v"]


def test_a_removed_container_takes_its_layer_and_leaves_its_anonymous_volumes():
    held = facts(volume("v"), volume("w"), containers=[container("c", ("v", True), ("w", False))])
    found = plan("docker rm c", held)
    assert [(loss.kind, loss.name) for loss in found.losses] == [
        (Kind.LAYER, "c"),
        (Kind.DETACHED_VOLUME, "v"),
    ]
    found = plan("docker system prune -f --volumes", replace(held, api=(1, 41)))
    assert [(loss.kind, loss.name) for loss in found.losses] == [
        (Kind.NAMED_VOLUME, "v"),
        (Kind.NAMED_VOLUME, "w"),
        (Kind.LAYER, "c"),
        (Kind.BUILD_CACHE, "build cache"),
    ]


def test_s10_an_engine_that_lost_count_of_a_volume_s_users_is_not_believed():
    user = container("db", ("v", False))
    held = replace(facts(volume("v"), containers=[user]), dangling=frozenset({"v"}))
    found = plan("docker rm -f db", held)
    assert found.disputes == ()
    stopped = replace(held, api=(1, 41))
    found = plan("docker system prune -f --volumes", stopped)
    assert "v" in found.disputes[0]
    assert "db" in found.disputes[0]


def test_by_name_only_the_label_decides():
    model = Model("app", (), (), by_name_only=True)
    label = {"com_docker_compose_project": "app"}
    held = facts(volume("x", **label), volume("app_y"), model=model, compose=(2, 20, 0))
    assert lost("docker compose -p app down -v", held) == ["x"]


def test_v1_takes_every_declared_volume_and_no_external_one():
    model = Model("app", (ModelVolume("u", "app_u", False), ModelVolume("e", "e", True)), ("web",))
    held = facts(volume("app_u"), volume("e"), model=model, compose=(1, 29, 2))
    assert lost("docker-compose down -v", held, Clients(compose=(1, 29, 2))) == ["app_u"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("docker compose down -v", ("compose", "--progress=plain", "down", "--dry-run", "-v")),
        (
            "docker compose -p x down -v -- web",
            ("compose", "-p", "x", "--progress=plain", "down", "--dry-run", "-v"),
        ),
        ("docker compose down -v --dry-run=false", None),
        ("docker compose --dry-run=false down -v", None),
    ],
)
def test_a_rehearsal_is_given_only_where_it_is_certain_to_be_one(line, words):
    program, *rest = line.split()
    (command,) = parse(program, rest, V2)
    given = compose.rehearsal(command, V2)
    assert given is None if words is None else given is not None and given[: len(words)] == words
    assert compose.rehearsal(command, Clients(compose=(2, 10, 0))) is None


def test_a_plan_grows_by_a_volume_a_gap_or_a_successor_of_the_same_name():
    before = plan("docker volume rm a b", facts(volume("a")))
    assert not reach.grown(before, before)
    assert reach.grown(before, plan("docker volume rm a b", facts(volume("a"), volume("b"))))
    later = facts(replace(volume("a"), created_at="later"))
    assert reach.grown(before, plan("docker volume rm a b", later))
    assert reach.grown(before, replace(before, gaps=("x",)))


def test_up_to_20_10_a_moved_date_is_no_successor():
    """moby#44719: there the date moves with the volume's root directory."""
    old = replace(ENGINE, version="20.10.24")
    before = plan("docker volume rm a", replace(facts(volume("a")), engine=old))
    later = facts(replace(volume("a"), created_at="later"))
    assert not reach.grown(before, plan("docker volume rm a", replace(later, engine=old)))


def test_the_anonymous_label_alone_decides_what_a_prune_takes():
    held = facts(volume("a", com_docker_volume_anonymous=""), volume("b"))
    assert ANONYMOUS in held.volumes["a"].labels
    assert lost("docker volume prune -f", held) == ["a"]
