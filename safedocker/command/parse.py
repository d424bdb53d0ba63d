"""Reads argv as the real client would: which command, which options, which operands.

Decided here: what the words mean to that client, its errors included. Not decided: what the
command destroys. Follows pflag and cobra (docker, Compose v2 and later) and docopt 0.6.2
(Compose v1) step by step; never raises.

Canonical path: the management form, `docker rm` and `docker container remove` are
("container", "rm"); words that exist only at the top stay (("login",), ("version",)). Compose is
("compose", "down") whichever program was called. `docker buildx prune` is ("buildx", "prune"),
`docker builder prune` is ("builder", "prune"); what only the plugin knows is buildx's
(`docker builder rm` is ("buildx", "rm")).

What a client surely does not have is an error. Where the client's version is not known, or stands
in no table, an unknown option is a doubt. It is then read as a switch, so that it hides no operand
and no option. Before a command word it is read as taking a value, unless the next word starts
with '-' or is a command.
"""

from __future__ import annotations

import enum

from safedocker.command import compose_grammar, docopt, grammar
from safedocker.command.pflag import Pairs, Reading, Scope, Span, find_command, read_options
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.command.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Dialect(enum.Enum):
    """Who reads the options."""

    PFLAG = "pflag"
    DOCOPT = "docopt"


class Clients(NamedTuple):
    """What is known of the real clients; None means unknown.

    `builder` is the plugin that config.json's alias puts in `docker builder`'s place, "" for none.
    """

    docker: tuple[int, ...] | None = None
    compose: tuple[int, ...] | None = None
    buildx: bool | None = None
    builder: str | None = None


class Command(NamedTuple):
    """One reading of an argv. Flags and options go by their long names, in the order given."""

    program: str
    path: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()  # a --dry-run before Compose's command is here too
    operands: tuple[str, ...] = ()
    globals: tuple[tuple[str, str], ...] = ()
    project: tuple[tuple[str, str], ...] = ()  # only those in effect: none after `compose --`
    prefix: tuple[str, ...] = ()  # all words before the last command word, as they came
    rest: tuple[str, ...] = ()  # all words after it; all words of argv if there is none
    dialect: Dialect = Dialect.PFLAG
    helps: bool = False  # or only shows a version
    error: str = ""
    doubts: tuple[str, ...] = ()
    plugin: tuple[str, ...] = ()  # the beginning of argv that calls a plugin of docker's

    def on(self, name: str) -> bool:
        """Tell whether a switch is on; of several the last counts."""
        return _last(self.flags, name) == "true"

    def value(self, name: str) -> str | None:
        """Return the value given last."""
        return _last(self.flags, name)

    def values(self, name: str) -> tuple[str, ...]:
        """Return every value given, in order."""
        return tuple(value for flag, value in self.flags if flag == name)

    def global_value(self, name: str) -> str | None:
        """Return what docker's own option (host, context, config ...) was last set to."""
        return _last(self.globals, name)

    def project_value(self, name: str) -> str | None:
        """Return what Compose's project option was last set to."""
        return _last(self.project, name)

    def project_values(self, name: str) -> tuple[str, ...]:
        """Return every value of a project option (file, profile, env-file), in order."""
        return tuple(value for flag, value in self.project if flag == name)


_ANY_CLIENT = Clients()


def parse(program: str, argv: Sequence[str], clients: Clients = _ANY_CLIENT) -> tuple[Command, ...]:
    """Read argv (without argv[0]) as `program` would, "docker" or "docker-compose".

    Give one reading; two, v1's and then v2's, for docker-compose of unknown version; and two for
    `docker builder ...` that is a command of Compose's, if config.json has it stand for Compose.
    """
    words = list(argv)
    if program != "docker-compose":
        return _docker_readings(words, clients)
    if clients.compose is None:
        return (_compose_v1(words, None), _compose_v2(words, Tree(clients)))
    if clients.compose < (2,):
        return (_compose_v1(words, clients.compose),)
    return (_compose_v2(words, Tree(clients)),)


# --- docker and Compose v2 -----------------------------------------------------------------------


