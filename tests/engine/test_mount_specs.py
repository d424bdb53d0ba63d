"""Every way to write a mount: what loss/mounts.py makes of it is what Docker makes of it."""

from __future__ import annotations

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
