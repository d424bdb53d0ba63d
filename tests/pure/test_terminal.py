"""The preview as golden text, at several widths. SAFEDOCKER_GOLDEN=write writes the files anew."""

import datetime
import os
import pathlib
import re
from dataclasses import replace

import pytest

from safedocker.command.parse import parse
from safedocker.edge import terminal, wording, wording_refusal
from safedocker.errors import SafedockerError
from safedocker.loss import forms
from safedocker.loss.facts import Bytes, EngineIdentity, Holds, Volume
from safedocker.loss.plan import Kind, Loss, Ownership, Plan, Sign, Stays
from safedocker.policy.decide import Action, Decision, challenge
from safedocker.policy.options import Caller, CallerKind

GOLDEN = pathlib.Path(__file__).with_name("golden")
WRITE = os.environ.get("SAFEDOCKER_GOLDEN") == "write"  # read before conftest.py clears it
NOW = datetime.datetime(2026, 11, 23, 2, 4, 0, tzinfo=datetime.UTC)
LOCAL = EngineIdentity(
    "unix:///var/run/docker.sock", "default", "laptop", "ID", "26.1.5", (1, 45), False
)
REMOTE = replace(
    LOCAL, host="tcp://10.0.0.5:2376", source="--context prod", name="db-prod-1", remote=True
)
DIGEST = "3f2a9c81b4de70715ac1b0d2e94f8a6630c2d1e5f7a8b9c0d1e2f3a4b5c6d7e8"


def plan(words, losses=(), **more):
    """A plan of a command line, with its form as the table has it."""
    program, *rest = words.split()
    command = parse(program, rest)[-1]
    form = forms.match(command)
    assert form is not None
    return Plan(**{"command": command, "form": form, "engine": LOCAL, "losses": losses} | more)


def loss(name, size=None, content="", minutes=None, holds=None, **more):
    """A loss; it holds data when its size is known."""
    options = more.pop("options", {})
    anonymous = wording.to_type(name) != name
    kind = more.pop("kind", Kind.ANONYMOUS_VOLUME if anonymous else Kind.NAMED_VOLUME)
    return Loss(
        kind=kind,
        name=name,
        volume=Volume(name, "local", options, {}, "2026-01-01T00:00:00Z"),
        why=more.pop("why", "in a test"),
        holds=holds or (Holds.UNKNOWN if size is None else Holds.DATA),
        size=size,
        at_least=more.pop("at_least", size or 0),
        content=content,
        last_write=None if minutes is None else NOW - datetime.timedelta(minutes=minutes),
        **more,
    )


POSTGRES = plan(
    "docker compose down -v",
    (
        loss(
            "shop_pgdata", 1_240_000_000, "PostgreSQL 15", 3, used_by=("shop-db-1",), project="shop"
        ),
        loss("shop_cache", 0, holds=Holds.EMPTY, used_by=("shop-redis-1",), project="shop"),
        loss(DIGEST, 91, "files", 8, used_by=("shop-web-1", "shop-worker-1")),
    ),
    project="shop",
    safer="docker compose down",
    stays=(
        Stays("shop_media", "external: Compose leaves it alone"),
        Stays("/srv/shop/src", "bind mount of shop-web-1: a folder of the host"),
    ),
)
PRUNE = plan(
    "docker volume prune --all --force",
    (
        *(
            loss(f"{project}_{what}", size, content, minutes, project=project, **more)
            for project in ("billing", "shop", "wiki")
            for what, size, content, minutes, more in (
                ("db", 2_100_000_000, "MariaDB 10.11", 70, {}),
                ("uploads", 412_000_000, "files", 60 * 26, {}),
                ("empty", 0, "", None, {"holds": Holds.EMPTY}),
            )
        ),
        loss("experiment", 13_000, "SQLite files", 60 * 24 * 90),
        loss("old", 800, "files", 60 * 24 * 9),
        loss(DIGEST, 5_500_000, "Redis 7.0", 60 * 24 * 2),
    ),
)


def owned(name, sign=Sign.MADE, told="", at=1_795_694_400.0):
    return Ownership(1001, name, sign, told, at, mine=False)


