"""argv as the real clients read it: rows that were seen with them, and properties."""

import random
import shlex
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safedocker.command.parse import Clients, Command, Dialect, parse

D20, D26, D28 = (Clients(docker=v, buildx=False) for v in ((20, 10, 24), (26, 1, 5), (28, 5, 2)))
V1, C226, C240, C55 = (Clients(compose=v) for v in ((1, 29, 2), (2, 26, 1), (2, 40, 3), (5, 5, 0)))
ALL_DOCKERS = (Clients(), D20, D26, D28)
ALL_COMPOSES = (Clients(), C226, C240, C55)


def docker(line: str, clients: Clients = D28) -> Command:
    command, *_ = parse("docker", line.split(), clients)
    return command


def compose(line: str, clients: Clients = C240) -> Command:
    (command,) = parse("docker-compose", line.split(), clients)
    return command


def outcome(command: Command) -> str:
    """Say in one line what happens: error, help, or the command and what it got."""
    if command.error:
        return "error"
    if command.helps:
        return "help"
    words = [" ".join(command.path) or "?"]
    words += [f"{name}={value}" for name, value in (*command.globals, *command.project)]
    words.append(":")
    words += [name if value == "true" else f"{name}={value}" for name, value in command.flags]
    return " ".join([*words, ":", *command.operands])


# docker-semantics: the command behind docker's own options, seen with 20.10, 26.1 and 28.5.
FINDING = {
    "plain": ("volume rm x", "volume rm : : x"),
    "version does not stop": ("-v volume rm x", "volume rm version=true : : x"),
    "version alone": ("-v", "help"),
    "nothing": ("", "help"),
    "host glued": ("-Hx volume rm y", "volume rm host=x : : y"),
    "host assigned": ("-H=x volume rm y", "volume rm host=x : : y"),
    "host apart": ("-H x volume rm y", "volume rm host=x : : y"),
    "host long": ("--host=x volume rm y", "volume rm host=x : : y"),
    "host takes an option": ("-H -D volume rm y", "volume rm host=-D : : y"),
    "cluster with value": ("-DH x volume rm y", "volume rm debug=true host=x : : y"),
    "cluster with glued value": (
        "-Dlerror volume rm y",
        "volume rm debug=true log-level=error : : y",
    ),
    "context glued": ("-cdefault volume rm y", "volume rm context=default : : y"),
    "two hosts": ("-H a -H b volume rm y", "error"),
    "host and context": ("-H a -c b volume rm y", "error"),
    "bad log level": ("-l loud volume rm y", "error"),
    "abbreviated": ("--conte x volume rm y", "error"),
    "upper case": ("Volume rm x", "? : :"),
    "global after the command": ("volume rm -H x y", "error"),
    "global in the middle": ("volume -H x rm y", "error"),
    "dashes first": ("-- volume rm x", "volume rm : : x"),
    "dashes in the middle eat a word": ("volume -- rm x", "error"),
    "dashes in the middle, then the command": ("volume -- x rm y", "volume rm : : y"),
    "two dashes find the shorter command": ("-- -- volume rm x", "container rm : : x"),
    "help before": ("--help volume rm x", "help"),
    "help before, off after": ("--help volume rm x --help=false", "volume rm : : x"),
    "help in the middle, off after": ("volume --help rm x --help=0", "volume rm : : x"),
    "help off": ("volume rm x --help=false", "volume rm : : x"),
    "help after dashes is a name": ("volume rm -- --help", "volume rm : : --help"),
    "help on again": ("volume rm --help=0 x -h", "help"),
    "the help command": ("help volume rm x", "help"),
    "no help command below": ("volume help rm", "error"),
    "group": ("volume", "help"),
    "unknown below a group": ("volume delete x", "error"),
    "unknown option of a group": ("volume --force=1 rm x", "error"),
    "option of the command at the group": ("container -fv rm c", "error"),
    "option with an empty name": ("--=x volume rm y", "error"),
    "three dashes": ("---x volume rm y", "error"),
    "one dash is a word": ("- volume rm x", "error"),
}


@pytest.mark.parametrize("clients", [D20, D26, D28], ids=("20.10", "26.1", "28.5"))
@pytest.mark.parametrize(("line", "expected"), FINDING.values(), ids=FINDING)
def test_docker_finds_the_command(line, expected, clients):
    assert outcome(docker(line, clients)) == expected


