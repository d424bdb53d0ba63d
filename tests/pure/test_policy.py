"""Files, variables and what comes of them together; and who calls."""

from __future__ import annotations

import datetime
import json
import os
import re
import string
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safedocker.command.parse import parse
from safedocker.errors import BadPolicy
from safedocker.loss import forms
from safedocker.loss.facts import EngineIdentity, Holds
from safedocker.loss.plan import Kind, Ownership, Protect, Sign
from safedocker.policy import decide, load, trial
from safedocker.policy.decide import Action
from safedocker.policy.layers import Layer, Policy, Stratum, line_of
from safedocker.policy.load import Places
from safedocker.policy.options import (
    AGENTS,
    ARCHIVE_LINE,
    ASK_ABOVE,
    BIND_MISSING,
    CI,
    DISPOSABLE_VOLUMES,
    EXPIRE_OLDER,
    FORMAT,
    HINTS,
    HINTS_OFF,
    KINDS,
    MODE,
    OPTIONS,
    OTHERS,
    PROTECT,
    PROTECTED_CONTEXTS,
    PROTECTED_PROJECTS,
    PROTECTED_VOLUMES,
    STRICTER_MODES,
    Caller,
    CallerKind,
    Challenge,
    Format,
    Mode,
    Others,
)
from safedocker.policy.paths import BindMissing
from tests.pure.test_decide import PERSON, SCRIPT, a_loss, a_plan

AGENT = Caller(CallerKind.AGENT, "CLAUDECODE")
CALLERS = {
    CallerKind.PERSON: PERSON,
    CallerKind.SCRIPT: SCRIPT,
    CallerKind.AGENT: AGENT,
    CallerKind.CI: Caller(CallerKind.CI, "CI"),
}
PROD = EngineIdentity(
    "tcp://10.0.0.5:2376", "--context prod", "db-prod-1", "ID", "26", (1, 45), True, "prod"
)


class Home:
    """A machine's, a person's and a project's folder, each with what is written into it."""

    def __init__(self, base: Path) -> None:
        own = base / "config"
        self.places = Places(own, base / "work/app", base / "etc", account=own)
        for folder in (self.places.user, self.places.start, self.places.system):
            folder.mkdir(parents=True)

    def elsewhere(self):
        """HOME names another folder than the account's from now on."""
        named = self.places.user.parent / "named"
        named.mkdir()
        self.places = replace(self.places, user=named)
        return self

    def behind(self, text):
        """Somebody whose file says this typed sudo."""
        folder = self.places.user.parent / "behind"
        folder.mkdir()
        (folder / "policy.toml").write_text(text)
        self.places = replace(self.places, behind=folder)
        return self

    def system(self, text):
        (self.places.system / "policy.toml").write_text(text)
        return self

    def user(self, text):
        (self.places.user / "policy.toml").write_text(text)
        return self

    def project(self, text, *, trusted=False):
        file = self.places.start / ".safedocker.toml"
        file.write_text(text)
        if trusted:
            told = {str(file): load.digest(text)}
            (self.places.user / "trusted.json").write_text(json.dumps(told))
        return self

    def policy(self, kind=CallerKind.PERSON, **environ):
        return Policy(load.layers(environ, self.places), kind, load.frozen(self.places))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def mode_of(policy, kind=Kind.NAMED_VOLUME, engine=None):
    return policy.mode(kind, engine).value


# What is in force


def test_without_files_the_defaults_are_in_force(home):
    policy = home.policy()
    assert {option.key: policy[option] for option in OPTIONS} == {
        option.key: option.default for option in OPTIONS
    }
    assert policy.of(PROTECT).place == "default"


def test_the_nearest_wins_and_says_where_it_stands(home):
    home.system('\nmode = "deny"\n').user('# mine\nmode = "ask"\n\nprotect = "move"\n')
    policy = home.policy(SAFEDOCKER_MODE="backup")
    assert (mode_of(policy), policy.mode().place) == (Mode.BACKUP, "SAFEDOCKER_MODE")
    assert policy.of(PROTECT).place == f"{home.places.user}/policy.toml:4"
    assert mode_of(home.policy()) is Mode.ASK


def test_every_folder_above_has_a_say_the_nearest_last(home):
    (home.places.start.parent / ".safedocker.toml").write_text('mode = "deny"\n')
    home.project('protected.volumes = ["db"]\n')
    policy = home.policy()
    assert mode_of(policy) is Mode.DENY
    assert policy[PROTECTED_VOLUMES] == ("db",)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_project_s_file_loosens_only_when_it_is_trusted_as_it_is(home, trusted):
    home.project(
        'mode = "backup"\nask_above = "1GB"\n[disposable]\nvolumes = ["*"]\n', trusted=trusted
    )
    policy = home.policy()
    assert mode_of(policy) is (Mode.BACKUP if trusted else Mode.ASK)
    assert policy[ASK_ABOVE] == (10**9 if trusted else ASK_ABOVE.default)
    changed = '# a word more\nmode = "allow"\n'
    (home.places.start / ".safedocker.toml").write_text(changed)
    assert mode_of(home.policy()) is Mode.ASK


def test_a_project_s_file_may_tighten(home):
    home.project('mode = "deny"\nbind_missing = "refuse"\n[protected]\nprojects = ["shop"]\n')
    policy = home.policy()
    assert mode_of(policy) is Mode.DENY
    assert policy[BIND_MISSING] is BindMissing.REFUSE


def test_what_is_binding_is_only_tightened(home):
    home.system('binding = ["mode", "protect"]\nmode = "ask"\nprotect = "archive"\n')
    home.user('mode = "backup"\nprotect = "move"\narchive_up_to = "1GB"\n')
    policy = home.policy(SAFEDOCKER_MODE="allow")
    assert mode_of(policy) is Mode.ASK
    assert policy[PROTECT] is Protect.ARCHIVE
    assert policy[ARCHIVE_LINE] == 10**9
    assert mode_of(home.policy(SAFEDOCKER_MODE="deny")) is Mode.DENY