PLANS = {
    "other-peoples": plan(
        "docker system prune -af --volumes",
        (
            loss(
                "shop_db",
                90_000_000,
                "PostgreSQL 15",
                3,
                project="shop",
                owner=owned("anna", Sign.FOLDER, "/home/anna/shop"),
            ),
            loss(
                "shop_up",
                900,
                "files",
                3,
                project="shop",
                owner=owned("anna", Sign.FOLDER, "/home/anna/shop"),
            ),
            loss("attic", 5_000, "files", 30, owner=owned("anna")),
            loss("mine", 5_000, "files", 30, owner=replace(owned("bob"), mine=True)),
            loss(
                "labelled",
                5_000,
                "files",
                30,
                owner=owned("eve", Sign.LABEL, "com.safedocker.owner=eve"),
            ),
            loss("alone", 5_000, "files", 30, owner=owned("eve", Sign.ALONE)),
        ),
    ),
    "postgres": POSTGRES,
    "prune-of-three-projects": PRUNE,
    "anonymous": plan(
        "docker rm -fv web",
        (
            loss(
                DIGEST,
                48_000_000,
                "PostgreSQL 15",
                1,
                used_by=("web",),
                why="anonymous volume of web at /data",
            ),
        ),
        stays=(Stays("conf", "a named volume of web: -v takes anonymous ones only"),),
    ),
    "nfs": plan(
        "docker volume rm exports",
        (
            loss(
                "exports",
                holds=Holds.ELSEWHERE,
                options={"type": "nfs", "o": "addr=10.0.0.9,rw", "device": ":/export/data"},
            ),
        ),
    ),
    "unknown-sizes": plan(
        "docker volume rm big huge odd",
        (
            loss("big", at_least=12_000_000_000, content="MongoDB", minutes=0),
            loss("huge", content="files", holds=Holds.DATA),
            loss("odd"),
        ),
    ),
    "gaps": plan(
        "docker compose -f prod.yml down -v",
        engine=replace(LOCAL, source="DOCKER_HOST", host="unix:///run/user/1000/docker.sock"),
        gaps=("what Compose makes of its files", "container web could not be inspected"),
    ),
    "layers-and-what-stays-behind": plan(
        "docker rm web db",
        (
            loss(
                "web",
                61_000_000,
                "files",
                kind=Kind.LAYER,
                why="what web wrote outside its volumes",
            ),
            loss(
                "db", 0, holds=Holds.EMPTY, kind=Kind.LAYER, why="what db wrote outside its volumes"
            ),
            loss(
                DIGEST,
                48_000_000,
                "PostgreSQL 15",
                kind=Kind.DETACHED_VOLUME,
                why="anonymous volume of db at /data",
            ),
        ),
    ),
    "host-paths": plan(
        "docker run -v /srv/app/dits:/usr/share/nginx/html nginx",
        (
            loss(
                "/srv/app/dits",
                kind=Kind.BIND_SOURCE,
                why="it is to be mounted at /usr/share/nginx/html",
            ),
        ),
    ),
    "stack": plan(
        "docker stack rm shop",
        (
            loss(DIGEST, 700_000, "files", 3, why="anonymous volume of shop_web.1 at /data"),
            loss("shop_tls", kind=Kind.SECRET, why="of stack shop"),
            loss("shop_nginx", kind=Kind.CONFIG, why="of stack shop"),
            loss("shop_web", kind=Kind.SERVICE, why="of stack shop"),
        ),
        gaps=("what a task of shop_web holds on another node",),
    ),
    "system-prune": plan(
        "docker system prune -af",
        (
            loss("old", 1_000, "files", kind=Kind.LAYER, why="what old wrote outside its volumes"),
            *(
                loss(f"app:{number}", 90_000_000, kind=Kind.IMAGE, why="unused")
                for number in range(10)
            ),
            loss("build cache", kind=Kind.BUILD_CACHE, why="records that no build uses"),
        ),
    ),
    "the-engine-lost-count": replace(
        POSTGRES,
        disputes=("the engine says that nobody uses the volume shop_pgdata, and lists db with it",),
    ),
    "remote": replace(POSTGRES, engine=REMOTE),
    "much-stays": replace(
        POSTGRES, stays=tuple(Stays(f"/srv/{n}", "bind mount of web") for n in range(11))
    ),
    "long-name": plan(
        "docker volume rm " + "a-very-long-name-" * 6 + "end",
        (loss("a-very-long-name-" * 6 + "end", 5_000_000, "files", 59, used_by=("a", "b")),),
    ),
}
SCRIPT = Caller(CallerKind.PERSON, "a terminal", "/bin/sh ./cleanup.sh --all")


@pytest.mark.parametrize("width", [80, 120, 34])
@pytest.mark.parametrize("name", PLANS)
def test_preview_is_golden_text(name, width):
    caller = SCRIPT if name == "gaps" else None
    told = terminal.text(PLANS[name], width=width, now=NOW, caller=caller)
    file = GOLDEN / f"{name}-{width}.txt"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(told, encoding="utf-8")
    assert told == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 34, 20])
