"""Finds the policy in force. For now the environment alone has a say."""

from __future__ import annotations

from collections.abc import Mapping

from safedocker.errors import BadPolicy
from safedocker.policy.options import Mode, Policy

MODE_VARIABLE = "SAFEDOCKER_MODE"


def load(environ: Mapping[str, str]) -> Policy:
    """Given the environment, return the policy. Raise BadPolicy for a value that is no mode."""
    value = environ.get(MODE_VARIABLE, "")
    if not value:
        return Policy(Mode.ASK, "default")
    try:
        return Policy(Mode(value), MODE_VARIABLE)
    except ValueError:
        modes = ", ".join(mode.value for mode in Mode)
        raise BadPolicy(
            f"{MODE_VARIABLE}={value!r} is no mode: nothing was removed",
            f"set it to one of {modes}, or unset it",
        ) from None
