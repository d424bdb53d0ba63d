"""Patterns of host paths: which fit, and what is done about those that do."""

from __future__ import annotations

import fnmatch
import os
import time
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from safedocker.errors import BadPolicy
from safedocker.loss.facts import EngineIdentity
from safedocker.loss.plan import Kind, Loss
from safedocker.policy import decide, load, paths
from safedocker.policy.decide import Action
from safedocker.policy.layers import Policy, Stratum
from safedocker.policy.options import BIND_PATHS, BIND_REMOTE, BindRemote, Caller, CallerKind
from tests.pure.test_decide import PERSON, SCRIPT, a_plan


@pytest.mark.parametrize(
    ("pattern", "fit", "unfit"),
    [
        ("/srv/**", "/srv /srv/a /srv/a/b/c /srv/.x", "/srvx /sr /a/srv"),
        ("/srv/*", "/srv/a /srv/.x", "/srv /srv/a/b"),
        ("/srv/*/data", "/srv/a/data", "/srv/data /srv/a/b/data /srv/a/data/x"),
        ("/srv/**/data", "/srv/data /srv/a/data /srv/a/b/data", "/srv/a/data/x /srv/adata"),
        ("/**/node_modules", "/node_modules /a/b/node_modules", "/a/my_node_modules"),
        ("/**", "/ /a /a/b", ""),
        ("/", "/", "/a"),
        ("/srv/", "/srv", "/srv/a"),
        ("/srv/v?", "/srv/v1", "/srv/v /srv/v12 /srv/v/"),
        ("/srv/[a-c]x", "/srv/bx", "/srv/dx /srv/x"),
        ("/srv/[!a-c]x", "/srv/dx", "/srv/bx /srv/x /srv//x"),
        ("/srv/a.b", "/srv/a.b", "/srv/aXb"),
        ("/srv/(a|b)+", "/srv/(a|b)+", "/srv/a"),
        ("/Srv", "/Srv", "/srv"),
        ("/srv/a", "/srv/./a /srv//a /srv/b/../a", "/srv/b"),
        ("/srv/[", "/srv/[", "/srv/a"),
        ("/srv/a b\nc", "/srv/a b\nc", "/srv/a"),
    ],
)
def test_a_pattern_fits_whole_paths(pattern, fit, unfit):
    assert paths.fault(pattern) == ""
    for path in fit.split(" /"):
        path = path if path.startswith("/") else f"/{path}"
        assert paths.fits(path, pattern), path
    for path in filter(None, unfit.split(" /")):
        path = path if path.startswith("/") else f"/{path}"
        assert not paths.fits(path, pattern), path


@given(st.text("ab*?[]!.^\\", max_size=6), st.text("ab[]!.^\\", min_size=1, max_size=4))
def test_within_a_name_it_is_the_shells_pattern(pattern, name):
    if "**" in pattern or not pattern or {pattern, name} & {".", ".."}:
        return
    assert paths.fits(f"/srv/{name}", f"/srv/{pattern}") is fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/" + "*a" * 200 + "b", "/" + "a" * 2000),
        ("/**/a" * 200 + "/b", "/a" * 2000),
        ("/" + "*" * 1 + "?*" * 200 + "b", "/" + "a" * 2000),
        ("/**/*a*a*a*a*b" * 20, "/aaaaaaaa" * 200),
    ],
)
def test_many_stars_cost_no_more_than_path_times_pattern(pattern, path):
    started = time.process_time()
    assert not paths.fits(path, pattern)
    assert time.process_time() - started < 10  # what goes back and forth takes years


@pytest.mark.parametrize(
    "pattern", ["srv/**", "", "~me/x", "/srv/../x", "/srv/./x", "/s**", "/[b-a]"]
)
def test_a_pattern_that_can_fit_nothing_is_told(pattern):
    assert paths.fault(pattern)


RULES = """
bind_paths = [
  {path = "/srv/secret/**", action = "refuse"},
  {path = "/srv/**", action = "create"},
  {path = "/tmp/**", action = "allow"},
  {path = "~/work/**", action = "create"},
]
"""
HERE = EngineIdentity("unix:///run/docker.sock", "default", "box", "ID", "26", (1, 45), False)
FAR = replace(HERE, host="tcp://10.0.0.5:2376", remote=True)


def in_force(*texts: tuple[Stratum, str]) -> Policy:
    return Policy(tuple(load.read(text, "policy.toml", stratum) for stratum, text in texts))


OWN = in_force((Stratum.USER, RULES))


def a_path(name: str, *, certain: bool = True) -> Loss:
    return Loss(Kind.BIND_SOURCE, name, None, "", certain=certain)


def verdict(path: str, who: Caller, policy: Policy = OWN, engine: EngineIdentity = HERE) -> Action:
    plan = replace(a_plan(a_path(path)), engine=engine)
    (found,) = decide.decide(plan, policy, who).verdicts
    return found.action


