"""How docker and Compose v2 read options: pflag, and cobra's search for the next command word.

Both are followed step by step. Not decided here: which commands there are (grammar.py), and what
to make of them (parse.py).
"""

from __future__ import annotations

from safedocker.command.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    FindCommand = Callable[[str], str | None]

Pairs = list[tuple[str, str]]

# What is known of a client's version: (first column of the tables that speaks for it, the last
# one, it stands in a column of its own, it is newer than all of them).
Span = tuple[float, float, bool, bool]
ANY: Span = (0.0, 99.0, False, False)

# Option lists in grammar.py's notation, the nearest first.
Scope = list[tuple[str, Span]]


def make_span(
    columns: tuple[tuple[tuple[int, int], float], ...], version: tuple[int, ...] | None
) -> Span:
    """Say which columns speak for a version: its own, else both neighbours; unknown: all."""
    if not version:
        return ANY
    short = version[:2]
    below = [mark for column, mark in columns if column <= short]
    above = [mark for column, mark in columns if column >= short]
    if below and above:
        return (below[-1], above[0], below[-1] == above[0], False)
    mark = below[-1] if below else above[0]
    return (mark, mark, False, bool(below))


def within(mark: str, span: Span) -> bool:
    """Tell whether a version mark ("26", "-26", "26-28", "") covers a column of the span."""
    if not mark:
        return True
    since, dash, until = mark.partition("-")
    if since and float(since) > span[1]:
        return False
    return not dash or float(until) >= span[0]


_NOT_IN_NAMES = frozenset(" /=#~@*")


def _entries(flags: str, name: str, short: bool) -> list[str]:
    found: list[str] = []
    if not _NOT_IN_NAMES.isdisjoint(name):
        return found
    needle = ("/" if short else " ") + name
    at = flags.find(needle)
    while at >= 0:
        end = at + len(needle)
        if end == len(flags) or flags[end] in _NOT_IN_NAMES:
            start = flags.rfind(" ", 0, end) + 1 if short else at + 1
            stop = flags.find(" ", end)
            found.append(flags[start:] if stop < 0 else flags[start:stop])
        at = flags.find(needle, end)
    return found


def look_up(scope: Scope, name: str, short: bool = False) -> tuple[str, str, bool] | None:
    """Return (long name, kind, this client surely has it), or None.

    The kind is "" for a switch, "=" for any value, "=#" for a whole number, "=a|b" for a choice.
    """
    other = None
    for flags, span in scope:
        for entry in _entries(flags, name, short):
            head, _, mark = entry.partition("@")
            if mark and not within(mark, span):
                if not span[2]:
                    other = (*_read_entry(head), False)
                continue
            return (*_read_entry(head), True)
    return other


def _read_entry(head: str) -> tuple[str, str]:
    head, _, canonical = head.partition("~")
    long, equals, number = head.partition("=")
    return canonical or long.partition("/")[0], equals + number


_SWITCH = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), "true") | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), "false"
)