OPTIONS = {
    "after the operand": ("volume rm x -f", "volume rm : force : x"),
    "on by 1": ("rm c --volumes=1", "container rm : volumes : c"),
    "on by T": ("rm c --volumes=T", "container rm : volumes : c"),
    "off": ("rm -v=false c", "container rm : volumes=false : c"),
    "neither on nor off": ("rm --volumes=no c", "error"),
    "a word after a switch is an operand": (
        "rm c --volumes false",
        "container rm : volumes : c false",
    ),
    "cluster": ("rm -fv c", "container rm : force volumes : c"),
    "cluster with value for the last": ("rm -fv=false c", "container rm : force volumes=false : c"),
    "cluster with empty value": ("rm -fv= c", "error"),
    "unknown letter": ("rm -fz c", "error"),
    "link": ("rm -lv a/b", "container rm : link volumes : a/b"),
    "dashes": ("volume rm -- x -f", "volume rm : : x -f"),
    "dash": ("volume rm -", "volume rm : : -"),
    "value takes anything": ("volume prune --filter -f", "volume prune : filter=-f :"),
    "value is missing": ("volume prune -f --filter", "error"),
    "options of go test": ("volume rm -test.x v", "volume rm : : v"),
    "too few": ("volume rm -f", "error"),
    "too many": ("volume prune -f x", "error"),
    "too many for system": ("system prune x", "error"),
    "run stops at the image": ("run --rm img rm -v /x", "container run : rm : img rm -v /x"),
    "exec stops at the container": ("exec c volume rm x", "container exec : : c volume rm x"),
    "run -h is the host name": ("run -h box img", "container run : hostname=box : img"),
    "run has a help of its own": ("--help run img", "container run : : img"),
    "run --help": ("run --help img", "help"),
    "no number": ("stop -t soon c", "error"),
    "number": ("stop -t -0x1 c", "container stop : timeout=-0x1 : c"),
    "old name of an option": ("stop --time 3 c", "container stop : timeout=3 : c"),
    "hidden alias": ("run --net host i", "container run : network=host : i"),
    "persistent": ("stack rm --orchestrator x s", "stack rm : orchestrator=x : s"),
    "-v of ps": ("ps -v", "error"),
    "-f of ls": ("volume ls -f x=y", "volume ls : filter=x=y :"),
    "completion": ("__complete volume rm -f x", "__complete : : volume rm -f x"),
}


