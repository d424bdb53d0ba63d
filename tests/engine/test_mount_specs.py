"""Every way to write a mount: what loss/mounts.py makes of it is what Docker makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from safedocker.command.parse import Clients, parse
from safedocker.loss import mounts
from tests.engine.test_host_paths import VERSIONS, folder_for, tree, with_parents

NONE = ("--network", "none")

SOURCES = (
    *("{b}/m{i}", "./m{i}", "../app/m{i}", ".m{i}", "..", ".", "m{i}/n", "~/m{i}", "vol{i}"),
    *("a", "1", "", "C:\\m{i}", "c:/m{i}", "{b}//m{i}/", "{b}/here/../m{i}", " {b}/m{i}", "é{i}"),
    *("{b}/ü m{i}", "./here/./m{i}", "{b}/m{i}/n/o", "{b}/here", "./here", "//{b}/m{i}", "..m{i}"),
)
TARGETS = ("/t{i}", "t{i}", "/", "/t{i}/", "/../t{i}", "", "/t{i} ", "./t{i}")
MODES = (
    *("", ":", ":ro", ":rw,z", ":ro,rw", ":nocopy", ":private,ro", ":bogus", ":ro:z", ":cached"),
    *(
        ":RO",
        ":Z,delegated",
        ":rprivate",
        ":ro,",
        ":consistent,cached",
        ":z,Z",
        ":default",
        ":copy",
    ),
)
MOUNTS = (
    *("type=bind,src={b}/here,dst=/t{i}", "type=bind,src={b}/m{i},dst=/t{i}"),
    *("type=bind,src=./here,dst=/t{i}", "type=bind,src=../app/here,dst=/t{i},readonly"),
    *(
        "TYPE=BIND,SOURCE={b}/here,DESTINATION=/t{i}",
        "src={b}/m{i},dst=/t{i}",
        "src=v{i},dst=/t{i}",
    ),
    *("type=bind,src={b}/here", "type=bind,dst=/t{i}", "type=tmpfs,dst=/t{i}", "dst=t{i}", "bogus"),
    *("type=tmpfs,src=x,dst=/t{i}", "type=bind,src=here,dst=/t{i}", "type=bogus,dst=/t{i}"),
    *('"type=bind","src={b}/a,b",dst=/t{i}', 'type=bind,src="{b}/here",dst=/t{i}'),
    *("type=bind, src={b}/here,dst=/t{i}", "type=volume,dst=/t{i},bind-propagation=rprivate"),
    *("type=bind,src={b}/m{i},dst=/t{i},bind-create-src", "type=volume,dst=/t{i},volume-nocopy"),
    *("type=bind,src={b}/here,dst=/t{i},volume-nocopy", "type=bind,src={b}/here,dst=/"),
)
SPECS = tuple(
    dict.fromkeys(
        (
            *(("-v", f"{source}:/t{{i}}") for source in SOURCES),
            *(("-v", f"{source}:/t{{i}}:ro") for source in SOURCES),
            *(("-v", f"{{b}}/m{{i}}:{target}") for target in TARGETS),
            *(("-v", f"{{b}}/m{{i}}:/t{{i}}{mode}") for mode in MODES),
            *(("-v", f"vol{{i}}:/t{{i}}{mode}") for mode in MODES[:6]),
            *(("-v", spec) for spec in ("/t{i}", "./t{i}", "{b}/m{i}:ro", ":", "::", "x")),
            *(("--mount", spec) for spec in MOUNTS),
        )
    )
)


@pytest.mark.parametrize("version", VERSIONS)
def test_v3_every_spec_is_read_as_docker_reads_it(version, start_engine, tmp_path):
    """Each spec is accepted or refused as foretold; started, they make the paths foretold."""
    engine = start_engine(version)
    app = folder_for(tmp_path)
    accepted: list[str] = []
    foretold: set[str] = set()
    wrong = []
    with engine.swept():
        for number, (flag, spec) in enumerate(SPECS):
            words = [flag, spec.format(b=app, i=number)]
            command = parse("docker", ["run", *words, "busybox"], Clients(docker=VERSIONS[version]))
            told = mounts.read(command[0], VERSIONS[version], str(app))
            fails = bool(told.refused) or any(not Path(one.source).exists() for one in told.needs)
            create = ("docker", "create", *NONE, *words, "busybox", "true")
            done = engine.run(*create, cwd=app, check=False)
            if fails == (done.returncode == 0):
                wrong.append((words, told.refused, done.stderr))
            elif not fails:
                accepted += words
                foretold |= {bind.source for bind in told.makes if not Path(bind.source).exists()}
        assert wrong == []
        before = tree(tmp_path)
        engine.run("docker", "run", "--rm", *NONE, *accepted, "busybox", "true", cwd=app)
        assert tree(tmp_path) - before == with_parents(foretold, before, tmp_path)
    assert len(foretold) > 20
    assert len(SPECS) >= 100


# Compose files

COMPOSE_SOURCES = (
    *("./m{i}", "../app/m{i}", "{b}/m{i}", "~/m{i}", "${{SUB}}/m{i}", "./a b/m{i}", "./m{i}/n/o"),
    *("./here/../m{i}", "{b}//m{i}/", "./.m{i}", "./é{i}", "./link/m{i}", "${{NONE:-./dflt}}/m{i}"),
    *("./here", ".", "{b}/here", "named"),
)
COMPOSE_MODES = ("", ":ro", ":rw", ":ro,z", ":rprivate")
COMPOSE_LONG = (
    "{{type: bind, source: ./here, target: /t{i}}}",
    "{{type: bind, source: ./here, target: /t{i}, read_only: true}}",
    "{{type: volume, source: named, target: /t{i}}}",
    "{{type: volume, target: /t{i}}}",
    "{{type: tmpfs, target: /t{i}}}",
)
COMPOSE_LONG_OF_V2 = (
    "{{type: bind, source: ./m{i}, target: /t{i}, bind: {{create_host_path: true}}}}",
    "{{type: bind, source: '{b}/m{i}', target: /t{i}, bind: {{create_host_path: true}}}}",
)
EACH = 15  # mounts of a service


def test_v4_every_spec_of_a_compose_file_is_read_as_compose_reads_it(shell, tmp_path):
    """One file with all of them: what is foretold before `up` is what `up` then makes."""
    app = folder_for(tmp_path)
    (app / "link").symlink_to("here")
    short = [
        f"{source}:/t{{i}}{mode}"
        for source in COMPOSE_SOURCES
        for mode in COMPOSE_MODES
        if (source, mode) != ("named", ":rprivate")  # v1 can't make that
    ]
    long = COMPOSE_LONG if shell.engine.version == "20" else COMPOSE_LONG + COMPOSE_LONG_OF_V2
    specs = [json.dumps(one, ensure_ascii=False) for one in short] + list(long) + ['"/anon{i}"']
    specs = [one.format(b=app, i=number) for number, one in enumerate(specs)]
    lines = ["version: '2.4'", "services:"]
    for number in range(0, len(specs), EACH):
        mounts = ", ".join(specs[number : number + EACH])
        about = "image: busybox, network_mode: none, command: 'true'"
        lines.append(f"  s{number}: {{{about}, volumes: [{mounts}]}}")
    (app / "docker-compose.yml").write_text("\n".join([*lines, "volumes: {named: {}}", ""]))
    before = tree(app)
    try:
        up = f"SUB=./sub {shell.compose} up -d"
        told = shell.run(f"SUB=./sub safedocker explain --json -- {shell.compose} up -d", cwd=app)
        plan = json.loads(told.stdout)["plan"]
        assert plan["gaps"] == []
        foretold = {one["name"] for one in plan["losses"] if one["kind"] == "bind source"}
        assert tree(app) == before, "looking changed something"
        shell.out(up, cwd=app)
        at_home = {one for one in foretold if one.startswith(str(shell.home))}
        assert all(Path(one).is_dir() for one in at_home)
        real = {os.path.realpath(one) for one in foretold - at_home}
        assert tree(app) - before == with_parents(real, before, app)
        assert len(foretold) >= len(specs) // 2
        assert len(at_home) == len(COMPOSE_MODES)
    finally:
        shell.run(f"{shell.compose} down -v", real=True, cwd=app)
