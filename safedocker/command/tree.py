"""The commands that the clients at hand have between them, and the options of each.

Decided here: what a word names, by which version. What argv says is parse.py's.
"""

from __future__ import annotations

from safedocker.command import compose_grammar, grammar
from safedocker.command.pflag import ANY, Scope, Span, make_span, within
from safedocker.command.record import TYPE_CHECKING

if TYPE_CHECKING:
    from safedocker.command.parse import Clients


class Tree:
    """The commands that these clients have between them, by key: "volume rm"; "" is docker."""

    def __init__(self, clients: Clients) -> None:
        compose = clients.compose
        if compose is not None and compose < (2,):
            compose = None  # docker-compose may be v1 here; `docker compose` never is
        self.docker = make_span(grammar.DOCKER_COLUMNS, clients.docker)
        self.compose = make_span(grammar.COMPOSE_COLUMNS, compose)
        self.buildx = clients.buildx is not False

    def span(self, key: str) -> Span:
        """Return the span of the program that a command belongs to."""
        if key.startswith("compose"):
            return self.compose
        return ANY if key.startswith("buildx") else self.docker

    def entry(self, key: str) -> tuple[list[str], str]:
        """Return (the words of an entry's head, its options)."""
        head, _, flags = _table(key)[key].partition(" |")
        return head.split(), flags

    def child(self, parent: str, word: str) -> str | None:
        """Return the key of the command that a word names below `parent`."""
        if " " in word or not word:
            return None
        if not parent and word in grammar.PLUGINS:
            return word
        key = f"{parent} {word}" if parent else word
        table = _table(parent)
        aliases = grammar.ALIASES if table is grammar.DOCKER else compose_grammar.ALIASES
        span = self.span(parent)
        other, _, mark = aliases.get(key, "").partition(" @")
        if other and within(mark, span):
            return other
        if key in table and within(table[key].partition(" |")[0].partition("@")[2], span):
            return key
        if parent == "builder" and self.buildx:
            return self.child("buildx", word)
        return None

    def builtin(self, word: str) -> str | None:
        """Return the key of a command of docker's own."""
        return None if word in grammar.PLUGINS else self.child("", word)

    def scope(self, key: str) -> Scope:
        """Return the options that a command understands, its own first."""
        if not key:
            return [(grammar.ROOT, self.docker), (grammar.PERSISTENT[""], self.docker)]
        return [(self.entry(key)[1], self.span(key)), *self.persistent(key)]

    def persistent(self, key: str) -> Scope:
        """Return the options that a command has from the words above it."""
        top = key.partition(" ")[0]
        scope = [(grammar.PERSISTENT[""], self.span(key))]
        if top in grammar.PERSISTENT:
            scope.insert(0, (grammar.PERSISTENT[top], self.span(key)))
        if self.buildx and key in ("builder", "builder prune", "image build"):
            scope.append((grammar.PERSISTENT["buildx"], ANY))
            if key != "builder":
                scope.append((self.entry("buildx " + key.partition(" ")[2])[1], ANY))
        return scope


def _table(key: str) -> dict[str, str]:
    if key.startswith("compose"):
        return compose_grammar.COMPOSE
    return compose_grammar.BUILDX if key.startswith("buildx") else grammar.DOCKER
