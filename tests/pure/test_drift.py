"""What a help text tells, and what of it is news to our tables."""

import pytest

from safedocker.command import drift
from safedocker.command.parse import Clients

D28, C240, V1 = (
    Clients(docker=(28, 5, 2)),
    Clients(compose=(2, 40, 3)),
    Clients(compose=(1, 29, 2)),
)

VOLUME_RM = """
Usage:  docker volume rm [OPTIONS] VOLUME [VOLUME...]

Remove one or more volumes. You cannot remove a volume that is in use.

Aliases:
  docker volume rm, docker volume remove

Examples:

  docker volume rm -x hello

Options:
  -f, --force   Force the removal of one or more volumes,
                --hard as they may be
"""

DOCKER = """
Usage:  docker [OPTIONS] COMMAND

Common Commands:
  run         Create and run a new container from an image

Management Commands:
  buildx*     Docker Buildx
  compose*    Docker Compose
  hello*      Somebody's
  volume      Manage volumes

Global Options:
      --config string      Location of client config files (default "/root/.docker")
  -H, --host list          Daemon socket to connect to
  -D, --debug              Enable debug mode

Run 'docker COMMAND --help' for more information on a command.
"""

DOWN_OF_V1 = """
Stops containers and removes containers, networks, volumes, and images.

Usage: down [options]

Options:
    --rmi type              Remove images. Type must be one of:
                              'all': Remove all images used by any service.
    -v, --volumes           Remove named volumes
    -t, --timeout TIMEOUT   Specify a shutdown timeout in seconds.
    -e, --env KEY=VAL Something with one blank before it
"""


def test_a_help_of_docker_is_read():
    told = drift.read_help(DOCKER)
    assert told.commands == ("run", "volume")
    assert told.plugins == ("buildx", "compose", "hello")
    assert told.options == (
        drift.Option("config", "", True),
        drift.Option("host", "H", True),
        drift.Option("debug", "D", False),
    )
    below = [place.words for place in drift.below("docker", (), DOCKER, D28)]
    assert below == [("run",), ("volume",)]
    assert drift.drift("docker", (), DOCKER, D28) == ()


def test_a_help_of_a_command_is_read():
    told = drift.read_help(VOLUME_RM)
    assert told.options == (drift.Option("force", "f", False),)
    assert told.aliases == (("volume", "rm"), ("volume", "remove"))
    assert drift.drift("docker", ("volume", "rm"), VOLUME_RM, D28) == ()


def test_a_help_of_compose_v1_is_read():
    told = drift.read_help(DOWN_OF_V1)
    assert [option.takes_value for option in told.options] == [True, False, True, True]
    assert [one.what for one in drift.drift("docker-compose", ("down",), DOWN_OF_V1, V1)] == [
        "option --env is not known here"
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("--force  ", "--forced  ", "option --forced is not known here"),
        ("-f, --force", "-F, --force", "option -F is not known here"),
        ("--force  ", "--force string  ", "option --force takes a value, and is read as a switch"),
        ("volume remove", "volume delete", "its other name volume delete is not known here"),
        ("volume remove", "container rm", "its other name container rm is not known here"),
    ],
)
def test_what_is_new_in_a_command_is_named(old, new, what):
    (found,) = drift.drift("docker", ("volume", "rm"), VOLUME_RM.replace(old, new, 1), D28)
    assert found.command == "docker volume rm"
    assert found.what.startswith(what)


def test_what_is_new_in_docker_is_named():
    text = DOCKER.replace("--debug  ", "--debug int ").replace("  run  ", "  ruin ")
    assert [one.what for one in drift.drift("docker", (), text, D28)] == [
        "command ruin is not known here",
        "option --debug takes a value, and is read as a switch here",
    ]
    text = DOCKER.replace("--host list", "--host     ")
    assert [one.what for one in drift.drift("docker", (), text, D28)] == [
        "option --host is a switch, and is read as taking a value here"
    ]


def test_an_option_of_another_version_only_is_news():
    text = "Options:\n  -y, --yes   Assume yes\n"
    assert drift.drift("docker-compose", ("up",), text, C240) == ()
    assert drift.drift("docker-compose", ("up",), text, Clients(compose=(2, 26, 1)))
    assert drift.drift("docker-compose", ("up",), text, Clients(compose=(2, 30, 0))) == ()


def test_a_text_that_is_no_help_is_no_news():
    for text in ("", "docker: command not found\n", "\x00", "Options:\n  -\n  --\n  --=\n"):
        assert drift.drift("docker", ("volume", "rm"), text, D28) == ()
