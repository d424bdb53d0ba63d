"""Our docopt against the docopt that Compose v1 ships with, on Compose v1's own usages.

By hand, many more: python tests/engine/test_parse_docopt.py 40000 [SEED]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safedocker.command import compose_grammar
from safedocker.command.parse import Clients, Command, parse

pytestmark = pytest.mark.engine

# Runs under the package's own Python, as docker-compose does; one argv a line, one answer a line.
ORACLE = """
import contextlib, io, json, sys
sys.path[:0] = [sys.argv[1]]
sys.path += [sys.argv[2]]
from docopt import DocoptExit
from compose.cli.docopt_command import DocoptDispatcher, NoSuchCommand
from compose.cli.main import TopLevelCommand

dispatcher = DocoptDispatcher(TopLevelCommand, {"options_first": True, "version": "1.29.2"})
for line in sys.stdin:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            options, handler, command_options = dispatcher.parse(json.loads(line))
        said = ["runs", options, handler.__name__, command_options]
        if handler.__name__ == "help":
            said = ["helps"]
    except DocoptExit:
        said = ["fails"]
    except NoSuchCommand:
        said = ["fails"]
    except SystemExit as ended:
        said = ["fails" if ended.code else "helps"]
    sys.stdout.write(json.dumps(said) + "\\n")
    sys.stdout.flush()
"""

PIECES = (
    "-f -p -c -H -v -h -t -s -a -d -V -q -e -u -T -l -w -fv -fsv -vt0 -vt -tv -dV -avfs -vh "
    "-fa.yml -pq -px --file --project-name q x web db 0 5 - -- --help --version --volumes "
    "--volume --vol --v --re --r --rm --rmi --rmi=all --rmi=local all local --remove-orphans "
    "--timeout --timeout=3 --t 3 --force --f --stop --s --ren --renew-anon-volumes "
    "--force-recreate --no-recreate --no-d --build --scale web=2 --scale=web=0 --detach --det "
    "--proj --project --fi --compat --verbose --no-ansi --log-level --volumes=true --ansi never "
    "--profile a --env-file --host --tls --tlsv --context --service-ports --publish -p80:80 --use "
    "--name n --entrypoint -v=./x:/x --index 2 --no-deps --quiet --parallel --no-p --dry-run --zz "
    "--zz=1 -z = --= -= --=x down rm"
)


def draws(seed: int, count: int) -> list[list[str]]:
    rand = random.Random(seed)  # noqa: S311 - a test wants the same draws again
    commands = [key.replace("_", "-") for key in compose_grammar.V1 if key]
    commands += ["down", "down", "rm", "rm", "up", "run"] * 3
    drawn = []
    for _ in range(count):
        words = [rand.choice(commands)]
        options = option_words(words[0])
        for _ in range(rand.choice((0, 1, 1, 2, 2, 3, 4))):
            pool = options if options and rand.random() < 0.6 else PIECES.split()
            at = (
                rand.randint(1, len(words)) if rand.random() < 0.75 else rand.randint(0, len(words))
            )
            words.insert(at, rand.choice(pool))
        drawn.append(words)
    return drawn


def option_words(command: str) -> list[str]:
    found = []
    for entry in compose_grammar.V1[command.replace("-", "_")].partition(" |")[2].split():
        head = entry.partition("~")[0].rstrip("*=.")
        long, _, short = head.partition("/")
        short = short.rstrip("=*")
        found += [f"--{long}", f"--{long[:4]}", f"--{long}=1"] if long else []
        found += [f"-{short}", f"-{short}1"] if short else []
    return found


def names(command: str) -> dict[str, str]:
    """What docopt calls an option: what we call it."""
    told = {}
    for entry in compose_grammar.V1[command].partition(" |")[2].split():
        head, _, name = entry.partition("~")
        long, _, short = head.rstrip("*=").partition("/")
        told[f"--{long}" if long else f"-{short}"] = name or long
    return told


PRESET = {"index": "1", "protocol": "tcp"}  # [default: ...] in the usage


def _is_timeout(told: str | None) -> bool:
    """Source: compose/cli/main.py 1.29.2 timeout_from_opts."""
    try:
        return told is None or int(told) is not None
    except ValueError:
        return False


def difference(command: Command, said: list[Any]) -> str:
    """Say where our reading and docopt's part; nothing if they agree."""
    ours = "fails" if command.error else "helps" if command.helps else "runs"
    if ours == "helps" and not command.path and said[0] == "fails":
        return ""  # without a command it shows its help, and ends with 1
    if said[0] == "runs" and not _is_timeout(said[3].get("--timeout")):
        said = ["fails"]  # not docopt, but v1 itself reads it before it does anything
    if ours != said[0]:
        return f"{ours}, docopt {said[0]}: {command.error}"
    if ours != "runs":
        return ""
    _, project, handler, options = said
    if command.path[1] != handler.replace("exec_command", "exec"):
        return f"{command.path}, docopt {handler}"
    pairs = ((command.globals + command.project, project, ""), (command.flags, options, handler))
    for given, told, key in pairs:
        for docopts, name in names(key.replace("exec_command", "exec")).items():
            values = [value for flag, value in given if flag == name]
            value = told[docopts]
            as_told = (
                value if isinstance(value, list) else [value] * (value not in (None, False, 0))
            )
            as_told = ["true" if one is True else one for one in as_told]
            if values != as_told and not (not values and as_told == [PRESET.get(name)]):
                return f"{name} {values}, docopt {as_told}"
    order = ("SERVICE", "COMMAND", "PRIVATE_PORT", "ARGS", "SERVICE=NUM")
    words = []
    for key in order:
        value = options.get(key)
        words += value if isinstance(value, list) else [value] if value is not None else []
    return f"{command.operands}, docopt {words}" if list(command.operands) != words else ""


def compare(compose: Path, argvs: list[list[str]]) -> list[str]:
    usr = compose.parents[1]
    done = subprocess.run(
        [
            *("/usr/bin/python3", "-I", "-c", ORACLE),
            *(f"{usr}/lib/python3/dist-packages", f"{usr}/lib/python3.11"),
        ],
        input="".join(json.dumps(argv) + "\n" for argv in argvs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    found = []
    for argv, said in zip(argvs, answers, strict=True):
        (command,) = parse("docker-compose", argv, Clients(compose=(1, 29, 2)))
        if differs := difference(command, said):
            found.append(f"{argv}: {differs}")
    return found


def test_compose_v1_reads_as_its_own_docopt(compose_clients):
    assert compare(compose_clients["20"], draws(3, 1500)) == []


if __name__ == "__main__":
    from tests.engines import PrivateEngine

    found = compare(PrivateEngine("20").compose, draws(int([*sys.argv, "1"][2]), int(sys.argv[1])))
    sys.stdout.write("".join(f"{line}\n" for line in found) + f"{len(found)} differ\n")
