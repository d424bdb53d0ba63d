"""safedocker export, import: volumes to and from the archives that everybody makes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from safedocker.cli.volumes import at_rest, full_name, on_engine, opened, rest_of
from safedocker.edge import terminal, wording_volumes
from safedocker.errors import SafedockerError

_ENDINGS = (".tar.gz", ".tar.zst", ".tar")


@click.command(short_help="Write a volume into a plain .tar.gz.")
@click.argument("volume", metavar="VOLUME")
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option(
    "--format",
    "ending",
    type=click.Choice(_ENDINGS),
    help="How it is packed, where the name does not tell.",
)
@at_rest
@on_engine
def export(
    volume: str,
    file: str | None,
    ending: str | None,
    pause: bool,
    stop: bool,
    refuse: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Write a volume into an archive: VOLUME.tar.gz here, FILE, or - for standard output.

    It is what `docker run --rm -v VOLUME:/data -v $PWD:/backup busybox tar czf /backup/FILE -C
    /data .` writes, and any tar unpacks it. It is read back and compared. FILE may end in .tar.gz,
    .tar.zst or .tar.
    """
    from safedocker.backup import clone, exchange, plain

    rest = rest_of(pause, stop, refuse)
    with opened("export", host, context) as room:
        volumes, _containers = room.engine.snapshot()
        found = clone.find(full_name(volume, volumes), room.engine)
        to = file or f"{found.name}{ending or plain.Packing.GZIP.value}"
        packing = plain.Packing(ending) if ending else plain.packing_of(to)
        if to == "-":
            packing = packing or plain.Packing.GZIP
            if sys.stdout.isatty():
                raise click.UsageError("an archive is nothing to read: name a file, or give a pipe")
        if packing is None:
            raise click.UsageError(f"{to} does not end in .tar.gz, .tar.zst or .tar: --format")
        path = None if to == "-" else Path(to)
        if path is not None and path.exists():
            raise exchange.exists(path)

        def sink(pieces: Iterable[bytes]) -> None:
            if path is not None:
                exchange.write_file(path, pieces)
                return
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()

        done = exchange.export(
            found, sink, path, packing, rest, room.engine, room.store, room.claim, room.progress
        )
    screen = terminal.Terminal()
    for line in wording_volumes.exported(done, "standard output" if path is None else to):
        if path is None:
            screen.note(line.strip())
        else:
            terminal.say(line)


@click.command("import", short_help="Fill a volume from a plain .tar.gz.")
@click.argument("file", metavar="FILE|-")
@click.argument("volume", metavar="VOLUME")
@click.option(
    "--strip",
    type=click.IntRange(0),
    metavar="N",
    help="Take N leading folders off the names: 1 where all lies in data/, and that is the volume.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace what the volume holds, after a backup of that."
)
@on_engine
def import_(
    file: str,
    volume: str,
    strip: int | None,
    overwrite: bool,
    host: str | None,
    context: str | None,
) -> None:
    """Fill a volume from an archive: .tar.gz, .tar.zst or .tar, or - for standard input.

    The volume is made when it is not there. The archive is read to its end first, and nothing is
    changed when it is cut short, or would write elsewhere than into the volume. Owners and modes
    are kept as numbers. Everything is compared after it was written.
    """
    from safedocker.backup import exchange

    source: Iterator[bytes] | Path
    if file == "-":
        if sys.stdin.isatty():
            raise click.UsageError("standard input is a terminal: name a file, or give a pipe")
        source = iter(lambda: sys.stdin.buffer.read(1 << 20), b"")
    else:
        path = Path(file)
        if not path.exists():
            raise SafedockerError(f"there is no file {file}: nothing was changed", "name another")
        source = path if path.is_file() else exchange.pieces_of(path)
    with opened("import", host, context) as room:
        done = exchange.bring_in(
            source,
            file,
            volume,
            room.engine,
            room.store,
            room.occasion(None),
            room.claim,
            room.progress,
            strip=strip,
            overwrite=overwrite,
        )
    for line in wording_volumes.imported(done, file):
        terminal.say(line)
