"""Where data lies: the picture's layout, the page, and where a volume without a container was."""

from __future__ import annotations

import datetime
import itertools
import os
import re
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.edge import audit, folder, look, page, wording_places, wording_rescue
from safedocker.edge.traces import tables_of
from safedocker.edge.treemap import Box, squarify
from safedocker.loss import databases, orphans, places, storage
from safedocker.loss.facts import (
    COMPOSE_ONEOFF,
    COMPOSE_PROJECT,
    Container,
    EngineIdentity,
    Facts,
    Holds,
    Image,
    Look,
    Mount,
    Volume,
)
from safedocker.loss.orphans import Origin, Trace
from safedocker.loss.places import Ending, Fate, Sort
from safedocker.loss.storage import Spot, Storage

ENGINE = EngineIdentity("unix:///x", "default", "box", "id", "26.1.5", (1, 45), remote=False)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ANONYMOUS = "0123456789abcdef" * 4


def volume(name, project=None):
    return Volume(name, "local", {}, {COMPOSE_PROJECT: project} if project else {}, "then")


def container(name, *mounts, project=None):
    made = tuple(Mount("volume", v, "", f"/{v[:4]}", v == ANONYMOUS) for v in mounts)
    labels = {COMPOSE_PROJECT: project} if project else {}
    return Container(name * 8, name, "img", False, labels, made, "exited", inspected=True)


def facts(volumes, containers):
    return Facts(ENGINE, (1, 45), {v.name: v for v in volumes}, tuple(containers))


def spots_of(given_facts, looks=None):
    endings = places.Endings(given_facts)
    found = [p for c in given_facts.containers for p in places.of_container(c, given_facts.volumes)]
    found += places.unused(given_facts)
    look = Look(Holds.DATA, 1000, 1000, "files", NOW)
    return tuple(
        Spot(one, (looks or {}).get(one.source, look), None, endings.fates(one)) for one in found
    )


# the treemap


@given(
    st.lists(st.integers(0, 10**13), min_size=1, max_size=40),
    st.floats(1, 2000),
    st.floats(1, 2000),
)
def test_boxes_fill_the_area_as_their_weights_say_and_do_not_overlap(weights, width, height):
    boxes = squarify(weights, Box(0, 0, width, height))
    area = width * height
    assert len(boxes) == len(weights)
    total = sum(weights)
    for weight, box in zip(weights, boxes, strict=True):
        if total:
            share = box.width * box.height / area
            assert share == pytest.approx(weight / total, rel=1e-3, abs=1e-6)
        assert -1e-6 <= box.x <= box.x + box.width <= width * (1 + 1e-9) + 1e-6
        assert -1e-6 <= box.y <= box.y + box.height <= height * (1 + 1e-9) + 1e-6
    for one, other in itertools.combinations(boxes, 2):
        wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(wide, high) <= 1e-6 * max(width, height)


def test_boxes_are_nearly_square_where_they_can_be():
    """The example of the paper: no side is three times the other."""
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert max(max(b.width / b.height, b.height / b.width) for b in boxes) < 3


# the page


class Seen(HTMLParser):
    """The elements of a page, and what it shows."""

    def __init__(self):
        super().__init__()
        self.tags = set()
        self.attributes = set()
        self.texts = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_escapes_every_name_and_takes_nothing_from_elsewhere():
    evil = '<script>alert("1")</script>\x1b[2J'
    box = container(evil, evil, project=evil)
    held = facts([volume(evil, project=evil), volume("lone")], [replace(box, image=evil)])
    elsewhere = Look(Holds.DATA, 10, 10, evil, NOW)
    found = Storage(ENGINE, (1, 45), spots_of(held, {evil: elsewhere}), asked=evil, gaps=(evil,))
    endings = places.Endings(held)
    prunes = {ending: endings.taken(ending) for ending in places.PRUNES}
    freeable = storage.reclaimable(found, prunes)
    text = page.html(found, storage.amounts(found.spots), freeable, NOW)
    seen = Seen()
    seen.feed(text)
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "use", "a"}
    assert not any(name.startswith(("on", "href", "src", "xlink")) for name in seen.attributes)
    assert "<script>" in "".join(seen.texts)
    assert "\x1b" not in text
    assert not re.search(r"https?:|url\(|@import", text)


# what things come to


