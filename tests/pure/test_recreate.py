"""What Compose's up and its kin replace, drop and make, from facts laid out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.command.parse import Clients, parse
from safedocker.edge import model as printed
from safedocker.loss import recreate, starts
from safedocker.loss.facts import (
    COMPOSE_HASH,
    COMPOSE_NUMBER,
    COMPOSE_ONEOFF,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Container,
    DryRun,
    EngineIdentity,
    Facts,
    HostPath,
    Model,
    ModelService,
    ModelVolume,
    Mount,
    Volume,
)

ENGINE = EngineIdentity("unix:///x", "default", "box", "id", "28.5.2", (1, 51), remote=False)
V1, V226, V240, V5 = (1, 29, 2), (2, 26, 1), (2, 40, 3), (5, 5, 0)

DRY = """
Volume "app_data" exists but doesn't match configuration in compose file. Recreate (data lost)?
 DRY-RUN MODE -  Network app_default  Creating
 DRY-RUN MODE -  Volume "app_new"  Creating
 DRY-RUN MODE -  Volume app_other  Created
 DRY-RUN MODE -  Container app-gone-1  Stopping
 DRY-RUN MODE -  Container app-gone-1  Stopped
 DRY-RUN MODE -  Container app-gone-1  Removing
 DRY-RUN MODE -  Container app-gone-1  Removed
 DRY-RUN MODE -  Container app-db-1  Running
 DRY-RUN MODE -  Container app-web-1  Recreate
 DRY-RUN MODE -  Container app-web-1  Recreated
 DRY-RUN MODE -  Container app-web-2  Creating
 DRY-RUN MODE -  Container d1413979a3f1_app-web-1  Starting
 DRY-RUN MODE -  Container d1413979a3f1_app-web-1  Started
