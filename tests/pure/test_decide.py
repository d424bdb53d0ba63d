"""What is done about a plan, by mode, caller and what would be lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.command.parse import parse
from safedocker.loss import forms
from safedocker.loss.facts import Holds, Volume
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.decide import Action, challenge, decide
from safedocker.policy.layers import simple
from safedocker.policy.options import Caller, CallerKind, Mode

PERSON = Caller(CallerKind.PERSON, "a terminal")
SCRIPT = Caller(CallerKind.SCRIPT, "no terminal")


def a_loss(
    name="v",
    holds=Holds.DATA,
    *,
    kind=Kind.NAMED_VOLUME,
    disposable=False,
    content="files",
    size=100,
    **more,
):
    volume = Volume(name, "local", {}, {}, "") if kind.is_volume else None
    return Loss(
        kind,
        name,
        volume,
        "",
        holds=holds,
        disposable=disposable,
        content=content,
        size=size,
        **more,
    )


def a_plan(*losses, gaps=(), project=None):
    (command,) = parse("docker", ["volume", "rm", *(loss.name for loss in losses)])
    form = next(form for form in forms.FORMS if form.name == "volume-rm")
    return Plan(command, form, None, losses, gaps=gaps, project=project)


def under(mode):
    return simple(mode, "test")


@pytest.mark.parametrize(
    ("mode", "who", "losses", "gaps", "action"),
    [
        pytest.param(Mode.ASK, PERSON, (), (), Action.PASS, id="nothing-lost"),
        pytest.param(Mode.DENY, SCRIPT, (), (), Action.PASS, id="nothing-lost-denied"),
        pytest.param(Mode.ASK, PERSON, (a_loss(),), (), Action.ASK, id="person"),
        pytest.param(Mode.ASK, SCRIPT, (a_loss(),), (), Action.REFUSE, id="nobody"),
        pytest.param(Mode.BACKUP, SCRIPT, (a_loss(),), (), Action.BACK_UP, id="mode-backup"),
        pytest.param(Mode.DENY, PERSON, (a_loss(),), (), Action.REFUSE, id="mode-deny"),
        pytest.param(Mode.ASK, SCRIPT, (a_loss(holds=Holds.UNKNOWN),), (), Action.REFUSE, id="?"),
        pytest.param(Mode.ASK, SCRIPT, (), ("x",), Action.REFUSE, id="gap"),
        pytest.param(Mode.ASK, PERSON, (), ("x",), Action.ASK, id="gap-person"),
        pytest.param(Mode.BACKUP, PERSON, (a_loss(),), ("x",), Action.REFUSE, id="gap-backup"),
        pytest.param(
            Mode.ASK,
            SCRIPT,
            (a_loss("a"), a_loss("b", Holds.EMPTY)),
            (),
            Action.REFUSE,
            id="one-of-two-holds",
        ),
        pytest.param(
            Mode.ASK,
            SCRIPT,
            (a_loss("a", disposable=True), a_loss("b")),
            (),
            Action.REFUSE,
            id="disposable-and-not",
        ),
    ],
)
def test_decision(mode, who, losses, gaps, action):
    assert decide(a_plan(*losses, gaps=gaps), under(mode), who).action is action


# What is done about one loss: by a person, by a caller whom nobody can ask, in mode backup.
ONE = {
    "volume": (a_loss(), "ask refuse back-up"),
    "volume-not-seen": (a_loss(holds=Holds.UNKNOWN, size=None), "ask refuse back-up"),
    "anonymous": (a_loss(kind=Kind.ANONYMOUS_VOLUME), "ask refuse back-up"),
    "empty": (a_loss(holds=Holds.EMPTY, size=0), "record record record"),
    "empty-of-redis": (
        a_loss(holds=Holds.EMPTY, size=0, in_memory="Redis"),
        "ask refuse back-up",
    ),
    "elsewhere": (a_loss(holds=Holds.ELSEWHERE, size=None), "record record record"),
    "disposable": (a_loss(disposable=True), "pass pass back-up"),
    "disposable-empty": (a_loss(disposable=True, holds=Holds.EMPTY, size=0), "pass pass pass"),
    "disposable-big": (a_loss(disposable=True, size=50_000_001), "ask pass back-up"),
    "disposable-at-the-line": (a_loss(disposable=True, size=50_000_000), "pass pass back-up"),
    "disposable-database": (a_loss(disposable=True, content="Redis"), "ask pass back-up"),
    "layer": (a_loss(kind=Kind.LAYER), "pass pass pass"),
    "layer-big": (a_loss(kind=Kind.LAYER, size=50_000_001), "ask pass back-up"),
    "layer-database": (a_loss(kind=Kind.LAYER, content="MySQL"), "ask pass back-up"),
    "layer-not-seen": (
        a_loss(kind=Kind.LAYER, size=None, holds=Holds.UNKNOWN),
        "ask pass back-up",
    ),
    "file-big": (a_loss(kind=Kind.FILE, size=50_000_001), "ask pass refuse"),
    "detached": (a_loss(kind=Kind.DETACHED_VOLUME, content="MySQL"), "pass pass pass"),
    "image": (a_loss(kind=Kind.IMAGE), "pass pass pass"),
    "build-cache": (a_loss(kind=Kind.BUILD_CACHE), "pass pass pass"),
    "service": (a_loss(kind=Kind.SERVICE), "pass pass pass"),
    "config": (a_loss(kind=Kind.CONFIG), "record record record"),
    "context": (a_loss(kind=Kind.CONTEXT), "record record record"),
    "secret": (a_loss(kind=Kind.SECRET), "ask refuse refuse"),
    "swarm": (a_loss(kind=Kind.SWARM), "ask refuse refuse"),
    "bind-source": (a_loss(kind=Kind.BIND_SOURCE), "ask refuse refuse"),
    "plugin": (a_loss(kind=Kind.PLUGIN), "pass pass pass"),
    "plugin-with-volumes": (a_loss(kind=Kind.PLUGIN, used_by=("v",)), "ask refuse refuse"),
}


@pytest.mark.parametrize(("loss", "actions"), ONE.values(), ids=ONE)
def test_what_is_done_about_one_loss(loss, actions):
    plan = a_plan(loss)
    done = (
        decide(plan, under(Mode.ASK), PERSON),
        decide(plan, under(Mode.ASK), SCRIPT),
        decide(plan, under(Mode.BACKUP), SCRIPT),
    )
    assert [one.action.value.replace(" ", "-") for one in done] == actions.split()
    denied = decide(plan, under(Mode.DENY), PERSON).action
    harmless = {done[0].action, done[2].action} == {Action.PASS}
    assert denied is (Action.PASS if harmless else Action.REFUSE)


def test_every_kind_of_loss_has_its_row():
    assert {loss.kind for loss, _ in ONE.values()} == set(Kind)


@pytest.mark.parametrize(
    ("line", "actions"),
    [
        ("docker volume rm v", "ask refuse refuse refuse"),
        ("docker compose down -v", "ask refuse refuse refuse"),
        ("docker compose down", "ask pass refuse refuse"),
        ("docker rm c", "ask pass refuse refuse"),
        ("docker rm ../volumes/v", "ask refuse refuse refuse"),
        ("docker rm --brand-new c", "ask refuse refuse refuse"),
        ("docker stop c", "ask pass refuse refuse"),
        ("docker system prune -f", "ask pass refuse refuse"),
        ("docker compose up -d", "ask refuse refuse refuse"),
        ("docker run -v /x:/x img", "ask refuse refuse refuse"),
    ],
)
def test_what_is_not_known_counts_as_the_worst_that_the_command_could_take(line, actions):
    (command,) = parse("docker", line.split()[1:])
    form = forms.match(command)
    assert form is not None
    plan = Plan(command, form, None, (), gaps=("x",))
    callers = (
        (Mode.ASK, PERSON),
        (Mode.ASK, SCRIPT),
        (Mode.BACKUP, SCRIPT),
        (Mode.DENY, PERSON),
    )
    done = [decide(plan, under(mode), who).action.value for mode, who in callers]
    assert done == actions.split()


def test_a_dispute_is_nobody_s_to_allow():
    plan = replace(a_plan(a_loss()), disputes=("the engine lost count",))
    for mode in Mode:
        decision = decide(plan, under(mode), PERSON)
        assert (decision.action, decision.rule) == (Action.REFUSE, "engine-disagrees")


def test_challenge_names_what_goes():
    assert challenge(a_plan(a_loss("db"))) == "db"
    assert challenge(a_plan(a_loss("db"), a_loss("c"))) == "remove 2 volumes"
    assert challenge(a_plan(a_loss("db"), a_loss("c"), project="shop")) == "shop"
    assert challenge(a_plan(gaps=("x",)))
