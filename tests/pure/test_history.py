"""Decisions that were written down, joined with what the engine tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.loss.history import (
    Cause,
    Entry,
    Event,
    Lost,
    Told,
    Wanted,
    about,
    chosen,
    removals,
    undos,
    without_doubles,
)

DIGEST = "3f2a9c81b4de70715ac1b0d2e94f8a6630c2d1e5f7a8b9c0d1e2f3a4b5c6d7e8"
BASE = Entry(
    at=1000.0,
    person=1001,
    command="docker volume rm pgdata",
    directory="/home/anna",
    caller="agent",
    mark="CLAUDECODE",
    parent="bash",
    form="volume-rm",
    outcome="backed up",
    backup="B1",
    engine="unix:///s",
    engine_id="ENGINE-1",
    engine_name="vm",
    project="shop",
    losses=(
        Lost("named volume", "pgdata", 5),
        Lost("anonymous volume", DIGEST, 5, ("web",)),
        Lost("container layer", "job", None, project="batch"),
    ),
    pid=7,
)


def gone(name="pgdata", at=1003.0, kind="volume"):
    return Event(at, kind, name)


def of(*events):
    return Told("ENGINE-1", events, 900.0)


@pytest.mark.parametrize(
    ("entries", "event", "cause"),
    [
        pytest.param([BASE], gone(), Cause.COMMAND, id="named-and-let-run"),
        pytest.param([BASE], gone(at=999.0), Cause.COMMAND, id="clocks-differ-a-little"),
        pytest.param([BASE], gone(at=990.0), Cause.UNSEEN, id="before-it-was-typed"),
        pytest.param([BASE], gone(at=9000.0), Cause.UNSEEN, id="long-after"),
        pytest.param([BASE], gone("other"), Cause.UNSEEN, id="another-volume"),
        pytest.param([], gone(), Cause.UNSEEN, id="nothing-was-typed"),
        pytest.param([replace(BASE, outcome="refused")], gone(), Cause.UNSEEN, id="refused"),
        pytest.param([replace(BASE, outcome="cancelled")], gone(), Cause.UNSEEN, id="cancelled"),
        pytest.param([replace(BASE, engine_id="E2")], gone(), Cause.UNSEEN, id="another-engine"),
        pytest.param(
            [BASE, replace(BASE, at=1001.0, outcome="called off")],
            gone(),
            Cause.UNSEEN,
            id="called-off",
        ),
        pytest.param([replace(BASE, losses=(), gaps=("x",))], gone(), Cause.PERHAPS, id="a-gap"),
        pytest.param([BASE], gone("job", kind="container"), Cause.COMMAND, id="container"),
        pytest.param([BASE], gone("pgdata", kind="container"), Cause.UNSEEN, id="kinds-differ"),
    ],
)
def test_a_removal_is_explained_by_a_command_that_was_let_run_and_named_it(entries, event, cause):
    (found,) = removals(entries, of(event))
    assert found.cause is cause
    assert (found.entry is not None) == (cause is not Cause.UNSEEN)


def test_of_two_commands_the_last_before_the_removal_did_it():
    later = replace(BASE, at=1002.0, pid=8)
    after = replace(BASE, at=1100.0, pid=9)
    (found,) = removals([BASE, later, after], of(gone()))
    assert found.entry == later


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(volume="pgdata"), True),
        (Wanted(volume="pgdat"), False),
        (Wanted(volume=DIGEST[:12]), True),
        (Wanted(volume="job"), False),
        (Wanted(container="job"), True),
        (Wanted(container="web"), True),
        (Wanted(container="pgdata"), False),
        (Wanted(project="shop"), True),
        (Wanted(project="batch"), True),
        (Wanted(project="x"), False),
        (Wanted(engine="vm"), True),
        (Wanted(engine="unix:///s"), True),
        (Wanted(engine="ENGINE"), True),
        (Wanted(engine="E2"), False),
        (Wanted(outcome="backed"), True),
        (Wanted(outcome="refused"), False),
        (Wanted(caller="agent"), True),
        (Wanted(caller="CLAUDECODE"), True),
        (Wanted(caller="anna", persons=frozenset({1001})), True),
        (Wanted(caller="bob", persons=frozenset({1002})), False),
        (Wanted(since=999.0), True),
        (Wanted(since=1001.0), False),
    ],
)
def test_what_is_asked_for(wanted, fits):
    assert bool(chosen([BASE], wanted)) == fits


def test_the_newest_comes_first_and_two_logs_tell_it_once():
    later = replace(BASE, at=2000.0)
    told = chosen([BASE, later, replace(BASE, command="as others read it")], Wanted())
    assert told == (later, BASE)


def test_a_command_that_was_called_off_is_told_once_and_was_not_let_run():
    off = replace(BASE, at=1005.0, outcome="called off")
    other = replace(off, backup="B2")  # of a later round, written in the same millisecond
    assert without_doubles([BASE, replace(BASE, backup="B2"), off, other]) == (off, other)
    assert not off.ran


def test_when_it_was_put_back():
    undo = replace(BASE, at=5000.0, form="safedocker-undo", backup="", backups=("B1",))
    assert undos([BASE, replace(undo, at=6000.0), undo]) == {"B1": 5000.0}


def test_events_of_one_thing_alone():
    events = of(gone(), gone(DIGEST), gone("job", kind="container"))
    assert [one.name for one in about(events).events] == ["pgdata", DIGEST]
    assert [one.name for one in about(events, volume="3f2a9c").events] == [DIGEST]
    assert [one.name for one in about(events, container="job").events] == ["job"]