"""


def command(line, version):
    program, *words = line.split()
    (reading,) = parse(program, words, Clients(docker=(28,), compose=version))
    assert not reading.error, reading.error
    return reading


def container(name, service, *mounts, running=True, oneoff=False, number=1, hash_="", **more):
    labels = {
        COMPOSE_PROJECT: "app",
        COMPOSE_SERVICE: service,
        COMPOSE_ONEOFF: str(oneoff),
        COMPOSE_NUMBER: str(number),
        COMPOSE_HASH: hash_,
    }
    made = tuple(Mount("volume", v, "", f"/{v}", anonymous) for v, anonymous in mounts)
    state = "running" if running else "exited"
    return Container(name * 3, name, "img", running, labels, made, state, **more)


def facts(version, *containers, services=(), volumes=(), dry_run=None, held=(), **more):
    model = Model(
        "app",
        tuple(volumes),
        tuple(one.name for one in services),
        definitions=tuple(services),
        dry_run=dry_run,
    )
    there = {name: Volume(name, "local", {}, {COMPOSE_HASH: "x"}, "then") for name in held}
    return Facts(ENGINE, (1, 51), there, containers, model=model, compose=version, **more)


def names(containers):
    return [one.name for one in containers]


def test_a_dry_run_names_what_goes_and_what_is_made_anew():
    assert printed.read_dry_run(DRY) == DryRun(
        containers=("app-gone-1",),
        volumes=(),
        replaced=("app-web-1",),
        made=("app_new",),
        asked=("app_data",),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("docker compose up -d", "compose --progress=plain up --dry-run --no-start -d"),
        (
            "docker-compose -p x up --wait -- web",
            "-p x --progress=plain up --dry-run --no-start --wait -- web",
        ),
        ("docker compose create web", "compose --progress=plain create --dry-run web"),
        (
            "docker compose run --rm web up -d",
            "compose --progress=plain up --dry-run --no-start --remove-orphans=false -- web",
        ),
        (
            "docker compose run --no-deps --remove-orphans web sh",
            "compose --progress=plain up --dry-run --no-start --remove-orphans=true"
            " --no-deps -- web",
        ),
        (
            "docker compose scale web=2 db=1",
            "compose --progress=plain up --dry-run --no-start --remove-orphans=false"
            " --scale=web=2 --scale=db=1 -- web db",
        ),
        ("docker compose up --dry-run=false", None),
        ("docker compose up --no-start=false", None),
        ("docker compose --dry-run=0 up", None),
    ],
)
def test_a_rehearsal_starts_nothing_and_is_certain_to_be_one(line, words):
    clients = Clients(docker=(28,), compose=V240)
    given = recreate.rehearsal(command(line, V240), clients)
    assert given == (None if words is None else tuple(words.split()))


def test_there_is_no_rehearsal_where_compose_has_none_that_was_seen_to_be_harmless():
    clients = Clients(docker=(24,), compose=(2, 20, 0))
    assert recreate.rehearsal(command("docker compose up", (2, 20, 0)), clients) is None


def test_without_a_rehearsal_every_container_of_a_selected_service_may_be_replaced():
    web, db = container("web", "web"), container("db", "db")
    held = facts(
        (2, 20, 0),
        web,
        db,
        container("old", "old"),
        services=[ModelService("web"), ModelService("db")],
    )
    assert names(recreate.change(command("docker compose up -d", (2, 20, 0)), held).gone) == [
        "web",
        "db",
    ]
    line = command("docker compose up -d --no-recreate --remove-orphans", (2, 20, 0))
    assert names(recreate.change(line, held).gone) == ["old"]


def test_what_is_built_or_pulled_first_may_be_replaced():
    services = [ModelService("web", built=True), ModelService("db", renewed=True)]
    held = facts(
        V240,
        container("web", "web"),
        container("db", "db"),
        services=services,
        dry_run=DryRun((), ()),
    )
    assert names(recreate.change(command("docker compose up", V240), held).gone) == ["db"]
    found = recreate.change(command("docker compose up --build", V240), held)
    assert names(found.gone) == ["web", "db"]
    line = command("docker compose up --build --no-recreate", V240)
    assert names(recreate.change(line, held).gone) == []


def test_run_leaves_its_own_services_containers_alone():
    held = facts(
        V240,
        container("web", "web"),
        container("db", "db"),
        container("done", "web", oneoff=True, running=False),
        services=[ModelService("web", depends=("db",)), ModelService("db")],
        dry_run=DryRun(("done",), (), replaced=("web", "db")),
    )
    found = recreate.change(command("docker compose run web true", V240), held)
    assert names(found.gone) == ["done", "db"]


def test_anonymous_volumes_are_handed_on_unless_they_are_renewed_or_their_place_is_taken():
    service = ModelService("web", "img", anonymous=frozenset({"/a"}), taken=frozenset({"/c"}))
    web = container("web", "web", ("a", True), ("b", True), ("c", True), ("d", True))
    held = facts(
        V240,
        web,
        services=[service],
        dry_run=DryRun((), (), replaced=("web",)),
        image_volumes={"img": frozenset({"/b", "/c"})},
    )
    assert recreate.change(command("docker compose up", V240), held).carried == {"a", "b"}
    assert recreate.images_of_interest(command("docker compose up", V240), held) == ("img",)
    assert recreate.change(command("docker compose up -V", V240), held).carried == frozenset()
    assert recreate.change(command("docker compose scale web=1", V240), held).carried == frozenset()


CHANGED = [ModelVolume("data", "app_data", external=False)]


@pytest.mark.parametrize(
    ("line", "can_answer", "gone"),
    [
        ("docker compose up -d", False, []),
        ("docker compose up -d", True, ["app_data"]),
        ("docker compose up -dy", False, ["app_data"]),
        ("docker compose create --yes", False, ["app_data"]),
        ("docker compose up --yes=false", False, []),
    ],
)
def test_a_changed_volume_goes_if_anybody_may_say_yes(line, can_answer, gone):
    said = DryRun(
        (), (), asked=() if "y" in line.split()[-1] else ("app_data",), made=("app_data",)
    )
    held = facts(
        V240,
        container("web", "web", ("app_data", False)),
        container("db", "db"),
        services=[ModelService("web", volumes=frozenset({"data"})), ModelService("db")],
        volumes=CHANGED,
        held=["app_data"],
        dry_run=said,
        can_answer=can_answer,
    )
    found = recreate.change(command(line, V240), held)
    assert list(found.volumes) == gone
    assert list(found.offered) == ([] if gone else ["app_data"])
    assert names(found.removed) == (["web"] if gone else [])


def test_a_changed_volume_in_use_elsewhere_stays_though_the_containers_go():
    held = facts(
        V240,
        container("web", "web", ("app_data", False)),
        container("one", "web", ("app_data", False), oneoff=True),
        services=[ModelService("web", volumes=frozenset({"data"}))],
        volumes=CHANGED,
        held=["app_data"],
        dry_run=DryRun((), (), made=("app_data",)),
    )
    found = recreate.change(command("docker compose up -y", V240), held)
    assert (found.volumes, names(found.removed)) == ((), ["web"])


def test_a_changed_volume_of_no_service_brought_up_takes_the_whole_projects_containers():
    """docker/compose removeDivergedVolume: an empty list of services means all (seen on 2.40)."""
    held = facts(
        V240,
        container("web", "web", ("app_data", False)),
        container("db", "db"),
        services=[
            ModelService("web", volumes=frozenset({"data"}), depends=("db",)),
            ModelService("db"),
        ],
        volumes=CHANGED,
        held=["app_data"],
        dry_run=DryRun((), (), asked=("app_data",)),
        can_answer=True,
    )
    found = recreate.change(command("docker compose run web sh", V240), held)
    assert names(found.removed) == ["web", "db"]


@pytest.mark.parametrize(
    ("line", "version", "can_answer", "unsure"),
    [
        ("docker compose up", V240, False, 0),
        ("docker compose up", V240, True, 1),
        ("docker compose up --yes", V240, False, 1),
        ("docker compose start", V240, True, 0),
        ("docker compose up", V226, True, 0),
    ],
)
def test_without_a_rehearsal_nobody_knows_whether_a_volume_changed(
    line, version, can_answer, unsure
):
    held = facts(version, volumes=CHANGED, held=["app_data"], can_answer=can_answer)
    assert len(recreate.unsure(command(line, version), held)) == unsure


def test_from_5_4_on_the_heirs_of_a_changed_volume_go_for_it():
    services = [
        ModelService("web", volumes=frozenset({"data"})),
        ModelService("heir", depends=("web",), shares=("web",)),
    ]
    web = container("web", "web", ("app_data", False))
    heir = container("heir", "heir", ("app_data", False))
    said = DryRun((), (), made=("app_data",))
    for version, gone in ((V240, ()), (V5, ("app_data",))):
        held = facts(
            version, web, heir, services=services, volumes=CHANGED, held=["app_data"], dry_run=said
        )
        assert recreate.change(command("docker compose up -y", version), held).volumes == gone


def test_before_2_32_a_changed_volume_is_left_alone():
    held = facts(
        V226,
        container("web", "web", ("app_data", False)),
        services=[ModelService("web", volumes=frozenset({"data"}))],
        volumes=CHANGED,
        held=["app_data"],
        dry_run=DryRun((), (), made=("app_data",)),
        can_answer=True,
    )
    assert recreate.change(command("docker compose up", V226), held) == recreate.Change()


# v1, which has no dry run.


def of_v1(line, *containers, services):
    held = facts(V1, *containers, services=services)
    return recreate.change(command(line, V1), held)


WEB = ModelService("web", depends=("db",), hash="w")
DB = ModelService("db", hash="d")


@pytest.mark.parametrize(
    ("line", "web", "db", "replaced"),
    [
        ("docker-compose up -d", "w", "d", []),
        ("docker-compose up -d", "old", "d", ["web"]),
        ("docker-compose up -d", "w", "old", ["db"]),
        ("docker-compose up -d web", "w", "old", ["db"]),
        ("docker-compose up -d --no-deps web", "w", "old", []),
        ("docker-compose up -d --always-recreate-deps", "w", "old", ["web", "db"]),
        ("docker-compose up -d --always-recreate-deps", "w", "d", []),
        ("docker-compose up -d --force-recreate web", "w", "d", ["web", "db"]),
        ("docker-compose up -dV", "w", "d", ["web", "db"]),
        ("docker-compose up -d --no-recreate", "old", "old", []),
        ("docker-compose create", "old", "d", ["web"]),
        ("docker-compose run web sh", "old", "old", []),
        ("docker-compose scale web=1", "old", "old", []),
    ],
)
def test_v1_compares_hashes(line, web, db, replaced):
    found = of_v1(
        line,
        container("web", "web", hash_=web),
        container("db", "db", hash_=db),
        services=[WEB, DB],
    )
    assert sorted(names(found.replaced)) == sorted(replaced)
    assert found.removed == ()


@pytest.mark.parametrize(("more", "state"), [({"linked": True}, True), ({}, False)])
def test_v1_replaces_a_linked_or_stopped_dependent_too(more, state):
    found = of_v1(
        "docker-compose up -d",
        container("web", "web", hash_="w", running=state),
        container("db", "db", hash_="old"),
        services=[replace(WEB, **more), DB],
    )
    assert sorted(names(found.replaced)) == ["db", "web"]


def three(*running):
    return [
        container(f"web{n}", "web", number=n, hash_="w", running=n in running) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("line", "running", "removed"),
    [
        ("docker-compose up -d", (1, 2, 3), ["web2", "web3"]),
        ("docker-compose up -d --scale web=2", (1, 2, 3), ["web3"]),
        ("docker-compose up -d --scale web=0", (1, 2, 3), ["web1", "web2", "web3"]),
        ("docker-compose scale web=2", (1, 2, 3), ["web3"]),
        ("docker-compose scale web=1", (2, 3), ["web3"]),
        ("docker-compose scale web=2", (2, 3), []),
        ("docker-compose scale web=2", (3,), ["web3"]),
    ],
)
def test_v1_drops_the_highest_numbers(line, running, removed):
    found = of_v1(line, *three(*running), services=[ModelService("web", hash="w")])
    assert names(found.removed) == removed


def test_v1_does_not_take_a_service_of_a_profile_that_is_off_for_an_orphan():
    found = of_v1(
        "docker-compose up -d --remove-orphans",
        container("tool", "tool", hash_="t"),
        container("old", "old"),
        container("one", "old", oneoff=True),
        services=[WEB, DB, ModelService("tool")],
    )
    assert names(found.removed) == ["old"]


# Host paths.


def mounts(version, *volumes):
    (service,) = printed.services({"web": {"image": "x", "volumes": list(volumes)}}, "app", version)
    return [path.source for path in service.binds], list(service.needs)


@pytest.mark.parametrize(
    ("bind", "version", "made"),
    [
        (None, V1, False),
        (None, V226, False),
        (None, V240, True),
        (None, V5, True),
        ({}, V240, False),
        ({}, V5, True),
        ({"propagation": "rprivate"}, V226, False),
        ({"create_host_path": True}, V226, True),
        ({"create_host_path": True, "propagation": "rprivate"}, V240, True),
        ({"create_host_path": False}, V5, False),
    ],
)
def test_whether_a_long_mounts_source_is_made_hangs_on_the_version(bind, version, made):
    mount = {"type": "bind", "source": "/s", "target": "/t"}
    if bind is not None:
        mount["bind"] = bind
    assert mounts(version, mount) == ((["/s"], []) if made else ([], ["/s"]))


def test_v1s_short_mounts_are_read_as_it_prints_them():
    section = {"web": {"volumes": ["/anon", "data:/data:rw", "/host:/h:ro"], "links": ["db:x"]}}
    (service,) = printed.services(section, "_app", V1)
    assert service.anonymous == {"/anon"}
    assert service.volumes == {"data"}
    assert service.binds == (HostPath("/host", "/h", "web", "app_web"),)
    assert (service.image, service.depends, service.linked) == ("app_web", ("db",), True)


def test_a_service_depends_on_what_its_container_refers_to():
    section = {
        "web": {
            "image": "x",
            "network_mode": "service:net",
            "volumes_from": ["data:ro", "container:foo"],
            "depends_on": {"db": {"restart": True}},
            "scale": 2,
        }
    }
    (service,) = printed.services(section, "app", V240)
    assert service.depends == ("db", "net", "data")
    assert service.shares == ("net", "data")
    assert (service.restarts_with, service.replicas) == (("db",), 2)


BOUND = [
    ModelService("web", binds=(HostPath("/w", "/w", "web"),), depends=("db",)),
    ModelService("db", binds=(HostPath("/d", "/d", "db"),)),
]


@pytest.mark.parametrize(
    ("line", "there", "paths"),
    [
        ("docker compose up", [], ["/w", "/d"]),
        ("docker compose up --no-deps web", [], ["/w"]),
        ("docker compose up db", [], ["/d"]),
        ("docker compose up --no-start", [], []),
        ("docker compose create", [], []),
        ("docker compose up --scale web=0", [], ["/d"]),
        ("docker compose up", ["web"], ["/d"]),
        ("docker compose up", ["web", "db"], []),
        ("docker compose up --scale web=2", ["web", "db"], ["/w"]),
        ("docker compose run web sh", ["web", "db"], ["/w"]),
        ("docker compose run -v /x:/x -v ../y:/y -v zz:/z web sh", ["db"], ["/w", "/x", "/y"]),
        ("docker compose run -v /x:/w web sh", ["db"], ["/x"]),
        ("docker compose run -v ~/y:/y db sh", [], ["/d", "/home/~/y"]),
        ("docker compose watch --no-up", [], []),
        ("docker compose start", [], []),
    ],
)
def test_new_containers_make_the_paths_of_their_services(line, there, paths):
    held = facts(
        V240,
        *(container(name, name) for name in there),
        services=BOUND,
        dry_run=DryRun((), ()),
        folder="/home",
    )
    assert [path.source for path in starts.new_paths(command(line, V240), held)] == paths


@pytest.mark.parametrize(
    ("source", "version", "path"),
    [
        ("/x/../y", V1, "/y"),
        ("./xy", V1, ""),
        ("./x", V1, None),
        ("../x", V1, None),
        ("name", V226, ""),
        ("./x", V226, None),
        ("~/x", V226, None),
        ("./x", V240, "/home/x"),
        ("x/y", V240, None),
    ],
)
def test_a_relative_path_of_run_is_one_since_2_27(source, version, path):
    assert starts.source_of_run(source, "/home", version) == path


@pytest.mark.parametrize(
    ("line", "started"),
    [
        ("docker compose start", ["db"]),
        ("docker compose start web", ["db"]),
        ("docker compose restart", ["web", "db"]),
        ("docker compose restart web", ["web"]),
        ("docker compose restart db", ["web", "db"]),
        ("docker compose restart --no-deps db", ["db"]),
        ("docker compose up", ["db"]),
        ("docker compose create", []),
    ],
)
def test_containers_that_are_there_are_started_with_their_own_mounts(line, started):
    services = [replace(BOUND[0], restarts_with=("db",)), BOUND[1]]
    held = facts(
        V240,
        container("web", "web"),
        container("db", "db", running=False),
        container("one", "web", oneoff=True, running=False),
        services=services,
        dry_run=DryRun((), ()),
    )
    assert names(starts.started(command(line, V240), held)) == started


@pytest.mark.parametrize(
    ("line", "version", "ended"),
    [
        ("docker compose kill", V240, ["web", "one"]),
        ("docker compose kill web", V240, ["web", "one"]),
        ("docker compose kill --remove-orphans", V240, ["web", "one", "old"]),
        ("docker compose stop", V240, ["web"]),
        ("docker-compose kill", V1, ["web"]),
    ],
)
def test_only_v2s_kill_means_one_off_containers(line, version, ended):
    held = facts(
        version,
        container("web", "web"),
        container("one", "web", oneoff=True),
        container("old", "old"),
        container("halted", "web", running=False),
        services=[ModelService("web")],
    )
    assert names(starts.ended(command(line, version), held)) == ended


@pytest.mark.parametrize(
    ("line", "version", "started"),
    [
        ("docker compose up", V240, []),
        ("docker compose run web sh", V240, ["db", "other"]),
        ("docker compose run other sh", V240, []),
        ("docker-compose up", V1, ["db", "other"]),
    ],
)
def test_what_is_started_though_the_container_of_web_cannot_be_made(line, version, started):
    services = [ModelService("web", depends=("db",)), ModelService("db"), ModelService("other")]
    tells = starts.unbroken(command(line, version), facts(version, services=services), {"web"})
    assert [one.name for one in services if tells(one.name)] == started


def test_v1_does_not_start_what_depends_on_a_broken_service():
    services = [ModelService("web", depends=("db",)), ModelService("db"), ModelService("other")]
    held = facts(V1, services=services)
    tells = starts.unbroken(command("docker-compose up", V1), held, {"db"})
    assert [one.name for one in services if tells(one.name)] == ["other"]