def test_a_mode_is_said_of_a_caller_a_kind_or_both(home):
    home.user(
        """
        mode = "ask"
        [loss]
        image = "deny"
        [caller.ci]
        mode = "backup"
        loss.layer = "allow"
        """
    )
    person, ci = home.policy(), home.policy(CallerKind.CI)
    assert mode_of(person) is Mode.ASK
    assert person.mode(Kind.IMAGE).named
    assert mode_of(person, Kind.IMAGE) is Mode.DENY
    assert mode_of(ci) is Mode.BACKUP
    assert mode_of(ci, Kind.LAYER) is Mode.ALLOW
    assert mode_of(ci, Kind.IMAGE) is Mode.DENY, "of two that fit alike the stricter counts"


def test_a_context_s_word_holds_against_a_mode_that_is_said_of_all(home):
    home.user('[context."prod*"]\nmode = "deny"\n[host."tcp://10.*"]\nchallenge = "engine"\n')
    policy = home.policy(SAFEDOCKER_MODE="backup")
    assert mode_of(policy) is Mode.BACKUP
    assert mode_of(policy, engine=PROD) is Mode.DENY
    assert mode_of(policy, engine=replace(PROD, context="dev")) is Mode.BACKUP
    assert policy.challenge(PROD).value.value == "engine"
    assert policy.challenge(replace(PROD, host="unix:///x")).value.value == "none"


def test_a_nearer_and_stricter_mode_holds_against_a_context_s(home):
    home.user('[context.prod]\nmode = "allow"\n')
    assert mode_of(home.policy(), engine=PROD) is Mode.ALLOW
    assert mode_of(home.policy(SAFEDOCKER_MODE="deny"), engine=PROD) is Mode.DENY


@pytest.mark.parametrize(
    "rule",
    [
        '[context.prod]\nmode = "deny"\n',
        '[host."TCP://10.0.0.5:2375/"]\nmode = "deny"\n',
        '[host."tcp://10.0.0.5"]\nmode = "deny"\n',
        '[host."tcp://me@10.*"]\nmode = "deny"\n',
        '[protected]\ncontexts = ["pro*"]\n',
    ],
)
def test_what_is_said_of_an_engine_holds_by_its_other_names(home, rule):
    home.user(f'mode = "backup"\n{rule}')
    host = "tcp://10.0.0.5:2375/"
    also = (("host", host[:-1]), ("host", "tcp://10.0.0.5"), ("context", "prod"))
    other = replace(PROD, host=host, context="default", also=also)
    assert decided(home.policy(), a_loss(), engine=other).action is Action.REFUSE
    elsewhere = replace(other, host="tcp://10.0.0.6:2375", also=())
    if "10.*" not in rule:
        assert decided(home.policy(), a_loss(), who=SCRIPT, engine=elsewhere).action is (
            Action.BACK_UP
        )


def test_what_is_said_of_another_name_only_tightens(home):
    home.user('[context.prod]\nmode = "allow"\nchallenge = "none"\n')
    other = replace(PROD, context="other", also=(("context", "prod"),))
    assert mode_of(home.policy(), engine=other) is Mode.ASK
    assert decided(home.policy(), a_loss(), engine=other).confirm == "db-prod-1"
    home.user('[context.prod]\nchallenge = "engine"\n[context.other]\nchallenge = "none"\n')
    assert home.policy().challenge(other).value.value == "engine"


def test_a_context_of_an_agent_s_own_making_loosens_nothing(home):
    home.user('[context.dev]\nmode = "allow"\n')
    dev = replace(PROD, context="dev")
    for doubted in (False, True):
        engine = replace(dev, doubted=doubted)
        agent, person = home.policy(CallerKind.AGENT), home.policy()
        assert mode_of(agent, engine=engine) is (Mode.ASK if doubted else Mode.ALLOW)
        assert mode_of(person, engine=engine) is Mode.ALLOW


def test_a_single_host_can_be_bound(home):
    home.system(f'binding = ["host.{PROD.host}"]\n[host."{PROD.host}"]\nmode = "deny"\n')
    home.user('[host."*"]\nmode = "allow"\n')
    assert mode_of(home.policy(), engine=PROD) is Mode.DENY


def test_a_binding_of_what_the_file_does_not_say_is_an_error(home):
    home.system('binding = ["context.prod"]\n[context."prod*"]\nmode = "deny"\n')
    with pytest.raises(BadPolicy, match=r"policy\.toml:1: "):
        home.policy()


@pytest.mark.parametrize("option", ["ci_variables", "agent_variables"])
def test_a_project_s_file_makes_nobody_another_caller(home, option):
    home.project(f"{option} = {json.dumps([*CI.default, *AGENTS.default, 'HOME'])}\n")
    assert load.caller({"HOME": "/x"}, home.policy(), terminal=True).kind is CallerKind.PERSON


@pytest.mark.parametrize("names", [("prod", "*"), ("*", "prod")])
def test_of_two_challenges_of_one_file_the_stricter_counts(home, names):
    values = {"prod": "engine", "*": "none"}
    home.user("".join(f'[context."{n}"]\nchallenge = "{values[n]}"\n' for n in names))
    assert home.policy().challenge(PROD).value.value == "engine"


def test_what_is_challenged_and_binding_is_not_disposable(home):
    home.system('binding = ["context"]\n[context.prod]\nchallenge = "engine"\n')
    home.user('[disposable]\nvolumes = ["*"]\n')
    assert decided(home.policy(), a_loss(), who=SCRIPT, engine=PROD).action is Action.REFUSE


