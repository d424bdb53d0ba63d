"""The page of `safedocker storage --html`: one file without scripts, and nothing from elsewhere.

Every name goes through html.escape: labels and paths can hold anything.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from safedocker.edge import wording_places
from safedocker.edge.treemap import Box, squarify
from safedocker.edge.wording import clean, count
from safedocker.loss.facts import Bytes
from safedocker.loss.places import Sort

if TYPE_CHECKING:
    from safedocker.loss.storage import Amount, Reclaimable, Spot, Storage

WIDTH = 1160
MAP_HEIGHT = 420
HEAD = 22  # a project's name above what it holds
LETTER = 6.6  # the width of one, in the pictures
BOXES = 40  # a project's places in the treemap; what is smaller is one box
DRAWN = 60  # containers in the diagram
ROW = 46
LEFT, RIGHT = 340, 620  # where containers end, and places begin
_COLOURS = {
    Sort.NAMED: "named",
    Sort.ANONYMOUS: "anonymous",
    Sort.BIND: "bind",
    Sort.TMPFS: "tmpfs",
    Sort.LAYER: "layer",
    Sort.OTHER: "tmpfs",
}
_STYLE = """
:root { --ink: #1d2430; --dim: #5f6b7a; --paper: #fff; --line: #d5dbe3; --frame: #eef1f5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --dim: #9aa5b3; --paper: #161b22; --line: #39424e; --frame: #222a34; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1160px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, .dim { color: var(--dim); margin: .2rem 0 .6rem; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .small { font-size: 11px; fill: var(--dim); } svg .on { fill: #fff; }
.frame { fill: var(--frame); stroke: var(--line); } .edge { fill: none; stroke: var(--dim); }
.named { fill: #2f6db3; } .anonymous { fill: #c2571a; } .bind { fill: #3d7f45; }
.layer { fill: #7d5ba6; } .tmpfs { fill: #6b7480; }
.unused { stroke: var(--ink); stroke-width: 3; stroke-dasharray: 6 4; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td:nth-child(3), td:nth-child(5) { overflow-wrap: anywhere; }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
.goes { color: #c2571a; } li { margin: .2rem 0; }
.named-k { background: #2f6db3; } .anonymous-k { background: #c2571a; }
.bind-k { background: #3d7f45; } .layer-k { background: #7d5ba6; } .tmpfs-k { background: #6b7480; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(
    storage: Storage,
    amounts: Mapping[Sort, Amount],
    freeable: Sequence[Reclaimable],
    now: datetime.datetime,
) -> str:
    """The page: totals, a treemap of sizes, containers and their mounts, a table of everything."""
    return "\n".join(_page(storage, amounts, freeable, now))


def _page(
    storage: Storage,
    amounts: Mapping[Sort, Amount],
    freeable: Sequence[Reclaimable],
    now: datetime.datetime,
) -> Iterator[str]:
    engine = storage.engine
    what = storage.asked or engine.name or engine.host
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Where data lies: {_text(what)}</title>"
    yield f"<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>Where data lies: {_text(what)}</h1>"
    yield f"<p>engine {_text(engine.name)} {_text(engine.version)}, {now:%Y-%m-%d %H:%M} UTC</p>"
    for gap in storage.gaps:
        yield f"<p>not known: {_text(gap)}</p>"
    yield "<h2>In all, each counted once</h2>\n<table>"
    for label, told in wording_places.totals(amounts, storage):
        yield f"<tr><th>{_text(label)}</th><td>{_text(told)}</td></tr>"
    yield "</table>"
    yield from _treemap(storage)
    yield from _diagram(storage)
    if freeable:
        yield "<h2>What could be freed, and what that would cost</h2>\n<ul>"
        for one in freeable:
            first, *costs = wording_places.freed(one)
            listed = "".join(f"<br>{_text(cost.strip())}" for cost in costs)
            yield f"<li>{_text(first)}<span class=dim>{listed}</span></li>"
        yield "</ul>"
    yield from _table(storage, now)
    yield "</body>\n</html>\n"


def _text(told: str) -> str:
    return escape(clean(told))


def _fitting(told: str, width: float) -> str:
    """As much of a text as has room."""
    letters = int(width / LETTER)
    told = clean(told)
    return escape(
        told if len(told) <= letters else f"{told[: letters - 1]}…" if letters > 3 else ""
    )


# the treemap


def _weight(spot: Spot) -> int:
    return spot.look.at_least if spot.look.size is None else spot.look.size


def _unique(spots: Sequence[Spot]) -> list[Spot]:
    return list({spot.key: spot for spot in spots}.values())


def _treemap(storage: Storage) -> Iterator[str]:
    shown: dict[str | None, list[Spot]] = {}
    inside = (Sort.NAMED, Sort.ANONYMOUS, Sort.LAYER)
    left = 0
    for project, spots in storage.projects.items():
        own = [spot for spot in _unique(spots) if spot.place.sort in inside]
        left += sum(spot.look.size is None and not _weight(spot) for spot in own)
        held = sorted((spot for spot in own if _weight(spot)), key=_weight, reverse=True)
        if held:
            shown[project] = held
    yield "<h2>Sizes by project</h2>"
    keys = "".join(f'<span class="key {_COLOURS[sort]}-k"></span>{sort.value}s' for sort in inside)
    yield f"<p>{keys}<span class=dim> · dashed: no container has it</span></p>"
    if not shown:
        yield "<p>nothing of a known size</p>"
        return
    yield f'<svg viewBox="0 0 {WIDTH} {MAP_HEIGHT}" role="img" aria-label="sizes by project">'
    projects = list(shown.items())
    weights = [sum(map(_weight, spots)) for _project, spots in projects]
    boxes = squarify(weights, Box(0, 0, WIDTH, MAP_HEIGHT))
    for (project, spots), box in zip(projects, boxes, strict=True):
        yield from _project(project, spots, box)
    yield "</svg>"
    if left:
        yield f"<p>not in the picture: {count(left, 'place')} of unknown size</p>"


def _project(project: str | None, spots: Sequence[Spot], box: Box) -> Iterator[str]:
    yield _rectangle(box, "frame")
    name = f"{project or wording_places.NO_PROJECT}, {Bytes(sum(map(_weight, spots)))}"
    if box.height > HEAD * 2:
        shown = _fitting(name, box.width - 10)
        yield f'<text x="{box.x + 6:.1f}" y="{box.y + 15:.1f}">{shown}</text>'
        box = Box(box.x + 3, box.y + HEAD, box.width - 6, box.height - HEAD - 3)
    first, rest = spots[:BOXES], spots[BOXES:]
    weights = [_weight(spot) for spot in first]
    more = sum(map(_weight, rest))
    places = squarify([*weights, more], box)
    for spot, place in zip(first, places, strict=False):
        unused = " unused" if spot.container is None else ""
        size = wording_places.size(spot.look)
        title = f"{_name(spot)}: {size}, {wording_places.content(spot)}"
        yield f"<g><title>{_text(title)}</title>"
        yield _rectangle(_shrunk(place), f"{_COLOURS[spot.place.sort]}{unused}")
        for line, told in enumerate((_name(spot), wording_places.content(spot), size)):
            if place.height > 20 + 15 * line and place.width > 40:
                x, y = place.x + 7, place.y + 17 + 15 * line
                shown = _fitting(told, place.width - 12)
                yield f'<text class="on" x="{x:.1f}" y="{y:.1f}">{shown}</text>'
        yield "</g>"
    if rest:
        title = f"{count(len(rest), 'smaller place')}, {Bytes(more)}"
        yield f"<g><title>{title}</title>{_rectangle(_shrunk(places[-1]), 'tmpfs')}</g>"


def _name(spot: Spot) -> str:
    if spot.container and spot.place.sort is Sort.LAYER:
        return f"layer of {spot.container.name}"
    return wording_places.place_name(spot)


def _shrunk(box: Box) -> Box:
    return Box(box.x + 1, box.y + 1, max(0.0, box.width - 2), max(0.0, box.height - 2))


def _rectangle(box: Box, style: str) -> str:
    return (
        f'<rect class="{style}" rx="3" x="{box.x:.1f}" y="{box.y:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}"/>'
    )


# containers and their mounts


def _diagram(storage: Storage) -> Iterator[str]:
    containers: dict[str, list[Spot]] = {}
    for spot in storage.spots:
        if spot.container is not None:
            containers.setdefault(spot.container.id, []).append(spot)
    if not containers:
        return
    order = sorted(containers.values(), key=lambda own: _order(own[0]))
    drawn = order[:DRAWN]
    yield "<h2>Containers and where they write</h2>"
    places: dict[tuple[Sort, str], tuple[float, Spot]] = {}
    lines: list[str] = []
    boxes: list[str] = []
    top = 0.0
    for own in drawn:
        mounts = [spot for spot in own if spot.place.sort is not Sort.LAYER]
        new = list({spot.key: spot for spot in mounts if spot.key not in places}.values())
        for number, spot in enumerate(new):
            places[spot.key] = (top + number * ROW, spot)
        height = max(1, len(new)) * ROW
        boxes.extend(_container(own, top))
        for spot in mounts:
            y, _first = places[spot.key]
            lines.append(_line(top + ROW / 2 - 4, y + ROW / 2 - 4, spot))
        top += height
    for y, spot in places.values():
        boxes.extend(_mounted(spot, y))
    yield f'<svg viewBox="0 0 {WIDTH} {top:.0f}" role="img" aria-label="containers and mounts">'
    yield from lines
    yield from boxes
    yield "</svg>"
    if len(order) > len(drawn):
        yield f"<p>{count(len(order) - len(drawn), 'more container')} in the table below</p>"


def _order(spot: Spot) -> tuple[bool, str, str]:
    name = spot.container.name if spot.container else ""
    return spot.project is None, spot.project or "", name


def _container(own: Sequence[Spot], top: float) -> Iterator[str]:
    container = own[0].container
    if container is None:
        return
    layer = next((spot for spot in own if spot.place.sort is Sort.LAYER), None)
    wrote = f"own files: {wording_places.size(layer.look)}" if layer else ""
    yield _rectangle(Box(1, top + 2, LEFT, ROW - 10), "frame")
    name = f"{container.name} ({container.image})"
    yield f'<text x="10" y="{top + 17:.0f}">{_fitting(name, LEFT - 16)}</text>'
    told = f"{container.project or wording_places.NO_PROJECT} · {container.state} · {wrote}"
    yield f'<text class="small" x="10" y="{top + 31:.0f}">{_fitting(told, LEFT)}</text>'


def _line(start: float, end: float, spot: Spot) -> str:
    middle = (LEFT + RIGHT) / 2
    dashed = ' stroke-dasharray="4 3"' if spot.place.read_only else ""
    title = f"<title>{_text(spot.place.target)}</title>"
    return (
        f'<path class="edge"{dashed} d="M {LEFT} {start:.0f} C {middle:.0f} {start:.0f}, '
        f'{middle:.0f} {end:.0f}, {RIGHT} {end:.0f}">{title}</path>'
    )


def _mounted(spot: Spot, y: float) -> Iterator[str]:
    place = spot.place
    width = WIDTH - RIGHT - 2
    yield _rectangle(Box(RIGHT, y + 2, width, ROW - 10), _COLOURS[place.sort])
    what = f"{place.sort.value} {wording_places.place_name(spot) if place.source else ''}"
    yield f'<text class="on" x="{RIGHT + 9}" y="{y + 17:.0f}">{_fitting(what, width - 16)}</text>'
    told = f"at {place.target} · {wording_places.content(spot)}"
    if place.sort is not Sort.TMPFS:
        told += f" · {wording_places.size(spot.look)}"
    yield f'<text class="on" x="{RIGHT + 9}" y="{y + 31:.0f}">{_fitting(told, width - 10)}</text>'


# the table


def _table(storage: Storage, now: datetime.datetime) -> Iterator[str]:
    yield "<h2>Every place</h2>\n<table>"
    fates = wording_places.fate_titles(storage.spots)[1:]
    titles = ("project", "container", *(one.lower() for one in wording_places.TITLES))
    heads = "".join(f"<th>{_text(title)}</th>" for title in (*titles, "goes with"))
    yield f"<tr>{heads}</tr>"
    for spot in sorted(storage.spots, key=_order):
        told = wording_places.fate_row(spot, ("", *fates))[1:]
        goes = [name for name, fate in zip(fates, told, strict=True) if fate == "goes"]
        container = spot.container.name if spot.container else "-"
        cells = (spot.project or "-", container, *wording_places.row(spot, now))
        row = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        yield f'<tr>{row}<td class="goes">{_text(", ".join(goes) or "-")}</td></tr>'
    yield "</table>"
