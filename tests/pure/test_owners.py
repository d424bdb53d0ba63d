"""Whose a volume or a container is, by the signs that a machine gives."""

from __future__ import annotations

import pytest

from safedocker.command.parse import parse
from safedocker.edge import people
from safedocker.loss import forms, owners
from safedocker.loss.facts import (
    COMPOSE_FOLDER,
    COMPOSE_PROJECT,
    OWNER,
    Container,
    EngineIdentity,
    Facts,
    Mount,
    Volume,
)
from safedocker.loss.owners import Mark, Signs, attach, owner_of
from safedocker.loss.plan import Kind, Loss, Plan, Sign

ANNA, BOB, WWW = 1001, 1002, 33
NAMES = {ANNA: "anna", BOB: "bob", WWW: "www-data", 0: "root"}
MADE = 1_795_730_191.0
AT = "2026-11-26T21:56:31Z"


def a_volume(name="db", project=None, at=AT, **labels):
    own = {COMPOSE_PROJECT: project} if project else {}
    return Volume(name, "local", {}, {**own, **labels}, at)


def a_container(name, *volumes, folder="", project=None, created=MADE):
    labels = {COMPOSE_FOLDER: folder} if folder else {}
    if project:
        labels[COMPOSE_PROJECT] = project
    mounts = tuple(Mount("volume", one, "", "/x", None) for one in volumes)
    return Container(f"id-{name}", name, "img", False, labels, mounts, created=created)


def facts(*containers, volumes=(), version="26.1.5"):
    engine = EngineIdentity("unix:///s", "default", "vm", "ID", version, (1, 45), False)
    return Facts(engine, (1, 45), {one.name: one for one in volumes}, containers)


def signs(*marks, folders=(), me=BOB):
    return Signs(frozenset({me}), NAMES, dict(folders), tuple(marks))


def told(found):
    return found and (found.name, found.sign, found.mine)


@pytest.mark.parametrize("label", ["anna", "1001"])
def test_a_label_that_its_maker_gave_it_comes_first(label):
    volume = a_volume(**{OWNER: label})
    mark = Mark(BOB, MADE - 1, frozenset({"db"}))
    found = owner_of(volume, facts(), signs(mark))
    assert told(found) == ("anna", Sign.LABEL, False)


def test_a_label_with_a_login_that_is_none_tells_nothing():
    assert owner_of(a_volume(**{OWNER: "nobody-known"}), facts(), signs()) is None


@pytest.mark.parametrize(
    ("marks", "name"),
    [
        pytest.param([(ANNA, -1)], "anna", id="just-before"),
        pytest.param([(ANNA, 0.9)], "anna", id="dates-are-whole-seconds"),
        pytest.param([(ANNA, -600)], "anna", id="its-image-was-pulled-first"),
        pytest.param([(ANNA, -9000)], None, id="long-before-it-was-made"),
        pytest.param([(ANNA, 50)], None, id="used-later"),
        pytest.param([(ANNA, -300), (BOB, -2)], "bob", id="the-last-before-it-made-it"),
        pytest.param([(ANNA, -2), (BOB, 300)], "anna", id="who-uses-it-later-does-not-own-it"),
    ],
)
def test_who_typed_what_made_it_owns_it(marks, name):
    found = owner_of(
        a_volume(),
        facts(),
        signs(*(Mark(uid, MADE + after, frozenset({"db"})) for uid, after in marks)),
    )
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("uids", "name"), [([ANNA, ANNA], "anna"), ([ANNA, BOB], None), ([], None)]
)
def test_an_engine_that_keeps_no_dates_is_believed_where_one_alone_named_it(uids, name):
    marks = [Mark(uid, MADE + 9999 * n, frozenset({"db"})) for n, uid in enumerate(uids)]
    found = owner_of(a_volume(), facts(version="20.10.24"), signs(*marks))
    assert told(found) == (name and (name, Sign.ALONE, False))


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        pytest.param({"/home/anna/shop": ANNA}, "anna", id="a-persons"),
        pytest.param({"/home/anna/shop": 0}, None, id="roots"),
        pytest.param({"/home/anna/shop": WWW}, None, id="the-systems"),
        pytest.param({"/home/anna/shop": 65534}, None, id="nobodys"),
        pytest.param({}, None, id="not-there"),
    ],
)
def test_the_folder_of_its_project_tells_whose_it_is(folders, name):
    db = a_volume(project="shop")
    web = a_container("web", "db", folder="/home/anna/shop", project="shop")
    cold = a_volume("cold", project="shop")  # of the project, and mounted by nobody
    state = facts(web, volumes=(db, cold))
    for volume in (db, cold):
        found = owner_of(volume, state, signs(folders=folders.items()))
        assert told(found) == (name and (name, Sign.FOLDER, False))


def test_a_volume_of_two_peoples_projects_is_nobodys():
    folders = {"/home/anna/app": ANNA, "/home/bob/app": BOB}
    users = [a_container(f"c{n}", "db", folder=one, project="app") for n, one in enumerate(folders)]
    assert owner_of(a_volume(project="app"), facts(*users), signs(folders=folders.items())) is None


@pytest.mark.parametrize(("uids", "name"), [([ANNA, ANNA], "anna"), ([ANNA, BOB], None)])
def test_a_project_without_containers_is_of_who_alone_brought_it_up(uids, name):
    marks = [Mark(uid, MADE, project="shop") for uid in uids]
    found = owner_of(a_volume(project="shop", at=""), facts(), signs(*marks))
    assert (found.name if found else None) == name


def test_what_is_mine_is_known_as_such_and_root_by_sudo_is_two():
    volume = a_volume(**{OWNER: "anna"})
    found = owner_of(volume, facts(), Signs(frozenset({0, ANNA}), NAMES))
    assert told(found) == ("anna", Sign.LABEL, True)


def test_a_containers_layer_is_of_who_ran_it_and_an_anonymous_volume_with_it():
    digest = "a" * 64
    box = a_container("box", digest)
    anonymous = Volume(digest, "local", {}, {}, AT)
    mark = Mark(ANNA, MADE - 2, containers=frozenset({"box"}))
    (command,) = parse("docker", ["rm", "-v", "box"])
    form = forms.match(command)
    assert form is not None
    losses = (
        Loss(Kind.ANONYMOUS_VOLUME, digest, anonymous, ""),
        Loss(Kind.LAYER, "box", None, "", id="id-box"),
        Loss(Kind.IMAGE, "img", None, ""),
    )
    plan = Plan(command, form, None, losses)
    found = attach(plan, facts(box, volumes=(anonymous,)), signs(mark)).losses
    assert [told(one.owner) for one in found] == [("anna", Sign.MADE, False)] * 2 + [None]
    assert [one.anothers for one in found] == [True, True, False]


def test_the_folders_to_look_at_are_those_that_containers_name():
    state = facts(a_container("a", folder="/x"), a_container("b", folder="C:\\x"), a_container("c"))
    assert owners.folders(state) == {"/x"}


def test_a_folder_that_is_gone_is_nobodys_and_one_that_is_here_has_an_owner(tmp_path):
    assert people.owner_of(str(tmp_path)) == tmp_path.stat().st_uid
    assert people.owner_of(str(tmp_path / "gone")) is None
    assert people.owner_of("/x\0y") is None
