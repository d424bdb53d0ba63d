"""Finds the policy in force. For now the environment alone has a say."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from safedocker.errors import BadPolicy
from safedocker.loss.plan import Protect
from safedocker.policy.options import ARCHIVE_UP_TO, BindMissing, Mode, Policy

MODE_VARIABLE = "SAFEDOCKER_MODE"
PROTECT_VARIABLE = "SAFEDOCKER_PROTECT"
ARCHIVE_VARIABLE = "SAFEDOCKER_ARCHIVE_UP_TO"
BIND_VARIABLE = "SAFEDOCKER_BIND_MISSING"

_Word = TypeVar("_Word", bound=enum.Enum)


def load(environ: Mapping[str, str]) -> Policy:
    """Given the environment, return the policy. Raise BadPolicy for a value that is none."""
    return Policy(
        mode=_word(environ, MODE_VARIABLE, Mode.ASK, "mode"),
        mode_source=MODE_VARIABLE if environ.get(MODE_VARIABLE) else "default",
        protect=_word(environ, PROTECT_VARIABLE, Protect.AUTO, "way to protect"),
        archive_up_to=_bytes(environ, ARCHIVE_VARIABLE, ARCHIVE_UP_TO),
        bind_missing=_word(environ, BIND_VARIABLE, BindMissing.ASK, "answer to a missing path"),
    )


def _word(environ: Mapping[str, str], variable: str, default: _Word, what: str) -> _Word:
    value = environ.get(variable, "")
    if not value:
        return default
    try:
        return type(default)(value)
    except ValueError:
        known = ", ".join(str(one.value) for one in type(default))
        raise BadPolicy(
            f"{variable}={value!r} is no {what}: nothing was removed",
            f"set it to one of {known}, or unset it",
        ) from None


def _bytes(environ: Mapping[str, str], variable: str, default: int) -> int:
    value = environ.get(variable, "")
    if not value:
        return default
    if not (value.isascii() and value.isdecimal()):
        raise BadPolicy(
            f"{variable}={value!r} is no number of bytes: nothing was removed",
            "set it to digits alone, or unset it",
        )
    return int(value)
