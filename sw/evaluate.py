"""Evaluation: accuracy, spikes and events of network artefacts on the test images.

    python -m sw.evaluate networks/mnist-multilevel.npz --data DIR

The integer network runs in sw.golden; the trained one can run beside it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sw import golden
from sw.command import refuse, unwritable
from sw.datasets.common import DataError, TensorSplit
from sw.export import compare
from sw.files import write_json
from sw.frames import frames_of
from sw.inputs import codes_of, load_test
from sw.models.spiking import SpikingNetwork
from sw.network import INPUT, Network, NetworkError, load
from sw.training.checkpoint import load_checkpoint


def evaluate(network: Network, split: TensorSplit, batch: int = 500) -> dict[str, Any]:
    """Accuracy in per cent, and for each layer the mean activity per image.

    Returns {"images", "accuracy", "layers": [{"kind", "shape", "input_spikes", "output_spikes", "events",
    "rate", "synaptic_operations"}]}: spikes are non-zero codes, events the shift-and-adds that the layer's input
    spikes stand for at one output channel, rate the fraction of its input codes that is not zero.
    """
    correct = 0
    counted = ("input_spikes", "output_spikes", "synaptic_operations")
    sums = [dict.fromkeys((*counted, "events"), 0.0) for _ in network.layers]
    for start in range(0, len(split), batch):
        images, labels = (
            codes_of(network, split.images[start : start + batch].numpy()),
            split.labels[start : start + batch].numpy(),
        )
        trace = golden.run(network, images)
        correct += int((trace.classes == labels).sum())
        sent = {INPUT: frames_of(network, images)}
        sent |= {i: layer.codes for i, layer in enumerate(trace.layers) if layer.codes is not None}
        for index, (entry, layer) in enumerate(zip(sums, trace.layers, strict=True)):
            for name in counted:
                entry[name] += float(layer.counters[name].sum())
            for source in network.sources(index):
                if (coding := network.sent(source)) is not None:
                    entry["events"] += float(coding.event_counts[sent[source]].sum())
    count = len(split)
    layers = []
    for index, entry in enumerate(sums):
        spiking = [s for s in network.sources(index) if network.sent(s) is not None]
        size = network.timesteps * sum(int(np.prod(network.shapes[s + 1])) for s in spiking)
        layers.append(
            {
                "kind": network.layers[index].kind,
                "shape": list(network.shapes[index + 1]),
                "input_spikes": round(entry["input_spikes"] / count, 2),
                "events": round(entry["events"] / count, 2),
                "rate": round(entry["input_spikes"] / count / size, 5) if size else 0.0,
                "output_spikes": round(entry["output_spikes"] / count, 2),
                "synaptic_operations": round(entry["synaptic_operations"] / count, 1),
            }
        )
    return {"images": count, "accuracy": round(100 * correct / count, 4), "layers": layers}


def summary(accuracies: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation, least and largest of several accuracies."""
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {
        "mean": round(statistics.fmean(accuracies), 4),
        "standard_deviation": round(spread, 4),
        "least": min(accuracies),
        "largest": max(accuracies),
    }


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.evaluate networks/mnist-multilevel.npz
  python -m sw.evaluate networks/mnist-onehot.npz --data ~/mnist --checkpoint runs/mnist-onehot-seed0.pt
  python -m sw.evaluate seed0.npz seed1.npz seed2.npz --data ~/mnist --json spread.json
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.evaluate",
        description="Run integer networks on their test images: accuracy, and spikes of every layer.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK", help="evaluate these artefacts (.npz)"
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read the test images from here (default: the 1,000 of MNIST that are shipped)",
    )
    p.add_argument(
        "--images", type=int, metavar="N", help="use the first N images only (default: all)"
    )
    p.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="run the trained network too, and compare spikes",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write every printed figure here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    console = Console()
    results: list[dict[str, Any]] = []
    try:
        if arguments.checkpoint is not None and len(arguments.networks) > 1:
            raise ValueError(
                f"--checkpoint goes with one network, not with {len(arguments.networks)}; name one"
            )
        networks = [load(path) for path in arguments.networks]
        split = load_test(networks[0].provenance, arguments.data).first(arguments.images)
        for path, network in zip(arguments.networks, networks, strict=True):
            result = {"network": path.name, "digest": network.digest, **evaluate(network, split)}
            if arguments.checkpoint is not None:
                trained, _ = load_checkpoint(arguments.checkpoint)
                if not isinstance(trained, SpikingNetwork):
                    raise ValueError(
                        f"{arguments.checkpoint} is of a transformer, which has no artefact"
                    )
                comparison = compare(trained, network, split)
                result["float_accuracy"] = round(comparison.float_accuracy, 4)
                result["differing_spikes"] = comparison.differing
                result["compared_spikes"] = comparison.spikes
            results.append(result)
            _print(console, result)
        content: dict[str, Any] = {"results": results}
        if len(results) > 1:
            content["summary"] = figures = summary([r["accuracy"] for r in results])
            console.print(
                f"{len(results)} networks: mean {figures['mean']:.2f} %, standard deviation "
                f"{figures['standard_deviation']:.2f}, {figures['least']:.2f} to {figures['largest']:.2f} %",
                highlight=False,
            )
        if arguments.json is not None:
            write_json(arguments.json, content)
    except (DataError, NetworkError, ValueError) as error:
        return refuse("sw.evaluate", error)
    except OSError as error:
        return refuse("sw.evaluate", unwritable(error.filename or arguments.json, error))
    return 0


def _print(console: Console, result: dict[str, Any]) -> None:
    console.print(
        f"{result['network']}: {result['accuracy']:.2f} % of {result['images']} images, integers",
        highlight=False,
    )
    if "float_accuracy" in result:
        console.print(
            f"trained network: {result['float_accuracy']:.2f} %, "
            f"{result['differing_spikes']} of {result['compared_spikes']} spikes differ",
            highlight=False,
        )
    table = Table("layer", "output", "spikes in", "events in", "rate", "spikes out", "adds")
    for column in table.columns[2:]:
        column.justify = "right"
    for index, layer in enumerate(result["layers"]):
        table.add_row(
            f"{index} {layer['kind']}",
            "x".join(map(str, layer["shape"])),
            f"{layer['input_spikes']:.1f}",
            f"{layer['events']:.1f}",
            f"{layer['rate']:.3f}",
            f"{layer['output_spikes']:.1f}",
            f"{layer['synaptic_operations']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