@pytest.mark.parametrize(
    "text",
    ['[context.prod]\nmode = "deny"\n', '[protected]\ncontexts = ["prod"]\n'],
)
def test_where_the_engine_can_t_be_asked_what_is_guarded_by_name_may_be_meant(home, text):
    home.user(f'mode = "allow"\n{text}')
    for line in ("docker rm c", "docker volume rm v"):
        (command,) = parse("docker", line.split()[1:])
        form = forms.match(command)
        assert form is not None
        done = decide.about_a_gap(command, form, home.policy(), SCRIPT)
        assert done is Action.REFUSE


def test_a_gap_may_hide_what_is_protected(home):
    home.user('mode = "allow"\n[protected]\nvolumes = ["pg"]\n')
    assert decided(home.policy(), gaps=("x",)).rule == "protected"


def test_a_link_that_leads_nowhere_is_an_error(home):
    (home.places.user / "policy.toml").symlink_to("gone")
    with pytest.raises(BadPolicy, match="leads nowhere"):
        home.policy()


def test_a_file_without_end_is_read_no_further_than_a_policy_is_long(home):
    with (home.places.user / "policy.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadPolicy, match="larger than"):
        home.policy()


def test_a_context_s_word_leaves_binding_what_is_binding(home):
    home.system('binding = true\nmode = "ask"\n')
    home.user('[disposable]\nvolumes = ["*"]\n[context."pro*"]\nmode = "deny"\n')
    assert decided(home.policy(), a_loss(), engine=PROD).action is Action.REFUSE


def test_an_agent_s_environment_only_tightens(home):
    loose = {"SAFEDOCKER_MODE": "allow", "SAFEDOCKER_BIND_MISSING": "allow"}
    policy = home.policy(CallerKind.AGENT, **loose, SAFEDOCKER_ASK_ABOVE="1TB")
    assert mode_of(policy) is Mode.ASK
    assert policy[BIND_MISSING] is BindMissing.ASK
    assert policy[ASK_ABOVE] == ASK_ABOVE.default
    assert mode_of(home.policy(CallerKind.AGENT, SAFEDOCKER_MODE="backup")) is Mode.ASK
    assert mode_of(home.policy(CallerKind.AGENT, SAFEDOCKER_MODE="deny")) is Mode.DENY
    assert home.policy(CallerKind.AGENT, SAFEDOCKER_FORMAT="json")[FORMAT] is Format.JSON
    home.user('[caller.agent]\nmode = "backup"\n')
    assert mode_of(home.policy(CallerKind.AGENT)) is Mode.BACKUP


def test_variables_of_hints_are_a_switch_or_names(home):
    assert home.policy(SAFEDOCKER_HINTS="off")[HINTS] is False
    named = home.policy(SAFEDOCKER_HINTS="owner, no-volume")
    assert (named[HINTS], named[HINTS_OFF]) == (True, ("owner", "no-volume"))


def test_values_are_read_in_people_s_units(home):
    home.user('ask_above = "1.5 GB"\narchive_up_to = 7\n[expire]\nolder_than = "8w"\n')
    policy = home.policy()
    assert (policy[ASK_ABOVE], policy[ARCHIVE_LINE]) == (1_500_000_000, 7)
    assert policy[EXPIRE_OLDER] == datetime.timedelta(weeks=8)


# What an agent is told by HOME, and what holds under sudo


def test_a_file_that_home_names_only_tightens_for_an_agent(home):
    home.user('mode = "deny"\nask_above = 7\n').elsewhere()
    home.user('mode = "allow"\nask_above = "1TB"\n[disposable]\nvolumes = ["*"]\n')
    agent, person = home.policy(CallerKind.AGENT), home.policy()
    assert (mode_of(agent), agent[ASK_ABOVE]) == (Mode.DENY, 7)
    assert agent[DISPOSABLE_VOLUMES] == ()
    assert (mode_of(person), person[ASK_ABOVE]) == (Mode.ALLOW, 10**12), "a person's HOME counts"
    home.user('mode = "deny"\n[protected]\nvolumes = ["x"]\n')
    assert home.policy(CallerKind.AGENT)[PROTECTED_VOLUMES] == ("x",)


def test_without_an_account_s_home_an_agent_s_file_only_tightens(home):
    home.user('mode = "allow"\n')
    home.places = replace(home.places, account=None)
    assert mode_of(home.policy(CallerKind.AGENT)) is Mode.ASK
    assert mode_of(home.policy()) is Mode.ALLOW


def test_a_file_that_home_names_takes_no_agent_s_mark_away(home):
    home.elsewhere().user('agent_variables = ["ROBOT"]\n')
    for mark in ("CLAUDECODE", "ROBOT"):
        told = load.caller({mark: "1"}, home.policy(), terminal=True)
        assert told.kind is CallerKind.AGENT, mark
    home.user('agent_variables = "CLAUDECODE"\n')
    lenient = Policy(load.layers({}, home.places, lenient=True))
    assert load.caller({"CLAUDECODE": "1"}, lenient, terminal=True).kind is CallerKind.AGENT


@pytest.mark.parametrize(
    "bound",
    [
        'binding = ["agent_variables"]\nagent_variables = ["CLAUDECODE"]\n',
        'binding = ["caller.agent"]\n[caller.agent]\nmode = "deny"\n',
        'binding = true\n[caller.agent]\nmode = "deny"\n',
    ],
)
def test_the_list_of_agents_is_not_shortened_where_the_machine_binds_what_is_said_of_them(
    home, bound
):
    home.system(bound).user('agent_variables = ["ROBOT"]\n')
    for mark in ("CLAUDECODE", "ROBOT"):
        told = load.caller({mark: "1"}, home.policy(), terminal=True)
        assert told.kind is CallerKind.AGENT, mark


def test_an_agent_trusts_no_project_by_a_variable(home):
    home.project('[disposable]\nvolumes = ["*"]\n', trusted=True)
    assert home.policy(CallerKind.AGENT)[DISPOSABLE_VOLUMES] == ("*",)
    home.elsewhere()
    assert home.policy(CallerKind.AGENT)[DISPOSABLE_VOLUMES] == ("*",)
    assert home.policy()[DISPOSABLE_VOLUMES] == ()
    home.project('[disposable]\nvolumes = ["d*"]\n', trusted=True)  # by what HOME names
    assert home.policy(CallerKind.AGENT)[DISPOSABLE_VOLUMES] == ()
    assert home.policy()[DISPOSABLE_VOLUMES] == ("d*",)


def test_a_freeze_of_the_account_s_holds_whatever_home_says(home):
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    told = json.dumps({"until": until.isoformat(), "why": "release", "by": "anna"})
    (home.places.user / "freeze.json").write_text(told)
    assert home.elsewhere().policy().frozen is not None


def test_what_whoever_typed_sudo_keeps_holds_under_it_and_loosens_nothing(home):
    home.user('mode = "backup"\n')
    home.behind('mode = "deny"\nask_above = "1TB"\n[protected]\nvolumes = ["pg"]\n')
    for kind in CallerKind:
        policy = home.policy(kind)
        assert mode_of(policy) is Mode.DENY
        assert (policy[ASK_ABOVE], policy[PROTECTED_VOLUMES]) == (ASK_ABOVE.default, ("pg",))
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    told = json.dumps({"until": until.isoformat(), "why": "release", "by": "anna"})
    assert home.places.behind
    (home.places.behind / "freeze.json").write_text(told)
    assert home.policy().frozen is not None


# Files that do not check


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("mode = 'sometimes'", 1, "no mode: one of ask, backup, deny, allow"),
        ("\n\nmoed = 'ask'\n", 3, "did you mean mode?"),
        ("[loss]\n# x\npicture = 'ask'\n", 3, "no option 'loss.picture'"),
        ("[caller.boss]\nmode = 'ask'\n", 2, "no option 'caller.boss.mode'"),
        ("[context.prod]\n\n\nmode = 'x'\n", 4, "no mode"),
        ("ask_above = '-1'\n", 1, "no size"),
        ("ask_above = true\n", 1, "no size"),
        ("escape = 'yes'\n", 1, "neither true nor false"),
        ("[protected]\nvolumes = [\n 'a',\n 1\n]\n", 2, "no list"),
        ("mode = 'ask'\nmode = 'ask'\n", 2, ""),
        ("mode =\n", 1, ""),
        ("binding = true\n", 1, "alone"),
        ("mode = {}\n", 1, "no mode"),
        ("[mode]\nx = 1\n", 2, "no option 'mode.x'"),
        ("\nask_above = " + "9" * 5000 + "\n", 1, "can't be read"),
        ("a = " + "[" * 5000 + "]" * 5000 + "\n", 1, "can't be read"),
        ("mode" + ".a" * 5000 + " = 1\n", 1, "no option 'mode.a"),
        ("ask_above = 1979-05-27\n", 1, "no size"),
        ("ask_above = 0x" + "f" * 5000 + "\n", 1, "no size"),
        ("ask_above = 1" + "0" * 400 + "\n", 1, "larger than"),
        ("ask_above = '999999999999999T'\n", 1, "larger than"),
        ("[expire]\nkeep_last = 0x" + "f" * 5000 + "\n", 2, "no number"),
        ("[expire]\nolder_than = '999999w'\n", 2, "longer than"),
        ("ask_above = nan\n", 1, "no size"),
    ],
)
def test_a_file_that_does_not_check_names_the_line(home, text, line, told):
    home.user(text)
    with pytest.raises(BadPolicy, match=rf"policy\.toml:{line}: ") as fault:
        home.policy()
    assert told in fault.value.message
    assert "safedocker policy check" in fault.value.hint


