"""Activity of trained networks: events per neuron, density and levels of every layer, on test images.

    python -m sw.analysis.activity runs/mnist-multilevel-seed0.pt --output runs/analysis

An event is a spike that is not silent, whatever its level.  With E events of a layer over all T timesteps and the mean
over the images, and n its neurons (paper 1, eq. 11; the whole network's sums in place of a layer's: eq. 12)::

    activity = E / n          density = E / (n T)

A layer that pools is counted after its pooling, since that is what travels, as in sw.training.trainer.evaluate;
"neurons_before_pooling" and "events_before_pooling" are there to compare with a count of all that fired.  Sums of
spikes that no neuron follows (spike-element-wise) travel, too: they are layers here, and in "total_with_sums" only.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from sw.analysis import common
from sw.datasets.common import Split
from sw.models.spiking import SpikingNetwork
from sw.models.trainable import Trainable

FINEST = 1024  # every level is a multiple of 1/1024, also that of a normalised lane


@torch.no_grad()
def measure(
    network: Trainable, split: Split, images: int | None = None, batch: int = 100
) -> dict[str, Any]:
    """Accuracy in per cent, and activity in total and of every layer with neurons.

    Returns {"images", "timesteps", "accuracy", "total", "total_with_sums", "layers"}.  Totals and layers have
    "neurons", "events" and "level_sum" per image, "activity" and "density"; a layer has "index", "name", whether it
    "fires" or is a sum, the two counts before pooling, and "levels": level -> share of its neurons and timesteps
    (silence is "0"), None for an analogue neuron.

    Raises ValueError when there are fewer images.
    """
    network.eval()
    layers: dict[int, dict[str, Any]] = {}
    histograms: dict[int, Tensor] = {}
    correct = seen = 0

    def observe(index: int, spikes: Tensor, pooled: Tensor, fires: bool = True) -> None:
        entry = layers.setdefault(
            index,
            {
                "index": index,
                "name": common.layer_name(network, index),
                "fires": fires,
                "neurons": pooled[0, 0].numel(),
                "neurons_before_pooling": spikes[0, 0].numel(),
                "events": 0.0,
                "events_before_pooling": 0.0,
                "level_sum": 0.0,
            },
        )
        entry["events"] += int(pooled.count_nonzero())
        entry["events_before_pooling"] += int(spikes.count_nonzero())
        entry["level_sum"] += float(pooled.double().sum())
        if common.sends_spikes(network, index):
            counts = torch.bincount((pooled * FINEST).long().flatten())
            known = histograms.get(index, counts[:0])
            longest = max(len(counts), len(known))
            histograms[index] = functional.pad(counts, (0, longest - len(counts)))
            histograms[index] += functional.pad(known, (0, longest - len(known)))

    def added(index: int, _: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        observe(index, *output, fires=False)

    hooks = [
        layer.register_forward_hook(partial(added, index))
        for index, layer in _bare_sums(network).items()
    ]
    try:
        for inputs, labels in common.batches(split, images, batch):
            scores = network(inputs, observe)
            correct += int((scores.argmax(1) == labels).sum())
            seen += len(labels)
    finally:
        for hook in hooks:
            hook.remove()
    steps = network.spec.timesteps
    for index, entry in layers.items():
        for name in ("events", "events_before_pooling", "level_sum"):
            entry[name] /= seen
        entry |= _rates(entry, steps)
        found = histograms.get(index)
        entry["levels"] = None if found is None else _shares(found)
    every = [layers[index] for index in sorted(layers)]
    return {
        "images": seen,
        "timesteps": steps,
        "accuracy": 100 * correct / seen,
        "total": _total([entry for entry in every if entry["fires"]], steps),
        "total_with_sums": _total(every, steps),
        "layers": every,
    }


def _bare_sums(network: Trainable) -> dict[int, nn.Module]:
    """Sums of spikes that no neuron follows, by their index."""
    if not isinstance(network, SpikingNetwork):
        return {}
    sums = {index: network.chain()[index] for index in common.residual_sums(network.spec)}
    return {
        index: layer
        for index, layer in sums.items()
        if layer.neuron is None and common.sends_spikes(network, index)
    }


def _total(layers: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    total = {
        name: sum(entry[name] for entry in layers) for name in ("neurons", "events", "level_sum")
    }
    return total | _rates(total, steps)


def _rates(entry: dict[str, Any], steps: int) -> dict[str, float]:
    activity = entry["events"] / entry["neurons"]
    return {"activity": activity, "density": activity / steps}


def _shares(counts: Tensor) -> dict[str, float]:
    """Level -> share, of counts at the multiples of 1 / FINEST."""
    total = int(counts.sum())
    return {f"{i / FINEST:g}": int(counts[i]) / total for i in counts.nonzero().flatten().tolist()}


def plot(results: Sequence[dict[str, Any]]) -> Figure:
    """Activity over the layers, one line a network, and the levels of every network with spikes."""
    spiking = [r for r in results if any(layer["levels"] for layer in r["layers"])]
    made, axes = common.figure(1 + len(spiking), 1)
    for number, result in enumerate(results):
        layers = result["layers"]
        axes[0].plot(
            range(1, len(layers) + 1),
            [layer["activity"] for layer in layers],
            label=_label(result),
            **common.style(number),
        )
    axes[0].set(xlabel="layer that sends spikes", ylabel="activity (events / neuron / image)")
    axes[0].set_ylim(bottom=0)
    common.whole_numbers(axes[0])
    axes[0].legend(fontsize="small")
    for one, result in zip(axes[1:], spiking, strict=True):
        _stack(one, result)
    return made


def _label(result: dict[str, Any]) -> str:
    total = result["total_with_sums"]
    return f"{result['checkpoint']}: {total['events']:.0f} events, activity {total['activity']:.3f}"


def _stack(axes: Axes, result: dict[str, Any]) -> None:
    """Bars of the levels above zero of every layer, stacked."""
    layers = [layer["levels"] or {} for layer in result["layers"]]
    levels = sorted({level for shares in layers for level in shares} - {"0"}, key=float)
    bottom = [0.0] * len(layers)
    for number, level in enumerate(levels):
        heights = [100 * shares.get(level, 0.0) for shares in layers]
        shade = 0.15 + 0.8 * number / max(1, len(levels) - 1)
        axes.bar(
            range(1, len(layers) + 1),
            heights,
            bottom=bottom,
            color=colormaps["viridis"](shade),
            label=level,
        )
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    axes.set(
        xlabel="layer that sends spikes",
        ylabel="neurons of a timestep (%)",
        title=result["checkpoint"],
    )
    common.whole_numbers(axes)
    if levels:
        axes.legend(title="level", fontsize="small", ncols=1 + len(levels) // 8)


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """\
  python -m sw.analysis.activity runs/mnist-multilevel-seed0.pt
  python -m sw.analysis.activity runs/sparse.pt runs/sew.pt --data ~/data --images 1000 --output runs/analysis