@pytest.mark.parametrize("clients", [D20, D26, D28], ids=("20.10", "26.1", "28.5"))
@pytest.mark.parametrize(("line", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_docker_reads_the_options_of_a_command(line, expected, clients):
    assert outcome(docker(line, clients)) == expected


ALIASES = {
    "rm": ("rm c", ("container", "rm")),
    "container rm": ("container rm c", ("container", "rm")),
    "volume remove": ("volume remove v", ("volume", "rm")),
    "rmi": ("rmi i", ("image", "rm")),
    "image remove": ("image remove i", ("image", "rm")),
    "image rmi": ("image rmi i", ("image", "rm")),
    "network remove": ("network remove n", ("network", "rm")),
    "stack down": ("stack down s", ("stack", "rm")),
    "stack remove": ("stack remove s", ("stack", "rm")),
    "stack up": ("stack up s", ("stack", "deploy")),
    "context remove": ("context remove c", ("context", "rm")),
    "plugin remove": ("plugin remove p", ("plugin", "rm")),
    "secret remove": ("secret remove s", ("secret", "rm")),
    "config remove": ("config remove c", ("config", "rm")),
    "service remove": ("service remove s", ("service", "rm")),
    "node remove": ("node remove n", ("node", "rm")),
    "ps": ("ps", ("container", "ls")),
    "run": ("run i", ("container", "run")),
    "info": ("info", ("system", "info")),
    "builder prune": ("builder prune", ("builder", "prune")),
    "login": ("login", ("login",)),
    "no delete": ("volume delete v", ("volume",)),
    "no down": ("down", ()),
    "no ls": ("ls", ()),
}


@pytest.mark.parametrize("clients", ALL_DOCKERS, ids=("any", "20.10", "26.1", "28.5"))
@pytest.mark.parametrize(("line", "path"), ALIASES.values(), ids=ALIASES)
def test_aliases_have_one_path(line, path, clients):
    assert docker(line, clients).path == path


@pytest.mark.parametrize(
    ("line", "versions"),
    [
        ("remove c", "26"),
        ("container remove c", "26 28"),
        ("network rm -f n", "26 28"),
        ("volume prune -a", "26 28"),
        ("image rm --platform linux i", "28"),
        ("stack rm --kubeconfig x s", "20"),
        ("volume create --name v", "20 26 28"),
    ],
)
def test_clients_differ(line, versions):
    for name, clients in (("20", D20), ("26", D26), ("28", D28)):
        command = docker(line, clients)
        has = not command.error and len(command.path) == 2
        assert has == (name in versions.split()), name
    assert not docker(line, Clients()).error
    assert not docker(line, Clients()).doubts


def test_a_version_between_two_tables_has_what_either_has():
    assert docker("volume prune -a", Clients(docker=(24, 0, 7))).doubts == ()
    assert docker("remove c", Clients(docker=(27, 0))).path == ("container", "rm")


def test_an_unknown_option_hides_nothing_where_the_client_is_not_known():
    for clients in (Clients(), Clients(docker=(28, 2, 2)), Clients(docker=(31, 0))):
        command = docker("rm --new -fZv c", clients)
        assert outcome(command) == "container rm : force volumes : c"
        assert command.doubts == ("unknown option --new", "unknown option -Z")


def test_an_unknown_option_before_the_command_may_take_a_value():
    for line in (
        "--new volume rm x",
        "--new v volume rm x",
        "-N volume rm x",
        "--new -D volume rm x",
    ):
        command = docker(line, Clients())
        assert command.path == ("volume", "rm"), line
        assert command.operands == ("x",)
        assert command.doubts
    assert docker("compose --new v -p x down", Clients()).project_value("project-name") == "x"
    assert docker("volume --new v rm x", Clients()).path == ("volume", "rm")
    assert docker("volume --new rm x", Clients()).path == ("volume", "rm")


def test_an_unknown_command_is_a_doubt():
    assert docker("frobnicate x").doubts
    assert docker("frobnicate x").path == ()
    assert docker("volume frobnicate x", Clients()).doubts
    assert docker("system prune x", Clients(docker=(31, 0))).doubts


def test_options_after_leading_dashes_choose_the_engine_only_since_26():
    assert docker("-- -H x volume rm y", D26).global_value("host") == "x"
    assert docker("-- -H x volume rm y", D20).global_value("host") is None
    assert docker("-- -H x volume rm y", Clients()).global_value("host") == "x"
    assert docker("-- -H x volume rm y", Clients()).doubts
    assert docker("-- -H x compose down", D28).error


# Seen with 20.10, 26.1 and 28.5: each removed the volume, from the engine named first.
@pytest.mark.parametrize("clients", ALL_DOCKERS, ids=("any", "20.10", "26.1", "28.5"))
def test_context_and_log_level_after_leading_dashes_are_not_heard(clients):
    for line in ("-- -c x volume rm y", "-- -l loud volume rm y", "-- -H a -c x volume rm y"):
        command = docker(line, clients)
        assert (command.path, command.error) == (("volume", "rm"), "")
        assert command.global_value("context") is None
    command = docker("-c x -- -H a volume rm y", clients)
    assert (command.error, command.globals) == ("", (("context", "x"),))


def test_a_second_host_stops_every_command_but_26_with_its_contexts():
    for clients in (D20, D26, D28):
        assert docker("-H a -H b volume rm y", clients).error
        assert bool(docker("-H a -H b context rm y", clients).error) == (clients != D26)
    assert docker("-H a -H b context rm y", Clients()).doubts
    assert docker("-H a -c x context rm y", D26).error
    assert docker("-H a -- -H b volume rm y", D28).error
    assert docker("-H a -- -H b volume rm y", D20).global_value("host") == "a"


# --- Compose v2 ----------------------------------------------------------------------------------

PLUGIN = {
    "plain": ("compose down -v", "compose down : volumes :"),
    "project": ("compose -p q down -v", "compose down project-name=q : volumes :"),
    "glued": ("compose -pq down -v", "compose down project-name=q : volumes :"),
    "two files": ("compose -f a -f b down", "compose down file=a file=b : :"),
    "dashes drop the options": ("compose -- -p q -f F down -v", "compose down : volumes :"),
    "dashes before the command": ("compose -p q -- down -v", "error"),
    "version is ignored": ("compose -v down -v", "compose down version=true : volumes :"),
    "version behind a value": (
        "compose -p q -v down -v",
        "compose down project-name=q version=true : volumes :",
    ),
    "cluster of project options hides the command": ("compose -vp q down", "error"),
    "project after the command": ("compose down -p q", "error"),
    "docker's option after compose": ("compose -D down -v", "error"),
    "docker's long option after compose": ("compose --context c down -v", "error"),
    "docker's option before": ("-D compose down -v", "compose down debug=true : volumes :"),
    "version before a plugin": ("-v compose down -v", "error"),
    "version off before a plugin": ("--version=false compose down -v", "error"),
    "dry run before": ("compose --dry-run down", "compose down dry-run=true : dry-run :"),
    "dry run after": ("compose down --dry-run", "compose down : dry-run :"),
    "dry run before, off after": (
        "compose --dry-run down --dry-run=0",
        "compose down dry-run=true : dry-run dry-run=false :",
    ),
    "help before, off after": ("compose --help down --help=false", "compose down : :"),
    "help": ("compose down -h", "help"),
    "service first": ("compose down web -v", "compose down : volumes : web"),
    "cluster": ("compose down -vt0", "compose down : volumes timeout=0 :"),
    "cluster, value apart": ("compose down -vt 0", "compose down : volumes timeout=0 :"),
    "v is the time": ("compose down -tv", "error"),
    "the time takes anything": ("compose down --timeout -v", "error"),
    "rmi takes anything": ("compose down --rmi -v", "error"),
    "rmi": ("compose down --rmi all", "compose down : rmi=all :"),
    "rmi, the last counts": (
        "compose down -v --rmi some --rmi all",
        "compose down : volumes rmi=some rmi=all :",
    ),
    "rmi, the last is wrong": ("compose down --rmi all --rmi some", "error"),
    "rmi wrong, but help": ("compose down --rmi some --help", "help"),
    "singular": ("compose down --volume", "compose down : volumes :"),
    "no prefixes": ("compose down --vol", "error"),
    "off": ("compose down --volumes=0", "compose down : volumes=false :"),
    "last wins": ("compose down -v -v=false", "compose down : volumes volumes=false :"),
    "rm": ("compose rm -fsv web", "compose rm : force stop volumes : web"),
    "rm, service first": ("compose rm web -fsv", "compose rm : force stop volumes : web"),
    "run stops at the service": ("compose run web down -v", "compose run : : web down -v"),
    "exec stops at the service": ("compose exec web rm -rf /", "compose exec : : web rm -rf /"),
    "run volumes": ("compose run --volumes a:/b web", "compose run : volume=a:/b : web"),
    "up renews": ("compose up -dV", "compose up : detach renew-anon-volumes :"),
    "unknown": ("compose bogus", "error"),
    "group": ("compose", "help"),
    "compose below compose": ("compose compose down", "error"),
}


@pytest.mark.parametrize("clients", [C226, C240, C55], ids=("2.26", "2.40", "5.5"))
@pytest.mark.parametrize(("line", "expected"), PLUGIN.values(), ids=PLUGIN)
def test_docker_compose_the_plugin(line, expected, clients):
    assert outcome(docker(line, clients._replace(docker=(28, 5, 2)))) == expected


@pytest.mark.parametrize(
    ("line", "expected", "clients"),
    [
        ("compose up -y", "compose up : yes :", C240),
        ("compose up --y", "compose up : yes :", C240),
        ("compose create -y", "compose create : yes :", C240),
        ("compose up -y", "error", C226),
        ("compose --all-resources down -v", "error", C226),
        ("compose --all-resources down -v", "compose down all-resources=true : volumes :", C240),
        ("compose exec --no-TTY a b", "compose exec : no-tty : a b", C226),
        ("compose run --labels a=b web", "compose run : label=a=b : web", C226),
        ("compose run --no-tty web", "error", C240),
        ("compose run --no-tty web", "compose run : no-tty : web", C55),
        ("compose convert", "compose config : :", C226),
        ("compose convert", "error", C240),
    ],
)
def test_composes_differ(line, expected, clients):
    assert outcome(docker(line, clients._replace(docker=(28, 5, 2)))) == expected


STANDALONE = {
    "plain": ("-p q down -v", "compose down project-name=q : volumes :"),
    "version first": ("-v -p q down -v", "error"),
    "version alone": ("-v", "compose version : :"),
    "version behind a value": (
        "-p q -v down -v",
        "compose down project-name=q version=true : volumes :",
    ),
    "host": ("-H x -p q down", "compose down host=x project-name=q : :"),
    "host glued": ("-Hx -p q down", "error"),
    "host behind a value": ("-p q -H x down", "error"),
    "host lacks its value": ("-H", "error"),
    "two hosts": ("-H a -H b down", "error"),
    "no -c": ("-c default down", "error"),
    "context": ("--context default down", "compose down context=default : :"),
    "debug": ("-D down", "compose down debug=true : :"),
    "debug assigned": ("-D=false down", "error"),
    "verbose is debug": ("--verbose down", "compose down debug=true : :"),
    "verbose assigned is compose's": ("--verbose=false down", "compose down verbose=false : :"),
    "help first": ("-h down", "help"),
    "help first, off after": ("-h down --help=false", "compose down : :"),
    "dashes drop the options": ("-- -p q down -v", "compose down : volumes :"),
    "compose below compose": ("compose down", "error"),
    "no help command": ("help", "error"),
    "completion": ("__complete down -v", "__complete : : compose down -v"),
}


@pytest.mark.parametrize("clients", [C226, C240, C55], ids=("2.26", "2.40", "5.5"))
@pytest.mark.parametrize(("line", "expected"), STANDALONE.values(), ids=STANDALONE)
def test_docker_compose_the_program(line, expected, clients):
    assert outcome(compose(line, clients)) == expected


def test_an_assigned_host_moves_since_240():
    for flag in ("--host=x", "-H=x", "--hostile=x"):
        assert compose(f"{flag} -p q down", C226).error
        assert compose(f"{flag} -p q down", C240).global_value("host") == "x"


# --- Compose v1 ----------------------------------------------------------------------------------

DOCOPT = {
    "plain": ("-p q down -v", "compose down project-name=q : volumes :"),
    "prefix --v": ("down --v", "compose down : volumes :"),
    "prefix --vol": ("down --vol", "compose down : volumes :"),
    "prefix --volume": ("down --volume", "compose down : volumes :"),
    "prefix --re": ("down --re", "compose down : remove-orphans :"),
    "prefix --rm": ("down --rm all", "compose down : rmi=all :"),
    "prefix --r is ambiguous": ("down --r", "error"),
    "prefix of rm": ("rm --f --s", "compose rm : force stop :"),
    "prefix of up": ("up --ren --force", "compose up : renew-anon-volumes force-recreate :"),
    "prefix before the command": (
        "--fi a --project-n q --compat ps",
        "compose ps file=a project-name=q compatibility=true : :",
    ),
    "prefix --proj is ambiguous": ("--proj q down", "error"),
    "value of a switch": ("down --volumes=true", "error"),
    "rm has no --volumes": ("rm --volumes", "error"),
    "rm -v": ("rm -fsv web", "compose rm : force stop volumes : web"),
    "options end at the operand": ("rm web -fsv", "compose rm : : web -fsv"),
    "options end at the operand of up": ("up web -V", "compose up : : web -V"),
    "cluster with value": ("down -vt0", "compose down : volumes timeout=0 :"),
    "v is the time": ("down -tv", "error"),
    "file glued": ("-fa.yml down", "compose down file=a.yml : :"),
    "down takes no services": ("down -v web", "error"),
    "twice": ("down -v -v", "error"),
    "two files": ("-f a -f b down", "compose down file=a file=b : :"),
    "dashes before the command": ("-p q -- down -v", "compose down project-name=q : volumes :"),
    "dashes first": ("-- down -v", "compose down : volumes :"),
    "dashes make the option the command": ("-- -p q down -v", "error"),
    "dashes where the usage has none": ("down --", "error"),
    "version": ("-v down -v", "help"),
    "help": ("down -vh", "help"),
    "help first": ("--help down -v", "help"),
    "the help command": ("help down", "help"),
    "nothing": ("", "help"),
    "value of an option with =": ("run -v=./x:/x web", "compose run : volume==./x:/x : web"),
    "no dry run": ("down --dry-run", "error"),
    "no cp": ("cp a b", "error"),
    "exec by its method": ("exec-command web ls", "compose exec : : web ls"),
    "host": ("-H x -c y down", "compose down host=x context=y : :"),
}


@pytest.mark.parametrize(("line", "expected"), DOCOPT.values(), ids=DOCOPT)
def test_compose_v1(line, expected):
    command = compose(line, V1)
    assert outcome(command) == expected
    assert command.dialect is Dialect.DOCOPT


def test_docker_compose_of_unknown_version_is_read_both_ways():
    old, new = parse("docker-compose", ["rm", "web", "-v"])
    assert (old.dialect, old.operands) == (Dialect.DOCOPT, ("web", "-v"))
    assert (new.dialect, new.on("volumes")) == (Dialect.PFLAG, True)


def test_docker_is_never_compose_v1():
    assert docker("compose rm web -v", V1).on("volumes")


# --- what a Command holds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "line", "prefix", "rest"),
    [
        ("docker", "-H x volume rm -f y", "-H x volume", "-f y"),
        ("docker", "rm c", "", "c"),
        ("docker", "-H x compose -p q down -v", "-H x compose -p q", "-v"),
        ("docker", "compose -- -p q down -v", "compose -- -p q", "-v"),
        ("docker-compose", "-H x -p q down -v", "-H x -p q", "-v"),
        ("docker-compose", "-v -H x", "", "-H x"),
        ("docker", "frobnicate x", "", "frobnicate x"),
        ("docker", "volume x", "", "x"),
    ],
)
def test_prefix_and_rest_are_the_words_as_they_came(program, line, prefix, rest):
    command = parse(program, line.split(), C240)[-1]
    assert " ".join(command.prefix) == prefix
    assert " ".join(command.rest) == rest


def test_values_are_kept_in_order_and_the_last_counts():
    command = docker("-l info compose -f a -f b down -v -v=0 --rmi all --rmi local")
    assert command.value("rmi") == "local"
    assert command.values("rmi") == ("all", "local")
    assert not command.on("volumes")
    assert command.value("timeout") is None
    assert command.project_values("file") == ("a", "b")
    assert command.project_value("file") == "b"
    assert command.global_value("log-level") == "info"


def test_builder_is_compose_where_the_configuration_says_so():
    line = "-D builder -p q down -v"
    aliased = docker(line, Clients(builder="compose"))
    assert outcome(aliased) == "compose down debug=true project-name=q : volumes :"
    assert aliased.plugin == ("-D", "builder")
    assert docker(line, Clients(builder="")).path == ("builder",)
    plain, perhaps = parse("docker", line.split())
    assert (plain.path, perhaps.path) == (("builder",), ("compose", "down"))
    for line in ("builder prune -f", "volume rm builder", "builder frobnicate"):
        assert len(parse("docker", line.split())) == 1, line


def test_a_plugin_is_called_by_the_words_up_to_its_name():
    line = "--context compose compose -p compose down"
    assert docker(line).plugin == ("--context", "compose", "compose")
    assert docker("volume rm compose").plugin == ()
    assert compose("-p q down").plugin == ()


def test_builder_is_buildx_where_the_plugin_may_be():
    assert docker("builder rm x", Clients(buildx=True)).path == ("buildx", "rm")
    assert docker("builder --builder b prune -af", Clients(buildx=True)).on("all")
    assert docker("builder rm x", D28).error
    assert docker("buildx prune -f", Clients()).path == ("buildx", "prune")
    assert docker("builder prune --max-used-space 1GB", Clients()).doubts == ()


# --- properties ----------------------------------------------------------------------------------

SWITCHES = {
    "volume rm": {"force": "f"},
    "container rm": {"force": "f", "volumes": "v", "link": "l"},
    "image rm": {"force": "f", "no-prune": ""},
    "system prune": {"all": "a", "force": "f", "volumes": ""},
    "compose down": {"volumes": "v", "remove-orphans": ""},
    "compose rm": {"force": "f", "stop": "s", "volumes": "v"},
}
SPELLINGS = {
    "volume rm": ("volume rm", "volume remove"),
    "container rm": ("rm", "container rm"),
    "image rm": ("rmi", "image rm", "image remove", "image rmi"),
    "system prune": ("system prune",),
    "compose down": ("compose down", "compose -v down"),
    "compose rm": ("compose rm",),
}
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.]{1,8}", fullmatch=True)