@pytest.mark.parametrize(
    ("binding", "told"),
    [('["mod"]', "nothing of 'mod'"), ('"mode"', "true, or a list"), ("[1]", "a list")],
)
def test_what_can_t_be_bound(home, binding, told):
    home.system(f"binding = {binding}\n")
    with pytest.raises(BadPolicy, match=r"policy\.toml:1: ") as fault:
        home.policy()
    assert told in fault.value.message


@pytest.mark.parametrize("value", ["DENY", "off", "0", "backup "])
def test_a_variable_that_is_no_mode_is_an_error(home, value):
    with pytest.raises(BadPolicy, match="is no mode"):
        home.policy(SAFEDOCKER_MODE=value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_t_be_read_is_an_error(home):  # pragma: no cover - CI is root
    home.user("")
    (home.places.user / "policy.toml").chmod(0)
    with pytest.raises(BadPolicy, match="can't be read"):
        home.policy()


def as_another(uid, program, *words, **environ):
    """What a program prints as a user without an account, who is let in nowhere as root is."""
    if os.geteuid() != 0:
        pytest.skip("root alone becomes another")
    # All is imported first: the interpreter may lie where root alone may go.
    head = f"import pathlib, pwd, sys\n{_IMPORTS}\nos.setuid({uid})\n"
    done = subprocess.run(
        [sys.executable, "-c", head + program, *words],
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


NOBODY, STRANGER = 65534, 3_999_999_999
_IMPORTS = """
import os
from safedocker.edge import ledger, process
from safedocker.errors import BadPolicy
from safedocker.policy import load
"""
_READ = """
print(process.has_policy())
try: load.layers({}, load.Places(pathlib.Path(sys.argv[1]), pathlib.Path('/')))
except BadPolicy as fault: print(fault.message); print(fault.hint)
"""


def test_a_folder_that_keeps_us_out_of_a_policy_is_named():
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which is closed itself
        place = Path(folder, "safedocker")
        place.mkdir()
        told = as_another(NOBODY, _READ, str(place), XDG_CONFIG_HOME=folder, HOME="/nonexistent")
        assert told == [
            "True",
            f"whether there is a {place}/policy.toml can't be known: {folder} is closed to you",
            "what it may forbid is not known either: have the folder opened for you, or type the "
            "command where you may look",
        ]


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "here"}], ids=str)
def test_without_a_home_and_an_account_places_are_below_the_root(home):
    folders = "process.config_folder(), process.state_folder(), process.account_config(os.getuid())"
    told = as_another(STRANGER, f"print({folders}, '.')", **home)
    assert told == ["/.config/safedocker /.local/state/safedocker  ."]


