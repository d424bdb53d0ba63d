"""README's tables that are the code's: options, codes, the schemas beside them.
SAFEDOCKER_GOLDEN=write writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from safedocker.cli.policy import policy
from safedocker.policy.decide import Rule
from safedocker.policy.options import OPTIONS, Option
from safedocker.policy.schema import schema
from safedocker.policy.values import Choice

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PACKAGE = ROOT / "safedocker"
WRITE = os.environ.get("SAFEDOCKER_GOLDEN") == "write"

CODES = {
    Rule.NOBODY_TO_ASK: "data would be lost, and no person is at a terminal",
    Rule.MODE_DENY: "a policy's `mode` is `deny`",
    Rule.PROTECTED: "a volume, project or context that a policy protects",
    Rule.NOT_YOURS: "data that is known to be another person's of this machine",
    Rule.FROZEN: "`safedocker freeze`",
    Rule.TYPE_THE_ENGINE: "the engine's name has to be typed, and nobody can",
    Rule.UNKNOWN_LOSS: "mode `backup`, and what would go could not be found out",
    Rule.NOT_PROTECTABLE: "mode `backup`, and no backup can hold it: a secret, a swarm's state",
    Rule.BIND_MISSING: "a host path that is not there, and `bind_missing` is `refuse`",
    Rule.ENGINE_DISAGREES: "what the engine says of a volume's users contradicts itself",
}
NO_REFUSALS = {
    *(Rule.NO_LOSS, Rule.NOTHING_OF_WEIGHT, Rule.DEFINITIONS_ONLY, Rule.DISPOSABLE),
    *(Rule.MODE_ALLOW, Rule.MODE_BACKUP, Rule.ASK),
}


def held(head: str, rows: list[str]) -> None:
    """The table below this head has these rows."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(head)) + 2
    end = next((at for at, line in enumerate(lines[start:], start) if line[:1] != "|"), len(lines))
    if WRITE:
        README.write_text("\n".join([*lines[:start], *rows, *lines[end:]]) + "\n")
    else:
        assert lines[start:end] == rows


def row(option: Option[object]) -> str:
    kind = option.type
    if isinstance(kind, Choice):
        told = ", ".join(f"`{one.value}`" for one in kind.words)
    else:
        told = type(kind).__name__.lower()
        told = {"words": "list", "switch": "true, false"}.get(told, told)
    default = f"`{kind.show(option.default)}`"
    if option.key.endswith("_variables"):
        default = "see `safedocker policy`"
    variable = f"`{option.variable}`" if option.variable else ""
    return f"| `{option.key}` | {told} | {default} | {variable} | {option.help} |"


def test_the_options_are_the_table_s():
    held("| option | type |", [row(option) for option in OPTIONS])


def test_the_options_are_the_help_s():
    shown = CliRunner().invoke(policy, ["--help"]).output
    told = " ".join(shown.split())
    for option in OPTIONS:
        assert f" {option.key} " in told
        assert " ".join(option.help.replace("`", "").split()) in told


def test_the_codes_are_the_rules():
    assert set(CODES) | NO_REFUSALS == set(Rule)
    held("| code | why |", [f"| `{rule.value}` | {why} |" for rule, why in CODES.items()])


def test_the_schema_in_the_package_is_the_table_s():
    file = PACKAGE / "policy.schema.json"
    text = json.dumps(schema(), indent=1) + "\n"
    if WRITE:
        file.write_text(text)
    assert file.read_text() == text
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ({"mode": "ask", "loss": {"image": "deny"}, "caller": {"ci": {"mode": "backup"}}}, True),
        ({"context": {"prod*": {"mode": "deny", "challenge": "engine"}}, "ask_above": "1GB"}, True),
        ({"moed": "ask"}, False),
        ({"mode": "sometimes"}, False),
        ({"expire": {"older_than": "1 day"}}, False),
        ({"protected": {"volumes": "db"}}, False),
    ],
    ids=str,
)
def test_the_schema_says_what_the_loader_says(text, valid):
    assert Draft202012Validator(schema()).is_valid(text) is valid


def test_the_refusal_s_schema_knows_the_codes_and_has_explain_s_plan():
    refusal = json.loads((PACKAGE / "refusal.schema.json").read_text())
    explain = json.loads((PACKAGE / "explain.schema.json").read_text())
    assert refusal["properties"]["refusal"]["properties"]["plan"] == explain["properties"]["plan"]
    assert {rule.value for rule in CODES} < set(refusal["properties"]["code"]["enum"])