@st.composite
def spelled(draw):
    """Draw a command, and the same in words: (path, switches, operands, argv)."""
    key = draw(st.sampled_from(sorted(SWITCHES)))
    switches = draw(st.dictionaries(st.sampled_from(sorted(SWITCHES[key])), st.booleans()))
    operands = [] if key == "system prune" else draw(st.lists(NAMES, min_size=1, max_size=3))
    words, cluster = [], ""
    for name, on in switches.items():
        letter = SWITCHES[key][name]
        on_words = [f"--{name}", f"--{name}=true", f"--{name}=1", f"--{name}=T"]
        off_words = [f"--{name}=false", f"--{name}=0", f"--{name}=F"]
        if letter:
            on_words += [f"-{letter}", f"-{letter}=t"]
            off_words += [f"-{letter}=f"]
        if on and letter and draw(st.booleans()):
            cluster += letter
        else:
            words.append(draw(st.sampled_from(on_words if on else off_words)))
    words += ["-" + cluster] if cluster else []
    if draw(st.booleans()):
        words = draw(st.permutations(words)) + draw(st.sampled_from(([], ["--"]))) + operands
    else:
        names = iter(operands)
        mixed = draw(st.permutations([*words, *[None] * len(operands)]))
        words = [next(names) if word is None else word for word in mixed]
    start = draw(st.sampled_from(([], ["-D"], ["--"], ["-H", "tcp://x"], ["--debug=true"])))
    argv = [*start, *draw(st.sampled_from(SPELLINGS[key])).split(), *words]
    return tuple(key.split()), switches, tuple(operands), argv