@pytest.mark.parametrize(
    ("name", "near"),
    [("SAFEDOCKER_MOD", "SAFEDOCKER_MODE"), ("SAFEDOCKER_HINT", "SAFEDOCKER_HINTS")],
)
def test_a_mistyped_variable_is_an_error_that_names_the_nearest(home, name, near):
    with pytest.raises(BadPolicy, match=rf"{name}, .* did you mean {near}\?"):
        home.policy(**{name: "deny"})
    home.policy(SAFEDOCKER_DEPTH="1", SAFEDOCKER="off", SAFEDOCKERS="x")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda file: os.symlink("/dev/null", file)])
def test_what_is_no_file_in_its_place_is_an_error_and_keeps_nobody_waiting(home, make):
    make(home.places.start / ".safedocker.toml")
    with pytest.raises(BadPolicy, match=r"\.safedocker\.toml is no file"):
        home.policy()


def test_a_link_that_leads_in_circles_is_an_error(home):
    (home.places.user / "policy.toml").symlink_to("policy.toml")
    with pytest.raises(BadPolicy, match="can't be read"):
        home.policy()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"until": 1}', '{"until":"x","why":"","by":""}'])
def test_a_freeze_that_says_no_time_is_an_error(home, text):
    (home.places.user / "freeze.json").write_text(text)
    with pytest.raises(BadPolicy, match="until when"):
        home.policy()


# Who calls


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
    assert load.caller(environ, Policy(), terminal=terminal).kind is kind


def test_the_marks_of_callers_are_data(home):
    home.user('agent_variables = ["ROBOT"]\n')
    policy = home.policy()
    assert load.caller({"ROBOT": "1"}, policy, terminal=True).kind is CallerKind.AGENT
    assert load.caller({"CLAUDECODE": "1"}, policy, terminal=True).kind is CallerKind.PERSON
    assert policy[CI] == CI.default


# What is decided


def decided(policy, *losses, who=PERSON, engine=None, project=None, **more):
    plan = replace(a_plan(*losses, project=project), engine=engine, **more)
    return decide.decide(plan, replace(policy, caller=who.kind), who)


def test_what_is_protected_is_refused_whoever_calls(home):
    home.user('mode = "allow"\n[protected]\nvolumes = ["pg*"]\nprojects = ["shop"]\n')
    policy = home.policy()
    for who in CALLERS.values():
        done = decided(policy, a_loss("pgdata"), who=who)
        assert (done.action, done.rule) == (Action.REFUSE, "protected")
        assert "`pg*` in " in done.because
        assert "policy.toml:3" in done.because
        assert decided(policy, a_loss("x"), who=who).action is Action.PASS
        assert decided(policy, a_loss("x"), who=who, project="shop").rule == "protected"
    assert decided(policy, a_loss("pg", Holds.EMPTY, size=0)).action is Action.REFUSE
    light = a_loss("shop-web", kind=Kind.LAYER)
    assert decided(policy, light, project="shop").action is Action.PASS, "as compose up makes anew"


def test_what_is_protected_and_binding_or_frozen_is_not_made_light_by_a_nearer_line(home):
    big = a_loss("shop-web", kind=Kind.LAYER, size=10**8, project="shop")
    home.system('binding = ["protected"]\n[protected]\nprojects = ["shop"]\n')
    policy = home.policy(SAFEDOCKER_ASK_ABOVE="1TB")
    assert decided(policy, big).rule == "protected"
    assert decided(policy, replace(big, project="x")).action is Action.PASS
    home.system("").user('[protected]\nprojects = ["shop"]\n')
    assert decided(home.policy(SAFEDOCKER_ASK_ABOVE="1TB"), big).action is Action.PASS
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    told = json.dumps({"until": until.isoformat(), "why": "", "by": "anna"})
    (home.places.user / "freeze.json").write_text(told)
    assert decided(home.policy(SAFEDOCKER_ASK_ABOVE="1TB"), big).rule == "frozen"


def test_a_protected_context_lets_nothing_go(home):
    home.user('[protected]\ncontexts = ["prod"]\n')
    policy = home.policy(SAFEDOCKER_MODE="allow")
    assert decided(policy, a_loss(), engine=PROD).rule == "protected"
    assert decided(policy, engine=PROD, gaps=("x",)).rule == "protected"
    assert decided(policy, a_loss(), engine=replace(PROD, context="dev")).action is Action.PASS


def test_what_is_disposable_goes_without_a_word(home):
    home.user('[disposable]\nvolumes = ["tmp-*"]\nprojects = ["ci-*"]\n')
    policy = home.policy()
    for who in CALLERS.values():
        assert decided(policy, a_loss("tmp-1"), who=who).rule == "disposable"
        assert decided(policy, a_loss("x", project="ci-7"), who=who).action is Action.PASS
        labels = {"com.docker.compose.project": "ci-7"}
        anonymous = a_loss("x", kind=Kind.ANONYMOUS_VOLUME, labels=labels)
        assert decided(policy, anonymous, who=who).action is Action.PASS
    secret = a_loss("x", kind=Kind.SECRET, project="ci-7")
    assert decided(policy, secret).action is Action.ASK
    unlabelled = decided(policy, a_loss("x"), project="ci-7")
    assert unlabelled.action is Action.ASK, "the command's project may name what is none of it"
    assert decided(policy, a_loss("tmp-1"), a_loss("x")).action is Action.ASK
    home.user('[disposable]\nvolumes = ["tmp-*"]\n[protected]\nvolumes = ["tmp-1"]\n')
    assert decided(home.policy(), a_loss("tmp-1")).rule == "protected"