class _Walk:
    """One reading of an argv, from command word to command word.

    `words` are read; `origin` is argv as it came and, for each of `words`, its place there.
    """

    def __init__(
        self,
        program: str,
        tree: Tree,
        words: list[str],
        origin: tuple[list[str], list[int]] | None = None,
    ) -> None:
        self.program = program
        self.tree = tree
        self.words = words
        self.origin = origin
        self.reading = Reading()
        self.plugin = 0  # so many words call one

    def globals(self, span: Span, child: Callable[[str], str | None] | None) -> int:
        """Read docker's own options and return the index of the word after them."""
        if self.words and self.words[0][:1] != "-":
            return 0
        scope = [(grammar.ROOT, span), (grammar.PERSISTENT[""], span)]
        into = self.reading.globals
        rest = read_options(self.reading, self.words, scope, into=into, stops=True, child=child)
        return len(self.words) - len(rest)

    def late_globals(self, words: list[str]) -> None:
        """Read the options between a leading `--` and the command.

        By then every client has its context and log level; 20.10 has its engine too, while 26.1
        and 28.5 still hear -H, unless a context was named before: `docker -- -H x ps` (seen).
        """
        late: Pairs = []
        span, second = self.tree.docker, grammar.DOCKER_COLUMNS[1][1]
        read_options(self.reading, words, self.tree.scope(""), into=late, stops=False)
        late = [pair for pair in late if pair[0] == "host" or pair[0].startswith("tls")]
        if late and span[0] < second and not (span[2] and span[1] < second):
            self.reading.doubt("an older docker ignores options between `--` and the command")
        if span[1] < second:
            return
        if _last(self.reading.globals, "context") in (None, "", "default"):
            self.reading.globals += late
        elif len(_hosts(late)) > 1 and span[0] > second:
            self.reading.error = _TWO_HOSTS

    def check_globals(self) -> None:
        """Note what makes docker give up before it looks at the command."""
        given = self.reading.globals
        if self.reading.error or not given:
            return
        if _hosts(given) and _last(given, "context"):
            self.reading.error = "conflicting options: cannot specify both --host and --context"
        elif (_last(given, "log-level") or "info").lower() not in _LEVELS:
            self.reading.error = "unable to parse logging level"

    def check_hosts(self, key: str) -> None:
        """Note that two engines are one too many, which 26.1 minds only where it needs one."""
        if len(_hosts(self.reading.globals)) < 2 or self.reading.error:
            return
        low, high, exact, _ = self.tree.docker
        second = grammar.DOCKER_COLUMNS[1][1]
        if key.startswith("context") and low <= second <= high:
            if not exact:
                self.reading.doubt("this client may mind a second -H")
        else:
            self.reading.error = _TWO_HOSTS

    def descend(self, key: str, at: int) -> Command:
        """Follow the command words from `key`, which stands at words[at], and read the last's."""
        reading = self.reading
        while not reading.error:
            head, flags = self.tree.entry(key)
            scope = [(flags, self.tree.span(key)), *self.tree.persistent(key)]
            rest = self.words[at + 1 :]
            if head[0] != "*":
                self.check_hosts(key)
                return self.command(key, at, self.leaf(key, rest, head, scope))
            into = reading.project if key == "compose" else reading.flags

            def child(word: str, parent: str = key) -> str | None:
                return self.tree.child(parent, word)

            found = find_command(rest, scope, child)
            if found is None:
                operands = read_options(reading, rest, scope, into=into, stops="!" in head)
                return self.group(key, at, operands)
            if found[2]:
                read_options(reading, found[2], scope, into=into, stops="!" in head, child=child)
            key = found[1]
            at += found[0] + 1
        return self.command(key, at)

    def leaf(self, key: str, rest: list[str], head: list[str], scope: Scope) -> list[str]:
        """Read the options of a command and return its operands."""
        reading = self.reading
        if head[0] == "raw":
            return rest
        if " help " in scope[0][0]:
            reading.help = False  # it has a --help of its own, see grammar.py
        reading.flags += [pair for pair in reading.project if pair[0] == "dry-run"]
        operands = read_options(reading, rest, scope, into=reading.flags, stops="!" in head)
        reading.help = reading.help or key == "help"
        if reading.unfit and not reading.help and not reading.error:
            reading.error = next(iter(reading.unfit.values()))
        wrong = "" if reading.help or reading.error else _wrong_count(head[0], len(operands))
        if wrong and scope[0][1][3]:
            reading.doubt(wrong)
        elif wrong:
            reading.error = wrong
        return operands

    def group(self, key: str, at: int, operands: list[str]) -> Command:
        """Make the Command of a group without a command: it shows help or complains."""
        reading = self.reading
        reading.help = reading.help or not operands
        if not reading.help and not reading.error:
            sentence = f"{operands[0]!r} is no known command of {key}"
            if self.tree.span(key)[2]:
                reading.error = sentence
            else:
                reading.doubt(sentence)
        return self.command(key, at, operands)

    def command(self, key: str = "", at: int = -1, operands: Sequence[str] = ()) -> Command:
        """Make the Command; words[at] is the last command word, if there is one."""
        words = self.words
        if self.origin is not None:
            words, places = self.origin
            at = places[at] if at >= 0 else -1
        reading = self.reading
        return Command(
            self.program,
            tuple(key.split()),
            tuple(reading.flags),
            tuple(operands),
            tuple(reading.globals),
            tuple(reading.project),
            tuple(words[: max(at, 0)]),
            tuple(words[at + 1 :]),
            Dialect.PFLAG,
            reading.help and not reading.error,
            reading.error,
            tuple(reading.doubts),
            tuple(words[: self.plugin]),
        )


