"""How Compose v1 reads options: docopt 0.6.2 with options_first, for the usages in V1.

Not decided here: which of the two usages a word belongs to (parse.py).
"""

from __future__ import annotations

from safedocker.command.compose_grammar import V1
from safedocker.command.record import NamedTuple


class _Option(NamedTuple):
    long: str  # with its dashes; "" for none
    short: str
    takes_value: bool
    repeats: bool
    name: str


_HELP = [
    _Option("", "-h", False, False, "help"),
    _Option("--help", "", False, False, "help"),
]


class Reading:
    """The state of one reading: docopt runs twice, before and after the command word."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.error = ""
        self.helps = False
        self.doubts: list[str] = []

    def read(self, command: str, words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """Return the options' (long name, value) and the operands of one usage; "" is the main one.

        Source: docopt.py 0.6.2 docopt, parse_argv.
        """
        head, _, flags = V1[command].partition(" |")
        dashed = words[:1] and words[0][:1] == "-"
        options = [_option(entry) for entry in flags.split()] if dashed else []
        own = set(options)
        if not command:
            options += _HELP
        seen: list[tuple[_Option, str]] = []
        at = 0
        while at < len(words) and words[at][:1] == "-" and words[at] not in ("-", "--"):
            read_one = self._long if words[at][:2] == "--" else self._shorts
            at = read_one(words, at, options, seen)
            if self.error:
                return [], []
        self.helps = any(
            value
            and ((o.long or o.short) in ("-h", "--help") or (not command and o.name == "version"))
            for o, value in seen
        )
        if self.helps:
            return [], []
        operands = words[at:]
        if operands[:1] == ["--"] and head.endswith(" --"):
            operands = operands[1:]
        pairs: list[tuple[str, str]] = []
        for option, value in seen:
            if option not in own:
                self._refuse(f"unknown option {option.long or option.short}")
                continue
            if not option.repeats and any(option.name == name for name, _ in pairs):
                self.error = f"--{option.name} is given twice"
            pairs.append((option.name, value))
        return pairs, operands

    def _refuse(self, sentence: str) -> None:
        if self.exact:
            self.error = self.error or sentence
        else:
            self.doubts.append(sentence)

    def _long(
        self, words: list[str], at: int, options: list[_Option], seen: list[tuple[_Option, str]]
    ) -> int:
        """Source: docopt.py parse_long."""
        long, equals, value = words[at].partition("=")
        at += 1
        similar = [option for option in options if option.long == long]
        if not similar:
            similar = [option for option in options if option.long.startswith(long)]
        if len(similar) > 1:
            self.error = f"{long} is not a unique prefix"
            return at
        if not similar:
            similar = [_Option(long, "", bool(equals), False, long[2:])]
            options += similar
        option = similar[0]
        if not option.takes_value:
            if equals:
                self.error = f"{option.long} must not have an argument"
            value = "true"
        elif not equals:
            if at == len(words):
                self.error = f"{option.long} requires argument"
                return at
            value = words[at]
            at += 1
        seen.append((option, value))
        return at

    def _shorts(
        self, words: list[str], at: int, options: list[_Option], seen: list[tuple[_Option, str]]
    ) -> int:
        """Source: docopt.py parse_shorts."""
        left = words[at].lstrip("-")
        at += 1
        while left:
            short, left = "-" + left[0], left[1:]
            option = next((o for o in options if o.short == short), None)
            if option is None:
                option = _Option("", short, False, False, short[1:])
                options.append(option)
            value = "true"
            if option.takes_value:
                if not left and at == len(words):
                    self.error = f"{short} requires argument"
                    return at
                value = left
                if not left:
                    value = words[at]
                    at += 1
                left = ""
            seen.append((option, value))
        return at


def takes_value(command: str, name: str, short: bool) -> bool | None:
    """Tell whether an option of a usage takes a value; None where it has no such option."""
    options = [_option(entry) for entry in V1[command].partition(" |")[2].split()]
    for option in options + ([] if command else _HELP):
        if (option.short == f"-{name}") if short else (option.long == f"--{name}"):
            return option.takes_value
    return None


def _option(entry: str) -> _Option:
    head, _, name = entry.partition("~")
    long, _, short = head.rstrip("*=").partition("/")
    return _Option(
        long and "--" + long, short and "-" + short, "=" in head, "*" in head, name or long
    )