def test_what_two_containers_share_counts_once_and_a_cost_names_its_content():
    held = facts([volume("data"), volume("lone")], [container("a", "data"), container("b", "data")])
    spots = spots_of(held, {"lone": Look(Holds.DATA, None, 70, "Redis 7.0", NOW)})
    assert storage.amounts(spots)[Sort.NAMED] == storage.Amount(2, 1070, 1)
    endings = places.Endings(held)
    prunes = {ending: endings.taken(ending) for ending in places.PRUNES}
    rows = storage.reclaimable(Storage(ENGINE, (1, 45), spots), prunes)
    costs = {row.command: row.costs for row in rows}
    assert costs["docker volume rm"] == ("lone: Redis 7.0",)
    assert costs["docker container prune"] == ("container a: files", "container b: files")


def test_a_volume_of_another_project_may_go_with_the_file_and_nobody_can_tell():
    held = facts(
        [volume("ours", project="shop"), volume("theirs", project="other")],
        [container("web", "ours", "theirs", ANONYMOUS, project="shop")],
    )
    fates = {spot.place.source: spot.fates[Ending.DOWN_VOLUMES] for spot in spots_of(held)}
    assert (fates["ours"], fates["theirs"]) == (Fate.GOES, Fate.UNKNOWN)


def test_a_container_that_was_not_inspected_leaves_its_volumes_fate_open():
    box = container("box", "data")
    box = replace(box, mounts=(replace(box.mounts[0], anonymous=None),), inspected=False)
    (data, _layer) = spots_of(facts([volume("data")], [box]))
    assert data.fates[Ending.RM_VOLUMES] is Fate.UNKNOWN


def test_of_what_compose_run_left_v2_takes_nothing_along_and_v1_all():
    once = container("once", "data", project="shop")
    once = replace(once, labels={**once.labels, COMPOSE_ONEOFF: "True"})
    held = facts([volume("data", project="shop")], [once])
    (data, layer) = spots_of(held)
    assert {data.fates[Ending.DOWN_VOLUMES], layer.fates[Ending.DOWN]} == {Fate.STAYS}
    (data, layer) = spots_of(replace(held, compose=(1, 29, 2)))
    assert {data.fates[Ending.DOWN_VOLUMES], layer.fates[Ending.DOWN]} == {Fate.GOES}


def test_a_prune_that_the_configuration_makes_fail_takes_nothing():
    held = replace(facts([volume(ANONYMOUS)], []), prune_filters=(("nosuch", "1"),))
    assert places.Endings(held).taken(Ending.VOLUME_PRUNE) == places.Taken()


def test_a_word_means_a_container_before_a_project_before_a_service():
    web = container("web", project="shop")
    service = replace(container("other"), labels={"com.docker.compose.service": "shop"})
    assert storage.chosen([web, service], "web") == (web,)
    assert storage.chosen([web, service], "shop") == (web,)
    assert storage.chosen([service], "shop") == (service,)
    assert storage.chosen([web], "nosuch") == ()


# where a volume was


IMAGES = {
    "postgres:15": frozenset({"/var/lib/postgresql/data"}),
    "postgres:16": frozenset({"/var/lib/postgresql/data"}),
    "registry:5000/mine/redis:7": frozenset({"/data"}),
}


@pytest.mark.parametrize(
    ("content", "image"),
    [
        ("PostgreSQL 15", "postgres:15"),
        ("PostgreSQL 16", "postgres:16"),
        ("PostgreSQL 1", None),  # another version would not start with it
        ("Redis", "registry:5000/mine/redis:7"),
        ("files", None),
    ],
)
def test_the_content_names_an_image_of_its_own_version_or_none(content, image):
    found = orphans.origin(volume("v"), content, orphans.Traces(images=IMAGES))
    assert (found and found.image) == image


def test_a_trace_is_filled_up_from_the_next_and_a_guess_stays_one():
    told = orphans.Traces(
        audit={"v": Origin(Trace.AUDIT, "pg", target="/var/lib/postgresql/data")},
        events={"v": Origin(Trace.EVENTS, "other", "busybox", "/x")},
        images=IMAGES,
    )
    found = orphans.origin(volume("v", project="shop"), "PostgreSQL 15", told)
    assert found is not None
    assert (found.container, found.image, found.project) == ("pg", "busybox", "shop")
    assert (found.trace, found.guessed) == (Trace.AUDIT, False)
    found = orphans.origin(volume("v"), "PostgreSQL 15", replace(told, events={}))
    assert found is not None
    assert (found.image, found.guessed) == ("postgres:15", True)