_TWO_HOSTS = "specify only one -H"
_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


def _docker_readings(words: list[str], clients: Clients) -> tuple[Command, ...]:
    """config.json may alias `builder`, and nothing else, to a plugin; Compose is one (seen).

    Source: docker/cli cmd/docker/aliases.go processAliases.
    """
    tree = Tree(clients)
    if "builder" not in words or clients.builder not in (None, "compose"):
        return (_docker(words, tree),)
    aliased = _docker(words, tree, "compose")
    if clients.builder is not None:
        return (aliased,)
    plain = _docker(words, tree)
    is_command = len(aliased.path) == 2 and not aliased.error and aliased != plain
    return (plain, aliased) if is_command else (plain,)


def _docker(words: list[str], tree: Tree, builder: str = "") -> Command:
    """Read argv as docker does, `builder` standing for that plugin if one is named.

    Source: docker/cli cmd/docker/docker.go, runDocker.
    """
    walk = _Walk("docker", tree, words)
    reading = walk.reading
    at = walk.globals(tree.docker, lambda word: tree.child("", word))
    walk.check_globals()
    if reading.error or at == len(words):
        reading.help = True
        return walk.command()
    word = words[at]
    if builder and word == "builder":
        word = builder
    if word in grammar.PLUGINS:
        walk.plugin = at + 1
        if _last(reading.globals, "version") is not None:
            reading.error = "unknown flag: --version"  # the plugin reads docker's options again
        return walk.descend(word, at)
    found = find_command(words[at:], tree.scope(""), tree.builtin)
    if found is not None:
        walk.late_globals(found[2])
        return walk.descend(found[1], at + found[0])
    if word[:1] in ("-", ""):
        reading.error = f"{word!r} is no command"
    else:
        reading.doubt(f"{word!r} is no known command, perhaps a plugin")
    return walk.command()


def _wrong_count(spec: str, count: int) -> str:
    least, dash, most = spec.partition("-")
    if count < int(least or 0):
        return f"needs at least {least} operand(s)"
    most = most if dash else least
    if most and count > int(most):
        return f"takes no more than {most} operand(s)"
    return ""


# --- docker-compose, the program -----------------------------------------------------------------

_SPELLED = {"--verbose": "--debug", "-h": "--help", "--version": "version", "-v": "version"}
_SWITCHES = ("--debug", "-D", "--tls", "--tlsverify")
_WITH_VALUE = ("--tlscacert", "--tlscert", "--tlskey", "--host", "-H", "--context", "--log-level")


