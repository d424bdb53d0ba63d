"""What is done about a plan, by mode, caller and what would be lost."""

from __future__ import annotations

import pytest

from safedocker.command.parse import parse
from safedocker.errors import BadPolicy
from safedocker.loss import forms
from safedocker.loss.facts import Holds, Volume
from safedocker.loss.plan import Kind, Loss, Plan
from safedocker.policy.decide import Action, caller, challenge, decide
from safedocker.policy.load import load
from safedocker.policy.options import Caller, CallerKind, Mode, Policy

PERSON = Caller(CallerKind.PERSON, "a terminal")
SCRIPT = Caller(CallerKind.SCRIPT, "no terminal")


def a_loss(name="v", holds=Holds.DATA, *, disposable=False, content="files", size=100):
    volume = Volume(name, "local", {}, {}, "")
    return Loss(
        Kind.NAMED_VOLUME,
        name,
        volume,
        "",
        holds=holds,
        disposable=disposable,
        content=content,
        size=size,
    )


def a_plan(*losses, gaps=(), project=None):
    (command,) = parse("docker", ["volume", "rm", *(loss.name for loss in losses)])
    form = next(form for form in forms.FORMS if form.name == "volume-rm")
    return Plan(command, form, None, losses, gaps=gaps, project=project)


def under(mode):
    return Policy(mode, "test")


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
            Mode.ASK, SCRIPT, (a_loss(holds=Holds.EMPTY),), (), Action.BACK_UP, id="empty"
        ),
        pytest.param(
            Mode.ASK, SCRIPT, (a_loss(holds=Holds.ELSEWHERE),), (), Action.BACK_UP, id="elsewhere"
        ),
        pytest.param(
            Mode.ASK,
            SCRIPT,
            (a_loss("a"), a_loss("b", Holds.EMPTY)),
            (),
            Action.REFUSE,
            id="one-of-two-holds",
        ),
        pytest.param(
            Mode.ASK, SCRIPT, (a_loss(disposable=True),), (), Action.REFUSE, id="disposable-holds"
        ),
        pytest.param(
            Mode.ASK,
            SCRIPT,
            (a_loss(holds=Holds.EMPTY, disposable=True),),
            (),
            Action.PASS,
            id="disposable-empty",
        ),
        pytest.param(
            Mode.BACKUP,
            SCRIPT,
            (a_loss(disposable=True),),
            (),
            Action.BACK_UP,
            id="disposable-mode-backup",
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


@pytest.mark.parametrize(
    ("environ", "terminal", "kind"),
    [
        ({}, True, CallerKind.PERSON),
        ({}, False, CallerKind.SCRIPT),
        ({"CI": "true"}, True, CallerKind.CI),
        ({"CI": "false"}, True, CallerKind.PERSON),
        ({"CI": ""}, True, CallerKind.PERSON),
        ({"CLAUDECODE": "1"}, True, CallerKind.AGENT),
        ({"CLAUDECODE": "1", "CI": "1"}, False, CallerKind.AGENT),
    ],
    ids=str,
)
def test_an_agent_or_ci_on_a_terminal_is_no_person(environ, terminal, kind):
    assert caller(environ, terminal).kind is kind


def test_challenge_names_what_goes():
    assert challenge(a_plan(a_loss("db"))) == "db"
    assert challenge(a_plan(a_loss("db"), a_loss("c"))) == "remove 2 volumes"
    assert challenge(a_plan(a_loss("db"), a_loss("c"), project="shop")) == "shop"
    assert challenge(a_plan(gaps=("x",)))


def test_mode_comes_from_the_environment():
    assert load({}).mode is Mode.ASK
    assert load({"SAFEDOCKER_MODE": ""}).mode is Mode.ASK
    assert load({"SAFEDOCKER_MODE": "deny"}).mode is Mode.DENY


@pytest.mark.parametrize("value", ["DENY", "off", "0", "backup "])
def test_a_value_that_is_no_mode_is_an_error(value):
    with pytest.raises(BadPolicy, match="is no mode"):
        load({"SAFEDOCKER_MODE": value})