@pytest.mark.parametrize("label", ["safedocker.disposable", "org.testcontainers"])
def test_labels_declare_disposable(home, label):
    loss = a_loss(labels={label: "true"})
    assert decided(home.policy(), loss, who=SCRIPT).rule == "disposable"
    assert decided(home.policy(), a_loss(labels={label: "no"}), who=SCRIPT).action is Action.REFUSE
    home.user("disposable.labels = []\n")
    assert decided(home.policy(), loss, who=SCRIPT).action is Action.REFUSE


def test_what_is_frozen_goes_for_nobody(home):
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    told = {"until": until.isoformat(), "why": "release", "by": "anna"}
    (home.places.system / "freeze.json").write_text(json.dumps(told))
    home.user('mode = "allow"\n[disposable]\nvolumes = ["*"]\n')
    policy = home.policy()
    for who in CALLERS.values():
        done = decided(policy, a_loss(), who=who)
        assert (done.action, done.rule) == (Action.REFUSE, "frozen")
        assert "by anna: release" in done.because
        assert decided(policy, gaps=("x",), who=who).rule == "frozen"
    assert decided(policy, a_loss(kind=Kind.IMAGE)).action is Action.PASS
    told["until"] = "2020-01-01T00:00:00+00:00"
    (home.places.system / "freeze.json").write_text(json.dumps(told))
    assert home.policy().frozen is None


def test_a_kind_that_is_named_counts_even_where_it_would_not(home):
    home.user('[loss]\nimage = "ask"\nlayer = "deny"\nbuild_cache = "allow"\n')
    policy = home.policy()
    assert decided(policy, a_loss(kind=Kind.IMAGE)).action is Action.ASK
    assert decided(policy, a_loss(kind=Kind.IMAGE), who=SCRIPT).rule == "nobody-to-ask"
    assert decided(policy, a_loss(kind=Kind.LAYER)).rule == "mode-deny"
    assert decided(policy, a_loss(kind=Kind.BUILD_CACHE)).action is Action.PASS


def test_the_engine_s_name_is_typed_before_anything_goes(home):
    home.user('mode = "backup"\n[context.prod]\nchallenge = "engine"\n')
    policy = home.policy()
    asked = decided(policy, a_loss(), engine=PROD)
    assert (asked.action, asked.confirm) == (Action.ASK, "db-prod-1")
    refused = decided(policy, a_loss(), engine=PROD, who=SCRIPT)
    assert (refused.action, refused.rule) == (Action.REFUSE, "type-the-engine")
    assert decided(policy, a_loss(), who=SCRIPT).action is Action.BACK_UP
    assert decided(policy, a_loss(kind=Kind.IMAGE), engine=PROD).action is Action.PASS


def test_s16_on_another_machine_a_person_types_the_engine_s_name(home):
    done = decided(home.policy(), a_loss(), engine=PROD)
    assert (done.action, done.confirm) == (Action.ASK, "db-prod-1")
    assert decided(home.policy(), a_loss(), engine=replace(PROD, remote=False)).confirm == ""
    done = decided(home.policy(SAFEDOCKER_MODE="backup"), a_loss(), engine=PROD, who=SCRIPT)
    assert done.action is Action.BACK_UP, "nobody types there"
    home.user('[context.prod]\nchallenge = "none"\n')
    assert decided(home.policy(), a_loss(), engine=PROD).confirm == ""


def test_a_policy_is_tried_out_on_what_was_recorded_on_real_engines():
    told = json.loads(Path(trial.__file__).parents[1].joinpath("corpus.json").read_text())
    corpus = tuple(trial.cases(told))
    assert {case.plan.form.name for case in corpus} >= {"volume-rm", "system-prune", "container-rm"}
    plain = [Policy(caller=who.kind) for who in trial.CALLERS]
    assert list(trial.changes(corpus, plain, plain)) == []
    text = '[protected]\nvolumes = ["app_data"]\n'
    layer = load.read(text, "file", Stratum.USER)
    strict = [replace(one, layers=(layer,)) for one in plain]
    changed = list(trial.changes(corpus, plain, strict))
    assert changed
    for one in changed:
        assert (one.after.action, one.after.rule) == (Action.REFUSE, "protected")
        assert "app_data" in {loss.name for loss in one.case.plan.losses}


# Properties

_NAMES = st.sampled_from(["db", "tmp-1", "*", "d*"])
_MODES = st.sampled_from([one.value for one in Mode])
_MARKS = st.lists(st.sampled_from(["CLAUDECODE", "ROBOT", "CI"]), unique=True)
# Tables of engines, by patterns of PROD's names and of its other ones.
_ENGINES = ['context."pro*"', "context.copy", 'host."tcp://10.0.0.5:2376"', 'host."TCP://10.*/"']


