"""What a policy keeps from everybody, or lets go without a word: by names, projects and labels.
What is done about the rest is decide.py's. Pure."""

from __future__ import annotations

from typing import Any

from safedocker.loss.facts import COMPOSE_PROJECT, EngineIdentity
from safedocker.loss.plan import Kind, Loss
from safedocker.policy.layers import Policy, Value, matches
from safedocker.policy.options import (
    ASK_ABOVE,
    DISPOSABLE_LABELS,
    DISPOSABLE_PROJECTS,
    DISPOSABLE_VOLUMES,
    PROTECTED_CONTEXTS,
    PROTECTED_PROJECTS,
    PROTECTED_VOLUMES,
    Mode,
    Option,
)
from safedocker.policy.stakes import Stake

# What a protected or a disposable project has; a volume's name is looked at for itself.
_OF_A_PROJECT = {
    Kind.NAMED_VOLUME,
    Kind.ANONYMOUS_VOLUME,
    Kind.LAYER,
    Kind.FILE,
    Kind.SECRET,
    Kind.CONFIG,
}


def line(policy: Policy, ruling: Value[Mode]) -> int:
    """The bytes above which a container's own files weigh where it is protected, or all is frozen:
    what binds that, or a freeze, is not got round by a higher line of a nearer file."""
    held: list[Value[Any]] = [ruling, policy.of(PROTECTED_PROJECTS), policy.of(PROTECTED_CONTEXTS)]
    if policy.frozen is not None:
        held.append(Value(policy.frozen, bound=True))
    lines: list[int] = [policy.under(ASK_ABOVE, one) for one in held]
    return min(lines)


def kept(loss: Loss, policy: Policy, engine: EngineIdentity) -> str:
    """Why a freeze or a name keeps a thing of an engine from whoever asks, or ""."""
    if policy.frozen is not None:
        return policy.frozen.told
    return protected(loss, Stake.DATA, policy, None, engine)


def protected(
    loss: Loss,
    stake: Stake,
    policy: Policy,
    command_project: str | None,
    engine: EngineIdentity | None,
) -> str:
    """Why a loss is protected by name, or ""."""
    if stake is Stake.NOTHING:
        return ""
    if loss.kind.is_volume and (by := matches(loss.name, policy[PROTECTED_VOLUMES])):
        return f"the volume {loss.name} is protected ({_where(policy, PROTECTED_VOLUMES, by)})"
    project = _project_of(loss) or command_project
    fits = matches(project, policy[PROTECTED_PROJECTS]) if loss.kind in _OF_A_PROJECT else ""
    if fits:
        return f"the project {project} is protected ({_where(policy, PROTECTED_PROJECTS, fits)})"
    return protected_context(policy, engine)


def protected_context(policy: Policy, engine: EngineIdentity | None) -> str:
    """Why nothing may go from an engine, by the names of the contexts that lead to it, or ""."""
    for context in engine.contexts if engine else ():
        if by := matches(context, policy[PROTECTED_CONTEXTS]):
            return f"the context {context} is protected ({_where(policy, PROTECTED_CONTEXTS, by)})"
    return ""


def _project_of(loss: Loss) -> str | None:
    """Its own project; an anonymous volume's is its container's."""
    return loss.project or loss.labels.get(COMPOSE_PROJECT)


def _where(policy: Policy, option: Option[tuple[str, ...]], pattern: str) -> str:
    place = policy.place_of(option, pattern)
    return f"`{pattern}` in {place}"


def disposable(loss: Loss, policy: Policy, ruling: Value[Mode]) -> str:
    """Why a loss may go without a word, or ""."""
    if loss.kind is Kind.SECRET or loss.kind not in _OF_A_PROJECT:
        return ""
    by = matches(loss.name, policy.under(DISPOSABLE_VOLUMES, ruling)) if loss.kind.is_volume else ""
    if by:
        return f"a disposable volume (`{by}`)"
    # Not the command's: its file may name a volume that is of no project, or of another.
    # Nor an image's: who made it declared nothing of what somebody's container holds.
    project = None if COMPOSE_PROJECT in loss.inherited else _project_of(loss)
    if by := matches(project, policy.under(DISPOSABLE_PROJECTS, ruling)):
        return f"of a disposable project (`{by}`)"
    own = {name: value for name, value in loss.labels.items() if name not in loss.inherited}
    labels = {f"{name}={value}" for name, value in own.items()} | {*own}
    for label in policy.under(DISPOSABLE_LABELS, ruling):
        if label in labels:
            return f"labelled {label}"
    return ""
