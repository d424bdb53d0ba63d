"""Which contexts of the client's configuration go, with their certificates. Pure."""

from __future__ import annotations

from safedocker.command.parse import Command
from safedocker.loss.facts import Facts
from safedocker.loss.plan import Kind, Loss


def removed(command: Command, facts: Facts) -> list[Loss]:
    """The contexts that are named and there. The one in force goes only by force.

    Source: docker/cli cli/command/context/remove.go; docker-semantics 3.3.
    """
    found = {one.name: one for one in facts.contexts if not one.current or command.on("force")}
    return [
        Loss(Kind.CONTEXT, one.name, None, _of(one.host, one.tls), id=one.folder)
        for name in dict.fromkeys(command.operands)
        if (one := found.get(name)) is not None
    ]


def _of(host: str, tls: bool) -> str:
    place = f"of the engine at {host}" if host else "of an engine"
    return f"{place}, with its certificates and keys" if tls else place
