"""Spikes at the residual sums of trained networks (paper 1, fig. 10): do they avalanche from block to block?

    python -m sw.analysis.residuals runs/sew.pt runs/sparse.pt --output runs/analysis

A spike-element-wise sum adds the levels of a block and its shortcut, and so do the blocks after it; the barrier neuron
of Sparse-ResNet sends at most N again.  Counted is what leaves every sum, after its barrier where there is one, over
all timesteps: events (values that are not zero), the sum of the levels, and the largest level.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn

from sw.analysis import common
from sw.datasets.common import Split
from sw.models.trainable import Trainable


@torch.no_grad()
def measure(
    network: Trainable, split: Split, images: int | None = None, batch: int = 100
) -> list[dict[str, Any]]:
    """Per residual sum {"block", "layer", "neurons", "events", "level_sum", "largest"}, the two sums per image.

    Raises ValueError with one sentence for a network without such sums, or whose sums are currents.
    """
    network = common.residual(network)
    joins = common.residual_sums(network.spec)
    if not all(common.sends_spikes(network, index) for index in joins):
        raise ValueError(
            f"{network.spec.name} adds currents, not spikes; give one with network.residual sew, sparse or spiking"
        )
    network.eval()
    sums = {
        index: {"neurons": 0, "events": 0.0, "level_sum": 0.0, "largest": 0.0} for index in joins
    }

    def observe(index: int, _: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        entry, spikes = sums[index], output[1]
        entry["neurons"] = spikes[0, 0].numel()
        entry["events"] += int(spikes.count_nonzero())
        entry["level_sum"] += float(spikes.double().sum())
        entry["largest"] = max(entry["largest"], float(spikes.max()))

    hooks = [
        network.chain()[index].register_forward_hook(partial(observe, index)) for index in joins
    ]
    seen = 0
    try:
        for inputs, labels in common.batches(split, images, batch):
            network(inputs)
            seen += len(labels)
    finally:
        for hook in hooks:
            hook.remove()
    for entry in sums.values():
        entry["events"] /= seen
        entry["level_sum"] /= seen
    return [
        {"block": number, "layer": index, **sums[index]}
        for number, index in enumerate(joins, start=1)
    ]


def plot(results: Sequence[dict[str, Any]]) -> Figure:
    """Events and level sums per neuron over the blocks, one line a network."""
    made, axes = common.figure(1, 2)
    for one, name, unit in zip(
        axes, ("events", "level_sum"), ("events", "sum of levels"), strict=True
    ):
        for number, result in enumerate(results):
            blocks = result["blocks"]
            one.plot(
                [block["block"] for block in blocks],
                [block[name] / block["neurons"] for block in blocks],
                label=result["checkpoint"],
                **common.style(number),
            )
        one.set(xlabel="residual block", ylabel=f"{unit} / neuron / image")
        common.whole_numbers(one)
        one.set_ylim(bottom=0)
    axes[0].legend(fontsize="small")
    return made


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """\
  python -m sw.analysis.residuals runs/sew.pt runs/sparse.pt --data ~/data
  python -m sw.analysis.residuals runs/sparse.pt --data ~/data --images 500 --output runs/analysis
"""


def main(argv: Sequence[str] | None = None) -> int:
    p = common.parser("residuals", "Spikes at every residual sum of trained networks.", EXAMPLES)
    common.add_checkpoints(p)
    arguments = p.parse_args(argv)
    return common.guarded(
        "sw.analysis.residuals",
        lambda: run(arguments.checkpoints, arguments.data, arguments.images, arguments.output),
    )


def run(checkpoints: Sequence[Path], folder: Path | None, images: int | None, output: Path) -> None:
    results = []
    for name, network, log in common.load_networks(checkpoints):
        blocks = measure(network, common.load_test(log, folder), images)
        results.append({"checkpoint": name, "data": log["data"], "blocks": blocks})
    for result in results:
        table = Table("block", "neurons", "events", "levels", "largest", title=result["checkpoint"])
        for column in table.columns:
            column.justify = "right"
        for block in result["blocks"]:
            table.add_row(
                str(block["block"]),
                str(block["neurons"]),
                f"{block['events']:.1f}",
                f"{block['level_sum']:.1f}",
                f"{block['largest']:g}",
            )
        common.console.print(table)
    common.write(output, "residuals", {"results": results}, plot(results))


if __name__ == "__main__":
    sys.exit(main())