@pytest.mark.parametrize("name", PLANS)
def test_preview_fits_its_width_and_cuts_no_name(name, width):
    told = terminal.text(PLANS[name], width=width, now=NOW)
    assert all(len(line) <= width for line in told.splitlines())
    squeezed = re.sub(r"\s", "", told)
    for one in wording.listed(PLANS[name]):
        assert wording.short(one.name).replace(" ", "") in squeezed


def test_labels_and_arguments_cannot_move_the_cursor():
    odd = replace(
        POSTGRES,
        project="shop\x1b[2Jx",
        stays=(Stays("\r\x1b]0;t\x07", "in use by \u202eweb"),),
        gaps=("\udcff\n",),
        safer="docker compose \x1b[A down",
    )
    caller = replace(SCRIPT, parent="sh \x1b[31m")
    told = terminal.text(odd, width=80, now=NOW, caller=caller)
    assert all(one.isprintable() or one == "\n" for one in told)


@pytest.mark.parametrize(
    ("parent", "shown"),
    [
        ("-bash", False),
        ("/usr/bin/zsh", False),
        ("bash --login", False),
        ("sh -c docker volume rm x", True),
        ("bash ./deploy.sh", True),
        ("make clean", True),
        ("xargs docker volume rm", True),
        ("", False),
    ],
)
def test_the_parent_is_named_unless_it_is_a_shell_at_its_prompt(parent, shown):
    told = terminal.text(POSTGRES, width=80, now=NOW, caller=replace(SCRIPT, parent=parent))
    assert ("called by: " in told) is shown


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_240_000_000, "1.2 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes(number, told):
    assert str(Bytes(number)) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-3600, "2026-11-23"),
        (-5, "just now"),
        (0, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (86400 * 30, "30 days ago"),
        (86400 * 40, "2026-10-14"),
    ],
)
def test_times(seconds, told):
    assert wording.ago(NOW - datetime.timedelta(seconds=seconds), NOW) == told


def test_the_shown_start_of_an_anonymous_name_is_what_must_be_typed():
    asked = challenge(PLANS["anonymous"])
    assert asked == DIGEST
    assert wording.to_type(asked) == DIGEST[:12]
    assert wording.to_type("shop") == "shop"


UNASKED = Caller(CallerKind.SCRIPT, "no terminal")
NOBODY = Decision(Action.REFUSE, "data would be lost and nobody can be asked", "nobody-to-ask")


def test_ways_on_name_the_backup_and_the_safer_command():
    told = wording_refusal.ways_on(POSTGRES, NOBODY, UNASKED)
    assert "to back up first and go on: SAFEDOCKER_MODE=backup docker compose down -v" in told
    assert "to keep the volumes: docker compose down" in told
    assert any("terminal" in line for line in told)


def test_ways_on_offer_no_backup_for_what_is_not_known():
    told = "\n".join(wording_refusal.ways_on(PLANS["gaps"], NOBODY, UNASKED))
    assert "SAFEDOCKER_MODE=backup" not in told
    assert "no backup can protect" in told


def test_ways_on_do_not_talk_a_person_out_of_a_denial():
    denied = Decision(Action.REFUSE, "mode deny (SAFEDOCKER_MODE)", "mode-deny")
    told = "\n".join(wording_refusal.ways_on(POSTGRES, denied, UNASKED))
    assert "MODE=" not in told
    assert "to keep the volumes: docker compose down\n" in told
    assert "has to lift it" in told


def test_what_is_another_persons_is_for_them_or_root_to_remove():
    agent = Caller(CallerKind.AGENT, "CLAUDECODE")
    theirs = Decision(Action.REFUSE, "data would be lost that is not yours", "not-yours")
    asked = "to have it removed: ask anna and eve, or have root type it at a terminal"
    for who in (UNASKED, agent):
        told = wording_refusal.ways_on(PLANS["other-peoples"], theirs, who)
        assert asked in told
        assert "MODE=" not in "".join(told)
    assert not any("rename" in line or "May I" in line for line in told)


def test_an_agent_is_told_what_to_run_instead_and_what_to_ask():
    agent = Caller(CallerKind.AGENT, "CLAUDECODE")
    told = "\n".join(wording_refusal.ways_on(POSTGRES, NOBODY, agent))
    assert "MODE=" not in told
    assert "run instead, which keeps the volumes: docker compose down\n" in told
    assert 'ask the person: "May I run `docker compose down -v`? It would delete: ' in told
    assert "PostgreSQL" in told


def test_a_fault_is_a_sentence_and_hints_below_it(capfd):
    terminal.tell(SafedockerError("refused: it is late", "go to bed\nor type \x1b it"))
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "safedocker: refused: it is late\n  go to bed\n  or type \\x1b it\n"


def test_nobody_is_asked_where_stderr_is_no_terminal(capfd):
    assert not terminal.Terminal().can_ask