@st.composite
def files(draw, *, binding=False):
    """The text of a file that checks."""
    lines = [f'mode = "{draw(_MODES)}"'] if draw(st.booleans()) else []
    for key, words in (("bind_missing", BindMissing), ("others", Others)):
        if draw(st.booleans()):
            lines.append(f'{key} = "{draw(st.sampled_from([one.value for one in words]))}"')
    if draw(st.booleans()):
        lines.append(f"ask_above = {draw(st.sampled_from([0, 10**6, 10**12]))}")
    marks = st.sampled_from([AGENTS, CI])
    for option in draw(st.lists(marks, unique=True)) if draw(st.booleans()) else ():
        lines += [f"{option.key} = {json.dumps(draw(_MARKS))}"]
    tables = ["[protected]", "[disposable]"]
    for table in draw(st.lists(st.sampled_from(tables), unique=True)):
        lines += [table, f"volumes = {json.dumps(draw(st.lists(_NAMES)))}"]
        if draw(st.booleans()):
            lines.append(f"projects = {json.dumps(draw(st.lists(_NAMES)))}")
        if table == "[protected]" and draw(st.booleans()):
            lines.append(f"contexts = {json.dumps(draw(st.sampled_from([[], ['copy'], ['p*']])))}")
    if draw(st.booleans()):
        lines.append("[loss]")
        for name in draw(st.lists(st.sampled_from(sorted(KINDS.values())), unique=True)):
            lines.append(f'{name} = "{draw(_MODES)}"')
    for kind in draw(st.lists(st.sampled_from([k.value for k in CallerKind]), unique=True)):
        lines += [f"[caller.{kind}]", f'mode = "{draw(_MODES)}"']
    for table in draw(st.lists(st.sampled_from(_ENGINES), unique=True)):
        said = draw(st.integers(1, 3))
        lines += [f"[{table}]"]
        lines += [f'mode = "{draw(_MODES)}"'] if said & 1 else []
        lines += [f'challenge = "{draw(st.sampled_from(["engine", "none"]))}"'] if said & 2 else []
    if binding:
        said = tomllib.loads("\n".join(lines))
        each = [key for key in said if said[key] != {}]
        for table in ("context", "host"):  # single ones too, and single values of theirs
            for name, values in said.get(table, {}).items():
                each.append(f"{table}.{name}")
                each += [f"{table}.{name}.{value}" for value in values]
        some = st.lists(st.sampled_from(each), unique=True) if each else st.just([])
        lines.insert(0, f"binding = {json.dumps(draw(st.one_of(st.just(True), some)))}")
    return "\n".join(lines) + "\n"


ENVIRONS = st.fixed_dictionaries(
    {},
    optional={
        "SAFEDOCKER_MODE": _MODES,
        "SAFEDOCKER_ASK_ABOVE": st.sampled_from(["0", "1TB"]),
        "SAFEDOCKER_BIND_MISSING": st.sampled_from(["allow", "refuse", "create", "ask"]),
        "SAFEDOCKER_PROTECT": st.sampled_from(["move", "archive"]),
        "SAFEDOCKER_OTHERS": st.sampled_from([one.value for one in Others]),
    },
)
LOSSES = [
    a_loss("db"),
    a_loss("tmp-1", kind=Kind.ANONYMOUS_VOLUME),
    a_loss("big", kind=Kind.LAYER, size=10**8),
    a_loss("small", kind=Kind.LAYER),
    a_loss("key", kind=Kind.SECRET),
    a_loss("img", kind=Kind.IMAGE),
    a_loss("/x", kind=Kind.BIND_SOURCE),
    a_loss("rm", disposable=True, size=10**8),
    a_loss("void", Holds.EMPTY, size=0),
    a_loss("theirs", owner=Ownership(1001, "anna", Sign.LABEL, "", None, False)),
]
# The same engine: by its own name, by another context and spelling, as a variable names it.
OTHERWISE = replace(
    PROD,
    host="tcp://10.0.0.5:2376/",
    context="copy",
    also=(("host", PROD.host), ("context", "prod")),
)
PLACES = [None, PROD, OTHERWISE, replace(OTHERWISE, doubted=True)]
# Asked a person may let go; a backup that nobody asked for is no question. Neither is the looser.
LOOSER = {
    Action.PASS: set(),
    Action.RECORD: {Action.PASS},
    Action.BACK_UP: {Action.PASS, Action.RECORD},
    Action.ASK: {Action.PASS, Action.RECORD},
    Action.REFUSE: set(Action) - {Action.REFUSE},
}


@st.composite
def stacks(draw):
    """The machine's file, and the nearer layers as load.layers puts them: of the account, of what
    HOME names, of whoever typed sudo, of a project, of variables."""
    machine = load.read(draw(files(binding=True)), "/etc/safedocker/policy.toml", Stratum.SYSTEM)
    nearer = []
    typed = draw(st.booleans())
    if typed and draw(st.booleans()):
        nearer.append(load.read(draw(files()), "account", Stratum.USER, agents_only=True))
    firm = False if typed else None
    nearer.append(load.read(draw(files()), "user", Stratum.USER, loosens_for_agents=firm))
    if draw(st.booleans()):
        nearer.append(load.read(draw(files()), "behind", Stratum.USER, loosens=False))
    trusted, firmly = draw(st.booleans()), draw(st.booleans())
    project = load.read(
        draw(files()), "project", Stratum.PROJECT, loosens=trusted, loosens_for_agents=firmly
    )
    variables = Layer(Stratum.ENVIRONMENT, "environment", tuple(load._environment(draw(ENVIRONS))))
    return machine, (*nearer, project, variables)


