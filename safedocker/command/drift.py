"""Where a client's own help and our tables part: what the client has and we do not know.

Decided here: what a help text tells, and what of it is new. Help hides some options, so what only
our tables have is no news. Not decided: how the texts are asked for.
"""

from __future__ import annotations

from safedocker.command import compose_grammar, docopt, grammar
from safedocker.command.pflag import look_up
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.command.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safedocker.command.parse import Clients

Words = tuple[str, ...]


class Option(NamedTuple):
    """One option as help shows it, names without dashes; "" for one that it has not."""

    long: str
    short: str
    takes_value: bool


class Help(NamedTuple):
    """What a help text tells of a command. An alias is its words, without the program."""

    commands: Words
    plugins: Words
    options: tuple[Option, ...]
    aliases: tuple[Words, ...]


class Place(NamedTuple):
    """A command with a help of its own: its words, and the name that our tables have for it."""

    words: Words
    key: str


class Drift(NamedTuple):
    """One thing that the client has and our table has not."""

    command: str  # "docker volume rm"
    what: str  # "option --new takes a value, and is not known here"


def read_help(text: str) -> Help:
    """Given what `--help` printed, return what it lists. Text that is no help lists nothing.

    Source: the templates of spf13/cobra and docker/cli cli/cobra.go; docopt's own reading.
    """
    commands: list[str] = []
    plugins: list[str] = []
    options: list[Option] = []
    aliases: list[Words] = []
    section = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        head = line.strip().partition("  ")[0].strip()
        if not indent:
            section = head.lower() if head.endswith(":") else ""
        elif head[:1] == "-" and indent <= 8 and "options" in section:
            options.append(_option(head))
        elif section == "aliases:":
            aliases += [_alias(one) for one in head.split(",")]
        elif section.endswith("commands:") and indent <= 4 and " " not in head:
            (plugins if head.endswith("*") else commands).append(head.rstrip("*"))
    return Help(tuple(commands), tuple(plugins), tuple(options), tuple(aliases))


def _option(head: str) -> Option:
    names = {"long": "", "short": ""}
    rest = []
    for word in head.replace(",", " ").split():
        name, _, value = word.partition("=")
        if word[:1] != "-" or word == "-":
            rest.append(word)
            continue
        names["long" if word[:2] == "--" else "short"] = name.lstrip("-")
        rest += [value] if value else []
    # A switch's sentence with quoted words in it looks like a value of several words; docopt's
    # values are in capitals, and only one blank may stand before the sentence.
    takes_value = len(rest) == 1 or (len(rest) > 1 and rest[0].isupper())
    return Option(names["long"], names["short"], takes_value)


def _alias(text: str) -> Words:
    words = text.split()
    return tuple(words[1:] if words[:1] in (["docker"], ["docker-compose"]) else words)


def below(program: str, words: Words, text: str, clients: Clients) -> Iterator[Place]:
    """Given a command's help, say which commands below it have a help to look at.

    None that we do not know, or that is a plugin's; a command may come by several spellings.
    """
    found = read_help(text)
    for name in (*found.commands, *found.plugins):
        line = (*words, name)
        if name in ("help", "completion"):
            continue
        if program == "docker" and not words and name in grammar.PLUGINS:
            continue  # a program of its own, and asked as one
        key = _key(program, line, clients)
        if key is not None:
            yield Place(line, key)


def drift(program: str, words: Words, text: str, clients: Clients) -> tuple[Drift, ...]:
    """Given the help of a command, return what our table for this client does not hold.

    `program` is docker or docker-compose, `words` are the command's; none for the program itself.
    """
    found = read_help(text)
    told = " ".join((program, *words))
    news = [
        Drift(told, f"command {name} is not known here")
        for name in found.commands
        if _key(program, (*words, name), clients) is None
    ]
    own = _key(program, words, clients)
    for alias in found.aliases:
        line = alias if len(alias) > 1 or not words else (*words[:-1], *alias)
        line = line[1:] if program == "docker-compose" and line[:1] == ("compose",) else line
        if line[:1] in (("buildx",), ()):
            continue  # with that plugin, `docker build` is its own
        named = _key(program, line, clients)
        if own is not None and own.startswith("buildx") and named is not None:
            continue  # the same the other way round
        if named != own:
            news.append(Drift(told, f"its other name {' '.join(alias)} is not known here"))
    sentences = (_news(option, program, words, clients) for option in found.options)
    news += [Drift(told, sentence) for sentence in sentences if sentence]
    return tuple(news)


def _news(option: Option, program: str, words: Words, clients: Clients) -> str:
    spelled = f"--{option.long}" if option.long else f"-{option.short}"
    for name, short in ((option.long, False), (option.short, True)):
        takes = _takes(name, short, program, words, clients) if name else option.takes_value
        if takes is None:
            shown = f"-{name}" if short else f"--{name}"
            return f"option {shown} is not known here"
        if takes != option.takes_value:
            return (
                f"option {spelled} takes a value, and is read as a switch here"
                if option.takes_value
                else f"option {spelled} is a switch, and is read as taking a value here"
            )
    return ""


def _takes(name: str, short: bool, program: str, words: Words, clients: Clients) -> bool | None:
    """Does the option take a value, by our table? None: it is not in there."""
    if _is_v1(program, clients):
        return docopt.takes_value(words[0] if words else "", name, short)
    key = _key(program, words, clients)
    found = None if key is None else look_up(Tree(clients).scope(key), name, short)
    return None if found is None else bool(found[1])


def _is_v1(program: str, clients: Clients) -> bool:
    return program == "docker-compose" and clients.compose is not None and clients.compose < (2,)


def _key(program: str, words: Sequence[str], clients: Clients) -> str | None:
    """The command that the words name, as our tables have it; None for none."""
    if _is_v1(program, clients):
        word = "_".join(words).replace("-", "_")
        return word if word in compose_grammar.V1 else None
    tree = Tree(clients)
    key: str | None = "compose" if program == "docker-compose" else ""
    for word in words:
        key = None if key is None else tree.child(key, word)
    return key
