"""Pictures of the build page, as SVG that takes its colours from the page: a floor of rooms, and bars."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 960.0
LETTER, LINE = 6.6, 14.0  # room that a letter and a line of text take


@dataclass(frozen=True)
class Room:
    """A rectangle of a floor.

    Members
        group, name: rooms of one group lie together; size: its area, in any unit
        heat: 0 to 1, how strongly it is coloured; lines: what is written into it, as far as it fits; title: all of it
    """

    group: str
    name: str
    size: float
    heat: float
    lines: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def floor(rooms: Sequence[Room], height: float, caption: str) -> str:
    """Rooms as rectangles in proportion to their size, those of a group inside a frame; empty rooms are left out."""
    rooms = [room for room in rooms if room.size > 0]
    groups: dict[str, list[Room]] = {}
    for room in rooms:
        groups.setdefault(room.group, []).append(room)
    sizes = [sum(room.size for room in inner) for inner in groups.values()]
    parts = []
    for inner, frame in zip(
        groups.values(), _squarify(sizes, _Box(0, 0, WIDTH, height)), strict=True
    ):
        for room, box in zip(inner, _squarify([room.size for room in inner], frame), strict=True):
            parts.append(_draw(room, box))
        parts.append(f"<rect class='frame' {_place(frame)}/>")
    return _svg("".join(parts), height, caption)


def bars(rows: Sequence[tuple[str, float, float, str]], caption: str) -> str:
    """A row each: name, length, length of the part that is filled, and what is written beside it."""
    longest = max((length for _, length, _, _ in rows), default=0) or 1
    step, left, room = 26.0, 150.0, WIDTH - 150.0 - 170.0
    parts = []
    for number, (name, length, filled, note) in enumerate(rows):
        y, whole, part = number * step + 4, length / longest * room, filled / longest * room
        parts.append(
            f"<text x='0' y='{y + 13:g}'>{html.escape(name)}</text>"
            f"<rect class='bar' x='{left:g}' y='{y:g}' width='{whole:.1f}' height='18'/>"
            f"<rect class='part' x='{left:g}' y='{y + 4:g}' width='{part:.1f}' height='10'/>"
            f"<text x='{left + whole + 6:.1f}' y='{y + 13:g}'>{html.escape(note)}</text>"
        )
    return _svg("".join(parts), len(rows) * step + 4, caption)


def _svg(content: str, height: float, caption: str) -> str:
    return (
        f"<figure><svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH:g} {height:g}' role='img'>"
        f"{content}</svg><figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _place(box: _Box) -> str:
    return f"x='{box.x:.1f}' y='{box.y:.1f}' width='{box.width:.1f}' height='{box.height:.1f}'"


def _draw(room: Room, box: _Box) -> str:
    text = ""
    lines = [room.name, *room.lines]
    while lines and (len(lines) + 0.4) * LINE > box.height:
        lines.pop()
    if lines and len(lines[0]) * LETTER + 6 <= box.width:
        for number, line in enumerate(lines):
            if len(line) * LETTER + 6 <= box.width:
                y = box.y + (number + 1) * LINE
                text += f"<text x='{box.x + 5:.1f}' y='{y:.1f}'>{html.escape(line)}</text>"
    heat = f"style='fill-opacity:{0.05 + 0.85 * room.heat:.2f}'"
    title = f"<title>{html.escape(room.title)}</title>"
    return f"<g><rect class='room' {heat} {_place(box)}>{title}</rect>{text}</g>"


def _squarify(sizes: Sequence[float], box: _Box) -> list[_Box]:
    """Boxes of these sizes that fill `box`, none narrower than it must be (Bruls, Huizing, van Wijk, 2000)."""
    total = sum(sizes)
    if not total:
        return []
    order = sorted(range(len(sizes)), key=lambda n: -sizes[n])
    scale = box.width * box.height / total
    placed: dict[int, _Box] = {}
    while order:
        side = min(box.width, box.height)
        count = 1
        while count < len(order) and _worst(order[: count + 1], sizes, scale, side) <= _worst(
            order[:count], sizes, scale, side
        ):
            count += 1
        row, order = order[:count], order[count:]
        thick = sum(sizes[n] for n in row) * scale / side if side else 0.0
        at = 0.0
        for n in row:
            long = sizes[n] * scale / thick if thick else 0.0
            if box.width >= box.height:
                placed[n] = _Box(box.x, box.y + at, thick, long)
            else:
                placed[n] = _Box(box.x + at, box.y, long, thick)
            at += long
        if box.width >= box.height:
            box = _Box(box.x + thick, box.y, box.width - thick, box.height)
        else:
            box = _Box(box.x, box.y + thick, box.width, box.height - thick)
    return [placed[n] for n in range(len(sizes))]


def _worst(row: Sequence[int], sizes: Sequence[float], scale: float, side: float) -> float:
    """The largest ratio of sides in a row of rooms along a side of that length."""
    areas = [sizes[n] * scale for n in row]
    thick = sum(areas) / side
    return max(max(thick * thick / area, area / (thick * thick)) if area else 1e9 for area in areas)