def _compose_v2(words: list[str], tree: Tree) -> Command:
    """Read docker-compose v2: leading options are moved before `compose`, then as docker does.

    Source: docker/compose cmd/compatibility/convert.go; `--host=x` at v2.40, not yet at v2.26.
    """
    moved: list[tuple[str, int]] = []
    kept: list[tuple[str, int]] = [("compose", -1)]
    splits = tree.compose[1] >= grammar.COMPOSE_COLUMNS[1][1]
    at = 0
    while at < len(words):
        raw = words[at]
        word = _SPELLED.get(raw, raw)
        # anything that begins with the name will do: `--hostile=x`, seen with 2.40
        split = next((flag for flag in _WITH_VALUE if splits and raw.startswith(flag)), None)
        if raw in ("__complete", "__completeNoDesc"):
            kept.insert(0, (raw, at))
        elif raw and raw[0] != "-":
            kept += [(later, place) for place, later in enumerate(words[at:], at)]
            break
        elif word in _SWITCHES:
            moved.append((word, at))
        elif raw in _WITH_VALUE:
            at += 1
            moved += [(raw, at - 1), *((value, at) for value in words[at : at + 1])]
        elif split is not None and "=" in raw:
            moved += [(split, at), (raw.partition("=")[2], at)]
        else:
            kept.append((word, at))
        at += 1
    line = moved + kept
    if at > len(words):
        line = moved  # the last option lacks its value
    converted = [word for word, _ in line]
    walk = _Walk("docker-compose", tree, converted, (words, [place for _, place in line]))
    at = walk.globals(tree.compose, None)
    walk.check_globals()
    if walk.reading.error:
        return walk.command()
    return walk.descend(converted[at], at)


_ENGINE_OPTIONS = frozenset(
    ("host", "context", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify", "log-level")
)


def _compose_v1(words: list[str], version: tuple[int, ...] | None) -> Command:
    """Read docker-compose 1.29.2, which uses docopt twice: for its own options and the command's.

    Source: compose/cli/docopt_command.py.
    """
    exact = version is None or version[:2] == (1, 29)
    reading = docopt.Reading(exact)
    given, operands = reading.read("", words)
    helps = reading.helps or not operands
    key, at = "", -1
    flags: Pairs = []
    if not reading.error and not helps:
        word = operands[0].replace("-", "_")
        word = "exec" if word == "exec_command" else word
        if word and word in compose_grammar.V1:
            key, at = word, len(words) - len(operands)
            flags, operands = reading.read(key, operands[1:])
            helps = reading.helps or key == "help"
        elif exact:
            reading.error = f"No such command: {operands[0]}"
        else:
            reading.doubts.append(f"{operands[0]!r} is no known command")
    if key and not reading.error and not reading.helps:
        reading.error = _wrong_count(compose_grammar.V1[key].split()[0], len(operands))
        if not reading.error and not all(_is_number(v) for name, v in flags if name == "timeout"):
            reading.error = "the timeout is no number"  # read before anything is done
    return Command(
        "docker-compose",
        ("compose", key) if key else (),
        tuple(flags),
        tuple(operands) if key else (),
        tuple(pair for pair in given if pair[0] in _ENGINE_OPTIONS),
        tuple(pair for pair in given if pair[0] not in _ENGINE_OPTIONS),
        tuple(words[: max(at, 0)]),
        tuple(words[at + 1 :]),
        Dialect.DOCOPT,
        helps and not reading.error,
        reading.error,
        tuple(reading.doubts),
    )


def _is_number(text: str) -> bool:
    """Does Python's int() take it?"""
    try:
        int(text)
    except ValueError:
        return False
    return True


def _hosts(pairs: Pairs) -> list[str]:
    return [value for name, value in pairs if name == "host"]


def _last(pairs: tuple[tuple[str, str], ...] | Pairs, name: str) -> str | None:
    for key, value in reversed(pairs):
        if key == name:
            return value
    return None