def test_each_row_of_images_is_of_a_content_that_is_recognised():
    assert {row.name for row in databases.DATABASES} <= {row.name for row in look.ROWS}


def test_only_images_that_could_hold_it_are_asked_about():
    images = [Image("i", ("postgres:15", "a/postgis:3"), 1), Image("j", ("redis:7",), 1)]
    assert orphans.likely(images, ["PostgreSQL 15"]) == ("a/postgis:3", "postgres:15")
    assert orphans.likely(images, ["files", ""]) == ()


def test_older_audit_lines_tell_the_container_in_words_and_those_of_another_engine_do_not_count(
    tmp_path,
):
    file = tmp_path / "audit.jsonl"
    loss = f'{{"kind":"detached volume","name":"{ANONYMOUS}","why":"anonymous volume of pg at /d"}}'
    file.write_text(f'torn{{\n{{"engine_id":"me","losses":[{loss}]}}\n')
    (found,) = audit.traces(file, "me").values()
    assert (found.container, found.target) == ("pg", "/d")
    assert audit.traces(file, "another") == {}
    assert audit.traces(tmp_path / "none", "me") == {}


def test_tables_are_read_from_a_file_with_a_log_beside_it_and_damage_is_no_fault(tmp_path):
    file = tmp_path / "x.db"
    with sqlite3.connect(file) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table b (id)")
        database.execute("create table a (id)")
    database.close()
    assert tables_of(file.read_bytes()) == ("a", "b")
    assert tables_of(file.read_bytes()[:100] + bytes(5000)) == ()


def test_offered_names_are_free_and_hostile_ones_are_quoted():
    taken = frozenset({"pg-data", "pg-data-rescued"})
    offers = wording_rescue.Offers(("-H", "tcp://x"), taken, frozenset({"pg"}), frozenset())
    found = wording_rescue.Found(
        volume(ANONYMOUS),
        Look(Holds.DATA, 1, 1, "files", None),
        Origin(Trace.EVENTS, "pg", "img", "/a b;rm"),
        anonymous=True,
    )
    assert wording_rescue.suggested(found, offers) == "pg-data-rescued-2"
    line = wording_rescue.offers_of(found, offers)["use it as it is"]
    mount = f"'{ANONYMOUS}:/a b;rm'"
    assert line.startswith(f"docker -H tcp://x run -d --name pg-rescued -v {mount} img")


def test_a_long_path_is_shortened_in_a_table_and_told_in_full_below():
    path = "/home/somebody/work/projects/shop/src"
    mount = Mount("bind", "", path, "/app", None)
    box = replace(container("box"), mounts=(mount,))
    spots = spots_of(facts([], [box]))
    rows = [wording_places.narrow(wording_places.row(spot, NOW)) for spot in spots]
    short = rows[0][0]
    assert short == "…/work/projects/shop/src"
    assert f"{short} is {path}" in list(wording_places.notes(spots))
    assert wording_places.narrow(("/short", "x")) == ("/short", "x")


def test_what_is_copied_out_of_a_container_is_quoted_and_goes_into_one_folder():
    offers = wording_rescue.Offers((), frozenset(), frozenset(), frozenset())
    ended = wording_rescue.Ended(
        container("job"), Look(Holds.DATA, 9, 9, "files", None), ("/a b", "/result")
    )
    told = wording_rescue.offers_of_ended(ended, offers)["copy its files out"]
    one, two = "docker cp 'job:/a b' job-files", "docker cp job:/result job-files"
    assert told == f"mkdir job-files && {one} && {two}"


def test_what_is_in_a_folder_of_the_host_is_seen_without_the_engine(tmp_path):
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0009\xfa\tredis-ver\x057.0.1")
    os.mkfifo(tmp_path / "pipe")
    look = folder.look_into(str(tmp_path), 2.0)
    assert (look.content, look.size) == ("Redis 7.0", 26)
    assert folder.look_into(str(tmp_path / "nowhere"), 1.0).size is None
    (tmp_path / "dump.rdb").unlink()
    (tmp_path / "pipe").unlink()
    assert folder.look_into(str(tmp_path), 2.0).holds is Holds.EMPTY