@pytest.mark.parametrize(
    ("path", "nobody", "person"),
    [
        ("/srv/www", Action.PASS, Action.PASS),
        ("/srv/secret/key", Action.REFUSE, Action.REFUSE),
        ("/tmp/x", Action.PASS, Action.PASS),
        ("/home/me/x", Action.REFUSE, Action.ASK),
        (os.path.expanduser("~/work/x"), Action.PASS, Action.PASS),
    ],
)
def test_the_first_pattern_that_fits_answers_for_a_missing_path(path, nobody, person):
    assert verdict(path, SCRIPT) is nobody
    assert verdict(path, PERSON) is person


def test_only_those_that_are_to_be_created_are_made():
    plan = replace(a_plan(a_path("/srv/www"), a_path("/tmp/x")), engine=HERE)
    assert decide.to_make(decide.decide(plan, OWN, SCRIPT), OWN, plan) == {"/srv/www"}
    far = replace(plan, engine=FAR)
    assert decide.to_make(decide.decide(far, OWN, SCRIPT), OWN, far) == frozenset()


def test_a_refusal_by_a_pattern_is_the_policys():
    plan = a_plan(a_path("/srv/secret/key"))
    assert decide.decide(plan, OWN, PERSON).rule == "bind-missing"
    assert decide.decide(a_plan(a_path("/home/x")), OWN, SCRIPT).rule == "nobody-to-ask"


@pytest.mark.parametrize(
    ("machine", "path", "action"),
    [
        ('bind_missing = "refuse"\nbinding = true', "/srv/www", Action.REFUSE),
        ('bind_missing = "allow"\nbinding = true', "/srv/secret/key", Action.REFUSE),
        ('bind_missing = "refuse"', "/srv/www", Action.PASS),
        (RULES.replace("create", "allow") + "binding = true", "/srv/secret/key", Action.REFUSE),
        (RULES.replace('"create"', '"refuse"') + "binding = true", "/srv/www", Action.REFUSE),
        (f'bind_missing = "refuse"\n{RULES}binding = true', "/srv/www", Action.PASS),
    ],
)
def test_a_persons_patterns_loosen_nothing_that_the_machine_binds(machine, path, action):
    both = in_force((Stratum.SYSTEM, machine), (Stratum.USER, RULES))
    assert verdict(path, SCRIPT, both) is action


@pytest.mark.parametrize(
    "value",
    [
        '"/srv"',
        '["/srv"]',
        '[{path = "/srv"}]',
        '[{path = "srv", action = "allow"}]',
        '[{path = "/srv", action = "perhaps"}]',
        '[{path = 1, action = "allow"}]',
    ],
)
def test_what_is_no_rule_is_told_with_its_line(value):
    with pytest.raises(BadPolicy, match=r"policy\.toml:2: "):
        load.read(f"\nbind_paths = {value}", "policy.toml", Stratum.USER)


def test_rules_are_shown_as_they_would_stand_in_a_file():
    rules = OWN[BIND_PATHS]
    again = in_force((Stratum.USER, f"bind_paths = {BIND_PATHS.type.show(rules)}"))
    assert again[BIND_PATHS] == rules
    Draft202012Validator.check_schema(BIND_PATHS.type.schema)
    Draft202012Validator(BIND_PATHS.type.schema).validate(tomllib.loads(RULES)["bind_paths"])


@pytest.mark.parametrize("kind", list(CallerKind))
def test_s24_a_path_of_which_nothing_is_known_counts_as_one_that_is_missing(kind):
    who = Caller(kind, "test")
    plan = replace(a_plan(a_path("/home/x", certain=False)), engine=FAR)
    decision = decide.decide(plan, OWN, who)
    assert decision.action is (Action.ASK if who.can_be_asked else Action.REFUSE)
    assert "can't be known" in decision.because
    allowed = replace(a_plan(a_path("/tmp/x", certain=False)), engine=FAR)
    assert decide.decide(allowed, OWN, who).action is Action.PASS


@pytest.mark.parametrize(
    ("machine", "person", "looks"),
    [
        ("", "", BindRemote.UNKNOWN),
        ("", 'bind_remote = "look"', BindRemote.LOOK),
        ('bind_remote = "unknown"\nbinding = true', 'bind_remote = "look"', BindRemote.UNKNOWN),
        ('bind_remote = "look"\nbinding = true', 'bind_remote = "unknown"', BindRemote.UNKNOWN),
    ],
)
def test_s24_whether_another_host_is_looked_at_is_policys(machine, person, looks):
    policy = in_force((Stratum.SYSTEM, machine), (Stratum.USER, person))
    assert policy[BIND_REMOTE] is looks