"""


def main(argv: Sequence[str] | None = None) -> int:
    p = common.parser("activity", "Events per neuron of every layer of trained networks.", EXAMPLES)
    common.add_checkpoints(p)
    arguments = p.parse_args(argv)
    return common.guarded(
        "sw.analysis.activity",
        lambda: run(arguments.checkpoints, arguments.data, arguments.images, arguments.output),
    )


def run(checkpoints: Sequence[Path], folder: Path | None, images: int | None, output: Path) -> None:
    results = []
    for name, network, log in common.load_networks(checkpoints):
        measured = measure(network, common.load_test(log, folder), images)
        results.append({"checkpoint": name, "data": log["data"], **measured})
    for result in results:
        _print(result)
    common.write(output, "activity", {"results": results}, plot(results))


def _print(result: dict[str, Any]) -> None:
    title = f"{result['checkpoint']}: {result['accuracy']:.2f} % of {result['images']} images"
    table = Table("layer", "neurons", "events", "activity", "density", "mean level", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    totals = [{"name": "total", **result["total"]}]
    if result["total_with_sums"] != result["total"]:
        totals.append({"name": "total with sums", **result["total_with_sums"]})
    for entry in (*result["layers"], *totals):
        table.add_row(
            entry["name"],
            str(entry["neurons"]),
            f"{entry['events']:.1f}",
            f"{entry['activity']:.4f}",
            f"{entry['density']:.4f}",
            f"{entry['level_sum'] / max(entry['events'], 1e-12):.3f}",
        )
    common.console.print(table)


if __name__ == "__main__":
    sys.exit(main())