@given(stacks(), st.sampled_from(list(CALLERS.values())), st.sampled_from(PLACES))
@settings(max_examples=120)
def test_no_nearer_layer_loosens_what_is_binding(stack, who, engine):
    machine, nearer = stack
    alone = Policy((machine,), who.kind)
    all_of_them = Policy((machine, *nearer), who.kind)
    protects = [PROTECTED_VOLUMES, PROTECTED_PROJECTS, PROTECTED_CONTEXTS]
    keeps = all(alone.of(one).bound for one in protects if alone[one])
    for loss in LOSSES:
        plan = replace(a_plan(loss, project="d"), engine=engine)
        before, after = decide.decide(plan, alone, who), decide.decide(plan, all_of_them, who)
        told = (loss.name, before, after)
        challenged = alone.challenge(engine)
        # What it says besides of protected names, other people's data and the engine's name may
        # bind or not by itself.
        besides = before.rule == "protected" or (loss.anothers and not alone.of(OTHERS).bound)
        besides = besides or (challenged.value is Challenge.ENGINE and not challenged.bound)
        ruling = alone.mode(loss.kind, engine)
        if ruling.named and not alone.mode(loss.kind).bound:
            continue  # that a kind is named may be taken back, and then it is not asked about
        if ruling.bound and not besides:
            assert after.action not in LOOSER[before.action], told
        if before.rule == "protected" and keeps:
            assert after.action is Action.REFUSE, told
        if before.rule == "not-yours" and alone.of(OTHERS).bound:
            assert after.action is Action.REFUSE, told
        if loss.kind is Kind.BIND_SOURCE or not challenged.bound:
            continue
        if before.rule == "type-the-engine":
            assert after.action is Action.REFUSE, told
        if before.confirm:
            assert after.confirm or after.action is Action.REFUSE, told
    for option in OPTIONS:
        old, new = alone.of(option), all_of_them.of(option)
        if old.bound:
            assert new.value == old.value or option.stricter(new.value, old.value), option.key
    for kind in (CallerKind.AGENT, CallerKind.CI):
        if alone.marks(kind).bound:
            assert set(all_of_them.marks(kind).value) >= set(alone.marks(kind).value)


@given(files(), files(), ENVIRONS, st.booleans())
@settings(max_examples=100)
def test_what_an_agent_types_loosens_nothing(account, named, environ, has_account):
    """HOME and the variables: whoever it is without them, nothing is looser with them."""
    own = [load.read(account, "account", Stratum.USER, agents_only=True)] if has_account else []
    typed = (
        load.read(named, "named", Stratum.USER, loosens_for_agents=False),
        Layer(Stratum.ENVIRONMENT, "environment", tuple(load._environment(environ))),
    )
    without = Policy(tuple(own), CallerKind.AGENT)
    with_them = Policy((*own, *typed), CallerKind.AGENT)
    for mark in ("CLAUDECODE", "ROBOT"):
        if load.caller({mark: "1"}, without, terminal=True).kind is CallerKind.AGENT:
            told = load.caller({mark: "1"}, with_them, terminal=True)
            assert told.kind is CallerKind.AGENT
    for engine in PLACES:
        for loss in LOSSES:
            plan = replace(a_plan(loss, project="d"), engine=engine)
            before = decide.decide(plan, without, AGENT).action
            after = decide.decide(plan, with_them, AGENT).action
            assert after not in LOOSER[before], (loss.name, before, after)


@given(files(), files(), ENVIRONS, st.sampled_from(list(CALLERS.values())))
@example(
    '[disposable]\nvolumes = ["*"]\n[context."pro*"]\nchallenge = "engine"\n',
    '[caller.agent]\nmode = "deny"\n',
    {},
    Caller(CallerKind.AGENT, "CLAUDECODE", ""),
)
@settings(max_examples=100)
def test_a_project_that_is_not_trusted_loosens_nothing(user, project, environ, who):
    mine = load.read(user, "user", Stratum.USER)
    theirs = load.read(project, "project", Stratum.PROJECT, loosens=False)
    without, with_it = Policy((mine,), who.kind), Policy((mine, theirs), who.kind)
    for loss in LOSSES:
        plan = replace(a_plan(loss, project="d"), engine=PROD)
        before = decide.decide(plan, without, who).action
        after = decide.decide(plan, with_it, who).action
        assert after not in LOOSER[before], (loss.name, before, after)


def read(text, stratum):
    """The layer, or the fault, which names a line."""
    try:
        return load.read(text, "file", stratum)
    except BadPolicy as fault:
        told = fault
    assert re.match(r"file:\d+: ", told.message)
    return told


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: b.decode("latin-1"))))
@settings(max_examples=100)
def test_any_text_is_a_layer_or_a_fault_with_its_line(text):
    for stratum in (Stratum.SYSTEM, Stratum.USER, Stratum.PROJECT):
        assert isinstance(read(text, stratum), Layer | BadPolicy)


_KEYS = st.sampled_from([o.key for o in OPTIONS] + ["context.a.mode", "loss.image", "x", "caller"])
_VALUES = st.sampled_from(
    ['"ask"', "1", "true", '["a"]', "[[1]]", "{}", "nan", "1979-05-27", '"""\nx"""', "-1", "1e400"]
)


@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=6), st.sampled_from(["\n", "\r\n", "\n# c\n"]))
@settings(max_examples=100)
def test_any_value_of_any_key_is_a_layer_or_a_fault_with_its_line(pairs, end):
    text = "".join(f"{key} = {value}{end}" for key, value in pairs)
    layer = read(text, Stratum.USER)
    for one in layer.settings if isinstance(layer, Layer) else ():
        line = text.split("\n")[int(one.origin.place.rpartition(":")[2]) - 1]
        assert one.key[-1] in line


@given(st.sampled_from(list(Mode)), st.sampled_from(list(Mode)), st.sampled_from(list(Mode)))
def test_stricter_is_an_order(one, two, three):
    assert not MODE.stricter(one, one)
    assert not (MODE.stricter(one, two) and MODE.stricter(two, one))
    if MODE.stricter(one, two) and MODE.stricter(two, three):
        assert MODE.stricter(one, three)
    assert set(STRICTER_MODES) == set(Mode)


def test_a_line_is_found_by_parsing():
    text = 'a = """\nmode = "x"\n"""\n[t]\n  "mode" = [\n 1,\n]\n'
    assert line_of(text, ("t", "mode")) == 5
    assert line_of(text, ("a",)) == 1
    long = "\n".join(f"k{n} = 1" for n in range(1000)) + '\nmode = "ask"\n'
    assert line_of(long, ("mode",)) == 1001
    assert set(string.digits) & set(str(line_of(long, ("nowhere",))))
