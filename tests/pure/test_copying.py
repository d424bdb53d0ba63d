"""What `cp` writes over, by its words: which end is a container's, and where the source lands."""

import pytest

from safedocker.errors import WouldFail
from safedocker.loss import copying
from safedocker.loss.copying import End, Place
from safedocker.loss.facts import Overwritten
from safedocker.loss.plan import Kind

FILE, FOLDER, NOTHING = Place(True), Place(True, folder=True), Place(False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("web:/a", "b"), (End("web", "/a"), End("", "b"))),
        (("./a:b", "web:c:d"), (End("", "./a:b"), End("web", "c:d"))),
        (("/a:b", "web:"), (End("", "/a:b"), End("web", ""))),
        (("-", "web:/a"), (End("", "-"), End("web", "/a"))),
    ],
)
def test_ends(words, expected):
    assert copying.ends(words) == expected


@pytest.mark.parametrize("words", [("a", "b"), ("w:/a", "v:/b"), ("w:/a",), ("", "w:/a")])
def test_words_that_docker_refuses(words):
    with pytest.raises(WouldFail):
        copying.ends(words)


@pytest.mark.parametrize(
    ("source", "what", "destination", "there", "expected"),
    [
        ("/s/f", FILE, "/d", FOLDER, "/d/f"),
        ("/s/f", FILE, "/d/g", FILE, "/d/g"),
        ("/s/f", FILE, "/d/g", NOTHING, None),
        ("/s", FOLDER, "/d", FOLDER, "/d/s"),
        ("/s/", FOLDER, "/d", FOLDER, "/d/s"),
        ("/s/.", FOLDER, "/d", FOLDER, "/d"),
        (".", FOLDER, "/d", FOLDER, "/d"),
        ("/s", FOLDER, "/d", NOTHING, None),
    ],
)
def test_where_the_source_lands(source, what, destination, there, expected):
    assert copying.root(End("", source), what, End("w", destination), there) == expected


@pytest.mark.parametrize(("what", "there"), [(NOTHING, FOLDER), (FOLDER, FILE)])
def test_copies_that_docker_refuses(what, there):
    with pytest.raises(WouldFail):
        copying.root(End("", "/s"), what, End("w", "/d"), there)


def test_files_are_one_loss_with_the_weight_of_all():
    files = [Overwritten("w:/d/a", 40_000_000), Overwritten("w:/d/e/b", 20_000_000, "Redis")]
    (loss,) = copying.losses(files)
    assert (loss.kind, loss.name, loss.size, loss.content) == (
        Kind.FILE,
        "w:/d",
        60_000_000,
        "Redis",
    )
    assert loss.why == "2 files in it are written over: a, e/b"
    assert copying.losses([]) == []


def test_one_unknown_size_makes_all_of_it_unknown():
    (loss,) = copying.losses([Overwritten("/d/a", 5), Overwritten("/d/b", None)])
    assert (loss.size, loss.at_least) == (None, 5)