@given(spelled(), st.sampled_from((*ALL_DOCKERS, *ALL_COMPOSES)))
def test_every_spelling_is_one_command(drawn, clients):
    path, switches, operands, argv = drawn
    (command,) = parse("docker", argv, clients)
    assert (command.path, command.operands) == (path, operands)
    assert (command.error, command.helps, command.doubts) == ("", False, ())
    assert {name: command.on(name) for name in switches} == switches
    assert len(command.flags) == len(switches)


WORDS = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(
    ("-", "--", "-f", "-v", "rm", "volume", "compose", "down", "-H", "-p", "--help", "=", "")
)
EVERYBODY = st.builds(
    Clients,
    st.none() | st.tuples(st.integers(0, 40), st.integers(0, 12)),
    st.none() | st.tuples(st.integers(1, 6), st.integers(0, 50), st.integers(0, 9)),
    st.none() | st.booleans(),
)


@given(st.sampled_from(("docker", "docker-compose")), st.lists(WORDS, max_size=8), EVERYBODY)
def test_any_words_are_read(program, argv, clients):
    for command in parse(program, argv, clients):
        check_whole(command, argv)


def check_whole(command: Command, argv: list[str]) -> None:
    command_word = argv[len(command.prefix) : len(argv) - len(command.rest)]
    assert [*command.prefix, *command_word, *command.rest] == argv
    assert len(command_word) <= 1
    assert not (command.helps and command.error)


