"""The JSON Schema of a policy's file, made from the table of options. policy.schema.json in the
package is this, for editors; a test holds it against the table. Pure."""

from __future__ import annotations

from typing import Any

from safedocker.policy.options import CHALLENGE, KINDS, MODE, OPTIONS, CallerKind, Option

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema of all files; `binding` is for the machine's alone."""
    properties: dict[str, Any] = {
        "binding": {
            "description": "in /etc/safedocker/policy.toml alone: true, or the keys of this file "
            "that a nearer file may only tighten",
            "anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}],
        }
    }
    for option in OPTIONS:
        *tables, name = option.key.split(".")
        at = properties
        for table in tables:
            at = at.setdefault(table, _table({}))["properties"]
        at[name] = _of(option)
    kinds = {name: _of(MODE, f"what is done about a {name}") for name in KINDS.values()}
    properties["loss"] = _table(kinds)
    by_caller = {"mode": _of(MODE), "loss": _table(kinds)}
    properties["caller"] = _table({kind.value: _table(by_caller) for kind in CallerKind})
    engine = _table({"mode": _of(MODE), "challenge": _of(CHALLENGE)})
    for where, what in (("context", "docker contexts"), ("host", "engines' addresses")):
        properties[where] = {
            "description": f"by patterns of {what}",
            "type": "object",
            "additionalProperties": engine,
        }
    return {"$schema": DRAFT, "title": "A policy of safedocker", **_table(properties)}


def _of(option: Option[Any], told: str = "") -> dict[str, Any]:
    found = {"description": told or option.help, **option.type.schema}
    if option.default is not None and not told:
        found["default"] = _plain(option.default)
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else getattr(value, "value", value)


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}
