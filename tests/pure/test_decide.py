"""What is done about a plan, by mode, caller and what would be lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safedocker.command.parse import parse
from safedocker.loss import forms
from safedocker.loss.facts import Holds, Volume
from safedocker.loss.plan import Kind, Loss, Ownership, Plan, Sign
from safedocker.policy import batch
from safedocker.policy.decide import Action, challenge, decide
from safedocker.policy.layers import Policy, Stratum, simple
from safedocker.policy.load import read
from safedocker.policy.options import Answer, Caller, CallerKind, Mode

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


ANNAS = Ownership(1001, "anna", Sign.MADE, "", 1.0, mine=False)
OWN = replace(ANNAS, uid=1002, name="bob", mine=True)
ROOT = replace(PERSON, root=True)
ROOTS_SCRIPT = replace(SCRIPT, root=True)


def by_policy(text):
    return Policy((read(text, "p.toml", Stratum.USER),))


@pytest.mark.parametrize(
    ("text", "who", "action", "rule"),
    [
        pytest.param("", PERSON, Action.REFUSE, "not-yours", id="person"),
        pytest.param("", SCRIPT, Action.REFUSE, "not-yours", id="script"),
        pytest.param("", ROOT, Action.ASK, "ask", id="root-is-asked"),
        pytest.param("", ROOTS_SCRIPT, Action.REFUSE, "nobody-to-ask", id="roots-script"),
        pytest.param('mode = "backup"', PERSON, Action.REFUSE, "not-yours", id="backup"),
        pytest.param('mode = "backup"', ROOT, Action.ASK, "ask", id="backup-root"),
        pytest.param(
            'mode = "backup"', ROOTS_SCRIPT, Action.BACK_UP, "mode-backup", id="backup-roots-script"
        ),
        pytest.param('mode = "allow"', PERSON, Action.REFUSE, "not-yours", id="allow"),
        pytest.param('mode = "deny"', ROOT, Action.REFUSE, "mode-deny", id="deny-root"),
        pytest.param('others = "ask"', PERSON, Action.ASK, "ask", id="ask-person"),
        pytest.param('others = "ask"', SCRIPT, Action.REFUSE, "not-yours", id="ask-script"),
        pytest.param(
            'others = "ask"\nmode = "backup"', PERSON, Action.ASK, "ask", id="ask-person-backup"
        ),
        pytest.param(
            'others = "allow"\nmode = "backup"', SCRIPT, Action.BACK_UP, "mode-backup", id="allowed"
        ),
        pytest.param(
            '[disposable]\nvolumes = ["v"]', SCRIPT, Action.REFUSE, "not-yours", id="disposable"
        ),
        pytest.param(
            'mode = "allow"',
            Caller(CallerKind.AGENT, "a mark", "", True),
            Action.REFUSE,
            "not-yours",
            id="root-agent",
        ),
        pytest.param(
            'mode = "allow"',
            Caller(CallerKind.SCRIPT, "no terminal", "", True, True),
            Action.REFUSE,
            "not-yours",
            id="sudo-without-a-terminal",
        ),
        pytest.param(
            '[protected]\nvolumes = ["v"]', ROOT, Action.REFUSE, "protected", id="protected"
        ),
    ],
)
def test_other_peoples_data(text, who, action, rule):
    found = decide(a_plan(a_loss(owner=ANNAS)), by_policy(text), who)
    assert (found.action, found.rule) == (action, rule)
    if rule == "not-yours":
        assert found.because == "data would be lost that is not yours, but anna's"
    if action is Action.ASK:
        assert found.challenge == "remove anna's data"


@pytest.mark.parametrize("owner", [None, OWN], ids=["unknown", "own"])
@pytest.mark.parametrize("who", [PERSON, SCRIPT, ROOT], ids=["person", "script", "root"])
@pytest.mark.parametrize("mode", Mode)
def test_nothing_changes_for_what_is_ones_own_or_nobodys(owner, who, mode):
    bare = decide(a_plan(a_loss()), under(mode), who)
    found = decide(a_plan(a_loss(owner=owner)), under(mode), who)
    assert replace(found, verdicts=()) == replace(bare, verdicts=())


@pytest.mark.parametrize(
    ("loss", "action"),
    [
        pytest.param(a_loss(holds=Holds.EMPTY, owner=ANNAS), Action.RECORD, id="empty"),
        pytest.param(a_loss(holds=Holds.ELSEWHERE, owner=ANNAS), Action.RECORD, id="reference"),
        pytest.param(a_loss(kind=Kind.LAYER, size=9, owner=ANNAS), Action.PASS, id="light-layer"),
        pytest.param(
            a_loss(kind=Kind.LAYER, size=10**9, owner=ANNAS), Action.REFUSE, id="heavy-layer"
        ),
    ],
)
def test_what_is_no_data_of_theirs_is_nobodys_to_guard(loss, action):
    assert decide(a_plan(loss), under(Mode.ASK), SCRIPT).action is action


def test_whose_data_goes_is_asked_each_time_and_how_many_they_are():
    plan = a_plan(a_loss("a", owner=ANNAS), a_loss("b", owner=replace(ANNAS, uid=7, name="eve")))
    found = decide(plan, under(Mode.ASK), ROOT)
    assert found.challenge == "remove data of 2 people"
    assert batch.offered(plan, found) == (Answer.CANCEL,)
