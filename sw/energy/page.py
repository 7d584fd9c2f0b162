"""The comparison as pictures, tables and a page that stands alone; all from the JSON object of `summarise`."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sw.energy import counted, scatter, technology, twin
from sw.energy.kinds import KINDS
from sw.energy.summary import SIDES, hidden_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every kind of colour vision; no colour stands for a side and for a kind.
KIND_COLOURS = ("#009E73", "#E69F00", "#F0E442", "#CC79A7", "#999999")
SIDE_COLOURS = {"scatter": "#D55E00", "engine": "#0072B2", "rtl": "#56B4E9", "twin": "#000000"}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; } caption { text-align: left; font-weight: 600; }
img { max-width: 100%; } .note { color: #555; font-size: 0.92rem; } pre { overflow-x: auto; }
"""


def draw(summary: Mapping[str, Any], name: str = "45 nm") -> "Figure":
    """Bars in the technology `name`: the whole network by kind, then each kind layer by layer; every side of it."""
    from matplotlib.figure import Figure

    sides = summary["technologies"][name]["sides"]
    layers = summary["layers"]
    width = max(11.0, 3.6 + 0.55 * len(layers) * len(sides))
    figure = Figure(figsize=(min(width, 24.0), 8), layout="constrained")
    whole, *each = figure.subplots(2, 3).flat
    labels = [SIDES[side].replace(", ", ",\n") for side in sides]
    bottom = [0.0] * len(sides)
    for kind, colour in zip(KINDS, KIND_COLOURS, strict=True):
        heights = [sum(figures["kinds"][kind]) / 1e3 for figures in sides.values()]
        whole.bar(
            labels, heights, bottom=bottom, color=colour, label=kind, edgecolor="black", lw=0.4
        )
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    for place, top in enumerate(bottom):
        whole.annotate(f"{top:,.0f}", (place, top), ha="center", va="bottom", fontsize=8)
    whole.set(title="whole network, by kind", ylabel="nJ an image")
    whole.margins(y=0.1)
    whole.tick_params(axis="x", labelsize=8)
    whole.legend(fontsize=8)
    bar = 0.8 / len(sides)
    for axes, kind in zip(each, KINDS, strict=True):
        for place, (side, figures) in enumerate(sides.items()):
            axes.bar(
                [n + (place - (len(sides) - 1) / 2) * bar for n in range(len(layers))],
                [value / 1e3 for value in figures["kinds"][kind]],
                bar,
                color=SIDE_COLOURS[side],
                label=SIDES[side],
            )
        axes.set(title=kind, xlabel="layer", ylabel="nJ an image, logarithmic")
        if any(value > 0 for figures in sides.values() for value in figures["kinds"][kind]):
            axes.set_yscale("log")
        axes.set_xticks(
            range(len(layers)), layers, rotation=90 if len(layers) > 8 else 30, fontsize=8
        )
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    handles = [each[0].containers[place] for place in range(len(sides))]
    figure.legend(
        handles, [SIDES[side] for side in sides], loc="outside lower center", ncols=len(sides)
    )
    figure.suptitle(f"Energy of an image, {name}, memory law {summary['law']}")
    return figure


def picture(figure: "Figure", kind: str) -> bytes:
    """A figure as a file of `kind` ("svg", "png", ...); the same figure, the same bytes.

    Raises ValueError for a kind that matplotlib does not know.
    """
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "stairspike"}):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def section(summary: Mapping[str, Any], verification: str) -> str:
    """Pictures, tables and formulas as a part of an HTML page.

    verification: a sentence that says what the counts were compared with.
    """
    parts = [f"<p>{html.escape(verification)}</p>"]
    for name, result in summary["technologies"].items():
        totals = {side: figures["total_pj"] / 1e3 for side, figures in result["sides"].items()}
        image = base64.b64encode(picture(draw(summary, name), "svg")).decode()
        alt = "; ".join(f"{SIDES[side]} {total:,.1f} nJ" for side, total in totals.items())
        parts += [
            f"<h3>{html.escape(name)}</h3>",
            f"<img alt='{html.escape(alt, quote=True)}' src='data:image/svg+xml;base64,{image}'>",
            (
                f"<p>Engine {totals['engine']:,.1f} nJ an image; the papers' scatter on the same spikes "
                f"{totals['scatter']:,.1f} nJ, ratio {result['ratio']:.3f}"
                f"{html.escape(hidden_words(result))}; the ReLU twin {totals['twin']:,.1f} nJ, "
                f"ratio {result['twin_ratio']:.3f}.</p>"
            ),
        ]
        for side, figures in result["sides"].items():
            parts.append(_side(f"{SIDES[side]}, {name}, nJ an image", summary["layers"], figures))
        terms = result["sides"]["engine"]["terms"]
        parts.append(_table(f"terms of the engine, {name}, nJ an image", summary["layers"], terms))
    parts += [_memories(summary), f"<pre class='note'>{html.escape(method())}</pre>"]
    return "".join(parts)


def page(title: str, note: str, summary: Mapping[str, Any], verification: str) -> str:
    """The comparison as one HTML page without outside references."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"<p class='note'>{html.escape(note)}</p>{section(summary, verification)}</body></html>\n"
    )


def method() -> str:
    """Every formula and assumption, as the modules state them."""
    modules = (counted, scatter, twin, technology)
    return "\n\n".join((module.__doc__ or "").strip() for module in modules)


def _side(caption: str, layers: Sequence[str], figures: Mapping[str, Any]) -> str:
    return _table(caption, layers, figures["kinds"])


def _table(caption: str, layers: Sequence[str], columns: Mapping[str, Sequence[float]]) -> str:
    """A row a layer and one for all, a column a kind or term and one for all; pJ shown as nJ."""
    rows = [
        (name, [values[index] for values in columns.values()]) for index, name in enumerate(layers)
    ]
    rows.append(("all", [sum(values) for values in columns.values()]))
    shown = [(name, *(f"{v / 1e3:,.1f}" for v in (*values, sum(values)))) for name, values in rows]
    return _html_table(caption, ("layer", *columns, "sum"), shown)


def _memories(summary: Mapping[str, Any]) -> str:
    rows = [
        (
            layer,
            name,
            f"{memory['depth']:,}",
            memory["width"],
            f"{memory['depth'] * memory['width']:,}",
        )
        for layer, memories in zip(summary["layers"], summary["memories"], strict=True)
        for name, memory in memories.items()
    ]
    return _html_table(
        "memories of the engine", ("layer", "memory", "words", "width", "bits"), rows
    )


def _html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(str(c))}</{tag}>' for c in cells)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{line(head, 'th')}{body}</table>"
