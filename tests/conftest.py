"""Own engines, own home, nothing of the person's: what every test stands on."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.debian import RELEASES, Unavailable, cache
from tests.engines import PrivateEngine

ENGINE_FIXTURES = {
    *("start_engine", "engine", "engine20", "engine26", "engine28", "fresh"),
    *("docker_clients", "compose_clients"),
}

# What plays hundreds of states: `make corpus`, beside what is marked so where it stands.
LONG_PLAYS = {"test_prediction_compose", "test_suggestions"}

# Nothing is there: whoever forgets to address a private engine gets an error, not an engine.
NOWHERE = "unix:///nonexistent/safedocker-tests/docker.sock"

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("here", deadline=None)  # how long one draw takes is the machine's affair
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for an engine, so that nobody has to remember to; and by folder
    those that start other programs, which the quick run leaves out too."""
    for item in items:
        folder = item.path.parent.name
        if folder == "engine" or ENGINE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.engine)
        if folder in {"shim", "cli"}:
            item.add_marker(pytest.mark.process)
        if item.path.stem in LONG_PLAYS:
            item.add_marker(pytest.mark.played)


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_persons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point this process, and what it starts, away from the person's home, settings and engine."""
    home = tmp_path_factory.mktemp("nobody")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTS_SAFEDOCKER_CACHE", str(cache()))  # found before HOME goes
        for name in list(os.environ):
            if name.startswith(("DOCKER_", "COMPOSE_", "XDG_", "SAFEDOCKER_")):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("DOCKER_HOST", NOWHERE)
        patch.setenv("DOCKER_CONFIG", str(home / ".docker"))
        yield
        assert os.environ["DOCKER_HOST"] == NOWHERE, "a test let DOCKER_HOST out"


def missing(version: str, reason: Unavailable) -> None:
    """Fail where every engine must be there; skip on a laptop, and for the suite that moves."""
    if os.environ.get("CI") == "true" and not RELEASES[version].moves:
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def start_engine() -> Iterator[Callable[[str], PrivateEngine]]:
    """Each version's engine of this session, started when it is first asked for."""
    with contextlib.ExitStack() as stack:
        started: dict[str, PrivateEngine | Unavailable] = {}

        def start(version: str) -> PrivateEngine:
            if version not in started:
                try:
                    engine = stack.enter_context(PrivateEngine(version))
                    engine.image("busybox:latest")
                    engine.image("busybox-volume:latest")
                    started[version] = engine
                except Unavailable as reason:
                    started[version] = reason
            found = started[version]
            if isinstance(found, Unavailable):
                missing(version, found)
            assert isinstance(found, PrivateEngine)
            return found

        yield start


@pytest.fixture(scope="session")
def engine20(start_engine: Callable[[str], PrivateEngine]) -> PrivateEngine:
    """Engine and client 20.10, Compose v1."""
    return start_engine("20")


@pytest.fixture(scope="session")
def engine26(start_engine: Callable[[str], PrivateEngine]) -> PrivateEngine:
    """Engine and client 26.1, Compose v2."""
    return start_engine("26")


@pytest.fixture(scope="session")
def engine28(start_engine: Callable[[str], PrivateEngine]) -> PrivateEngine:
    """The engine of the suite that moves: 28 or later, Compose v2."""
    return start_engine("28")


@pytest.fixture(scope="session", params=["20", "26"], ids=[RELEASES[v].label for v in ("20", "26")])
def engine(
    request: pytest.FixtureRequest, start_engine: Callable[[str], PrivateEngine]
) -> PrivateEngine:
    """Every test that takes it runs on both: 20.10 with Compose v1, 26.1 with Compose v2."""
    return start_engine(request.param)


@pytest.fixture
def fresh(engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """`engine`, and what the test leaves in it is removed. For one version: `engine26.swept()`."""
    with engine.swept():
        yield engine


@pytest.fixture(scope="session")
def docker_clients() -> dict[str, Path]:
    """The real `docker` of each version that is unpacked, by short version; no engine needed."""
    return unpacked({version: PrivateEngine(version).docker for version in RELEASES})


@pytest.fixture(scope="session")
def compose_clients() -> dict[str, Path]:
    """The standalone Compose of each version that is unpacked: v1 for 20, v2 for the others."""
    return unpacked({version: PrivateEngine(version).compose for version in RELEASES})


def unpacked(programs: dict[str, Path]) -> dict[str, Path]:
    for version, path in programs.items():
        if not path.exists() and not RELEASES[version].moves:
            missing(
                version, Unavailable(f"{path.name} {version}: python3 tests/engines.py install")
            )
    return {version: path for version, path in programs.items() if path.exists()}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A person's home folder with its XDG folders; `engine.environ(home)` lives in it."""
    folder = tmp_path / "home"
    for part in (".cache", ".config", ".local/share", ".local/state"):
        (folder / part).mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # backups are big, and pytest keeps three sessions