def test_fifty_thousand_random_lines_are_read():
    rand = random.Random(7)  # noqa: S311 - the same lines each time
    words = [word for line, _ in (*FINDING.values(), *OPTIONS.values()) for word in line.split()]
    words += [word for line, _ in (*PLUGIN.values(), *DOCOPT.values()) for word in line.split()]
    words += ["", "\udc80", "-\udcff", "--\udc80=\udc81", "é", "-é", "= ", "-=", "--=", " ", "-f="]
    clients = (*ALL_DOCKERS, *ALL_COMPOSES, V1, Clients((31,), (7,), True), Clients((1,), (2,)))
    for _ in range(50_000):
        argv = rand.choices(words, k=rand.randint(0, 6))
        for command in parse(rand.choice(("docker", "docker-compose")), argv, rand.choice(clients)):
            check_whole(command, argv)


@pytest.mark.alone
def test_a_usual_line_is_read_quickly():
    """Twenty to forty microseconds, where the yardstick takes some twenty-five."""
    line = "docker compose -p shop -f a.yml down -v"
    words = line.split()[1:]

    def seconds(work) -> float:
        began = time.process_time()
        for _ in range(500):
            work()
        return time.process_time() - began

    ratios = [
        seconds(lambda: parse("docker", words, D28)) / seconds(lambda: shlex.split(line))
        for _ in range(9)
    ]
    assert min(ratios) < 3


def test_ten_thousand_words_are_read():
    assert docker("volume rm " + "x " * 10_000).operands == ("x",) * 10_000
    deep = "volume -- " * 5_000
    assert docker(deep, Clients()).path == ("volume",)
    assert sys.getrecursionlimit() < 5_000
