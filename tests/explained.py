"""What `explain --json` answered, held against the schema that the wheel ships."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).resolve().parents[1] / "safedocker/explain.schema.json"
_VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text()))


def checked(answer: str | dict[str, Any]) -> dict[str, Any]:
    """The answer as an object, once the schema has nothing to say against it."""
    found: dict[str, Any] = json.loads(answer) if isinstance(answer, str) else answer
    _VALIDATOR.validate(found)
    return found