def _is_number(text: str) -> bool:
    """Tell whether Go's strconv.ParseInt(text, 0, 64) takes it."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits[:1].isdigit() or digits[-1] in "_ \t\n\r\x0b\x0c":
        return False
    if digits[0] == "0" and digits[1:2] in tuple("01234567_"):
        digits = "0o" + digits[1:]
    try:
        return int(digits, 0) < 1 << 64
    except ValueError:
        return False


class Reading:
    """The state of one reading of an argv: what was set so far, and what stopped it."""

    def __init__(self) -> None:
        self.flags: Pairs = []
        self.globals: Pairs = []
        self.project: Pairs = []
        self.doubts: list[str] = []
        self.error = ""
        self.help = False
        self.unfit: dict[str, str] = {}  # options whose last value the command will not take

    def doubt(self, sentence: str) -> None:
        """Note what could not be read for sure, once."""
        if sentence not in self.doubts:
            self.doubts.append(sentence)

    def set(self, name: str, kind: str, value: str, into: Pairs) -> None:
        """Set an option, or note why the client refuses the value."""
        if not kind:
            switch = _SWITCH.get(value)
            if switch is None:
                self.error = f"--{name} is on or off, not {value!r}"
            elif name == "help":
                self.help = switch == "true"
            else:
                into.append((name, switch))
        elif kind == "=#" and not _is_number(value):
            self.error = f"--{name} takes a whole number, not {value!r}"
        else:
            into.append((name, value))
            if kind[1:] not in ("", "#"):
                self._choose(name, value, kind[1:].split("|"))

    def _choose(self, name: str, value: str, choices: list[str]) -> None:
        """Note a value that is no choice; the command looks only at the last one (seen)."""
        self.unfit.pop(name, None)
        if value and value not in choices:
            self.unfit[name] = f"--{name} takes {' or '.join(choices)}, not {value!r}"


def read_options(
    reading: Reading,
    words: list[str],
    scope: Scope,
    *,
    into: Pairs,
    stops: bool,
    child: FindCommand | None = None,
) -> list[str]:
    """Read options and return the operands; `stops`: the first operand ends the options.

    `child` knows the command words, where a command may follow: an unknown option that this
    client may have takes the next word along only there, and only if that is no command.
    Source: spf13/pflag flag.go, parseArgs.
    """
    operands: list[str] = []
    line = _Line(reading, words, scope, into, child)
    while line.at < len(words) and not reading.error:
        word = words[line.at]
        line.at += 1
        if word[:1] != "-" or word == "-":
            if stops:
                return words[line.at - 1 :]
            operands.append(word)
        elif word == "--":
            return operands + words[line.at :]
        elif word[1] == "-":
            line.long(word)
        elif not word.startswith("-test."):  # pflag since 1.0.6 skips options of `go test`
            line.shorts(word)
    return operands


class _Line:
    """Words being read; `at` is the next one."""

    def __init__(
        self,
        reading: Reading,
        words: list[str],
        scope: Scope,
        into: Pairs,
        child: FindCommand | None,
    ) -> None:
        self.reading = reading
        self.words = words
        self.scope = scope
        self.into = into
        self.child = child
        self.at = 0

    def long(self, word: str) -> None:
        """Source: spf13/pflag flag.go, parseLongArg."""
        name, equals, value = word[2:].partition("=")
        if not name or name[0] == "-":
            self.reading.error = f"bad flag syntax: {word}"
            return
        found = look_up(self.scope, name)
        if found is None:
            self._unknown(f"--{name}", may_take_next=not equals)
            return
        if not equals:
            value = self._value(found[1], f"--{name}")
        self._set(found, f"--{name}", value)

    def shorts(self, word: str) -> None:
        """Source: spf13/pflag flag.go, parseSingleShortArg."""
        cluster = word[1:]
        while cluster and not self.reading.error:
            letter, rest = cluster[0], cluster[1:]
            assigned = len(rest) > 1 and rest[0] == "="
            found = look_up(self.scope, letter, short=True)
            if letter == "=":
                self.reading.error = f"unknown shorthand flag: '=' in {word}"
            elif found is None:
                self._unknown(f"-{letter}", may_take_next=not rest)
                rest = "" if assigned else rest
            elif assigned or (rest and found[1]):
                self._set(found, f"-{letter}", rest[1:] if assigned else rest)
                rest = ""
            else:
                self._set(found, f"-{letter}", self._value(found[1], f"-{letter}"))
            cluster = rest

    def _value(self, kind: str, flag: str) -> str:
        if not kind:
            return "true"
        if self.at == len(self.words):
            self.reading.error = f"flag needs an argument: {flag}"
            return ""
        self.at += 1
        return self.words[self.at - 1]

    def _set(self, found: tuple[str, str, bool], flag: str, value: str) -> None:
        name, kind, sure = found
        if not sure:
            self.reading.doubt(f"this client may not know {flag}")
        if not self.reading.error:
            self.reading.set(name, kind, value, self.into)

    def _unknown(self, flag: str, *, may_take_next: bool) -> None:
        if is_exact(self.scope):
            self.reading.error = f"unknown flag: {flag}"
            return
        self.reading.doubt(f"unknown option {flag}")
        if may_take_next and self.child is not None:
            following = self.words[self.at : self.at + 1]
            if following and following[0][:1] != "-" and self.child(following[0]) is None:
                self.at += 1


def is_exact(scope: Scope) -> bool:
    """Tell whether what the scope does not hold surely does not exist."""
    return all(span[2] for _, span in scope)


def find_command(
    words: list[str], scope: Scope, child: FindCommand
) -> tuple[int, str, list[str]] | None:
    """Find the next command word; return (its index, what `child` says, the words before it).

    None: there is none. A name that is not known takes the next word along, and so does a bare
    `--`: `docker volume -- x rm y` removes y. Source: spf13/cobra command.go, Traverse.
    """
    before: list[str] = []
    in_value = False
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if word[:2] == "--" and "=" not in word:
            in_value = _takes_next(word[2:], False, scope, following, child)
        elif _is_one_short(word) and _takes_next(word[1:], True, scope, following, child):
            in_value = True
        elif in_value:
            in_value = False
        elif word[:1] != "-" or word == "-":
            found = child(word)
            return None if found is None else (at, found, before)
        before.append(word)
    return None


def _is_one_short(word: str) -> bool:
    # cobra counts bytes; a byte that does not decode is a surrogate here
    return (
        len(word) == 2
        and word[0] == "-"
        and word != "-="
        and (word[1] < "\x80" or "\udc80" <= word[1] <= "\udcff")
    )


def _takes_next(name: str, short: bool, scope: Scope, following: str, child: FindCommand) -> bool:
    found = look_up(scope, name, short) if name else None
    if found is not None:
        return bool(found[1])
    if not name or is_exact(scope):
        return True
    return following[:1] != "-" and child(following) is None
