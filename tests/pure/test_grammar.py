"""The tables are well-formed, and every word they promise is found."""

import pytest

from safedocker.command import compose_grammar, grammar
from safedocker.command.parse import Clients, parse
from safedocker.command.pflag import ANY, look_up, make_span, within

TABLES = {
    "docker": grammar.DOCKER,
    "compose": compose_grammar.COMPOSE,
    "buildx": compose_grammar.BUILDX,
    "v1": compose_grammar.V1,
}
MARKS = {str(mark).removesuffix(".0") for _, mark in grammar.DOCKER_COLUMNS}
MARKS |= {f"{major}.{minor}" for (major, minor), _ in grammar.COMPOSE_COLUMNS} | {"0.29"}
LISTS = [grammar.ROOT, *grammar.PERSISTENT.values()]
LISTS += [entry.partition(" |")[2] for entries in TABLES.values() for entry in entries.values()]


def marks_of(text):
    return {end for end in text.partition("@")[2].split("-") if end}


@pytest.mark.parametrize("table", TABLES)
def test_heads_say_how_many_operands(table):
    for entry in TABLES[table].values():
        count, *others = entry.partition(" |")[0].split()
        least, dash, most = count.partition("-")
        assert count in ("*", "raw") or (least or "0").isdigit(), entry
        assert not (dash and most) or int(least) < int(most), entry
        for word in others:
            assert word in ("!", "--") or marks_of(word) <= MARKS, entry


def test_options_are_written_in_the_notation():
    for flags in LISTS:
        assert not flags or flags.startswith(" ")
        assert "  " not in flags
        for entry in flags.split():
            head, _, mark = entry.partition("@")
            names, _, other = head.partition("~")
            names, _, kind = names.rstrip("*").partition("=")
            long, slash, short = names.partition("/")
            assert long or other, entry
            assert len(short) == bool(slash), entry
            assert kind in ("", "#") or kind.replace("|", "").isalpha(), entry
            assert marks_of(f"@{mark}") <= MARKS, entry


@pytest.mark.parametrize("client", [20.0, 26.0, 28.0, 29.0, 2.26, 2.40, 5.5, 0.13, 0.29])
def test_no_option_of_one_client_is_written_twice(client):
    for flags in LISTS:
        names, letters = [], []
        for entry in flags.split():
            head, _, mark = entry.partition("@")
            if within(mark, (client, client, True, False)):
                long, _, short = head.partition("~")[0].rstrip("=#*").partition("/")
                names.append(long or entry)
                letters += [short[:1]] if short else []
        assert len(set(names)) == len(names), flags
        assert len(set(letters)) == len(letters), flags


def test_aliases_lead_to_commands():
    for target in grammar.ALIASES.values():
        assert target.partition(" @")[0] in grammar.DOCKER
    for target in compose_grammar.ALIASES.values():
        key = target.partition(" @")[0]
        assert key in compose_grammar.COMPOSE or key in compose_grammar.BUILDX


def test_every_command_stands_below_a_group():
    for table in (grammar.DOCKER, compose_grammar.COMPOSE, compose_grammar.BUILDX):
        for key in table:
            group = key.rpartition(" ")[0]
            assert not group or table[group].startswith("*"), key


def test_every_command_is_found_by_its_words():
    for key in (*grammar.DOCKER, *compose_grammar.COMPOSE, *compose_grammar.BUILDX):
        (command,) = parse("docker", key.split())
        assert " ".join(command.path) == key
        assert command.prefix == tuple(key.split())[:-1]


def test_every_alias_is_found():
    for key, target in grammar.ALIASES.items():
        command, *_ = parse("docker", key.split())
        assert " ".join(command.path) == target.partition(" @")[0]


def test_every_command_of_compose_v1_is_found():
    for key in filter(None, compose_grammar.V1):
        (command,) = parse("docker-compose", [key], Clients(compose=(1, 29, 2)))
        assert command.path == ("compose", key)


@pytest.mark.parametrize(
    ("version", "span"),
    [
        (None, ANY),
        ((20, 10, 24), (20.0, 20.0, True, False)),
        ((19, 3), (20.0, 20.0, False, False)),
        ((24, 0, 7), (20.0, 26.0, False, False)),
        ((28, 2, 2), (26.0, 28.0, False, False)),
        ((29, 7, 2), (29.0, 29.0, True, False)),
        ((31, 0), (29.0, 29.0, False, True)),
    ],
)
def test_a_version_is_spoken_for_by_its_column_or_its_neighbours(version, span):
    assert make_span(grammar.DOCKER_COLUMNS, version) == span


def test_look_up_takes_whole_names_only():
    scope = [(" all/a filter= force/f", ANY)]
    assert look_up(scope, "force") == ("force", "", True)
    assert look_up(scope, "f", short=True) == ("force", "", True)
    for name in ("forc", "orce", "force/f", "", " ", "all/a filter", "filter="):
        assert look_up(scope, name) is None
        assert look_up(scope, name, short=True) is None
