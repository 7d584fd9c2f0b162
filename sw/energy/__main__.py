"""Command line: the energy of an inference, counted, beside the papers' scatter and the ReLU twin."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sw.command import refuse
from sw.energy.counts import check_equal, golden_counters, read_run, uniform_foldings
from sw.energy.page import draw, page, picture
from sw.energy.summary import SIDES, hidden_words, summarise
from sw.energy.technology import LAWS
from sw.files import to_json, write_bytes
from sw.folding import COUNTERS, Folding
from sw.network import Network, load

IMAGES = 100
FOLDING = {
    "lanes": (8, "give every layer N lanes, so that a word holds N weights"),
    "fire_units": (4, "let every layer fire N neurons a clock"),
    "word_codes": (4, "store N input codes a word"),
}


def evaluate(
    network: Network,
    *,
    data: Path | None = None,
    images: int | None = None,
    run_path: Path | None = None,
    foldings: Sequence[Folding] | None = None,
    law: str = "line",
) -> dict[str, Any]:
    """Count and price `images` test images (default: those of the run, or 100): the content of the JSON file.

    data: folder of the data set; run_path: JSON file of `sim.run`, whose foldings are then those of all sides.
    Raises ValueError with one sentence.
    """
    from sw.inputs import load_inputs

    run = None if run_path is None else read_run(run_path, network)
    if run is not None and images not in (None, run.images):
        raise ValueError(
            f"{run_path} is a run of {run.images} images, not {images}; leave --images out"
        )
    if run is not None and foldings is not None:
        raise ValueError(
            "a run has its own foldings; leave --lanes, --fire-units, --word-codes out"
        )
    count = run.images if run is not None else IMAGES if images is None else images
    chosen = tuple(run.foldings if run is not None else foldings or uniform_foldings(network))
    frames = load_inputs(network, data, count).frames
    counters = golden_counters(network, frames, chosen)
    if run is not None:
        assert run_path is not None
        check_equal(run_path, run, counters)
        verification = (
            f"On each of {count:,} images all {len(COUNTERS)} counters of all {len(network.layers)} layers of the RTL "
            f"equal the golden model's (sim.run, pauses {run.pause:g}, seed {run.seed}); so do their means here."
        )
    else:
        verification = (
            f"Counts of {count:,} images by the golden model; python -m sim.run NETWORK --json RUN.json proves on "
            "every image that the RTL's are equal, and --rtl RUN.json shows them."
        )
    return {
        "format": "stairspike-energy",
        "version": 1,
        "network": network.digest,
        "images": count,
        "foldings": [asdict(folding) for folding in chosen],
        "verified": run is not None,
        "verification": verification,
        "counters": counters,
        "energy": summarise(network, chosen, counters, run.counters if run else None, law=law),
    }


def _show(report: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    layers = report["energy"]["layers"]
    for name, result in report["energy"]["technologies"].items():
        for side, figures in result["sides"].items():
            title = f"{SIDES[side]}, {name}, nJ an image (mean of {report['images']})"
            table = Table(title=title, title_justify="left", box=None, pad_edge=False)
            table.add_column("layer")
            for title in (*figures["kinds"], "sum"):
                table.add_column(title, justify="right")
            columns = [*figures["kinds"].values(), figures["layers_pj"]]
            for index, layer in enumerate(layers):
                table.add_row(layer, *(f"{values[index] / 1e3:,.1f}" for values in columns))
            table.add_row("all", *(f"{sum(values) / 1e3:,.1f}" for values in columns))
            console.print(table)
        totals = {side: figures["total_pj"] / 1e3 for side, figures in result["sides"].items()}
        console.print(
            f"{name}: engine {totals['engine']:,.1f} nJ; scatter {totals['scatter']:,.1f} nJ, "
            f"ratio {result['ratio']:.3f}{hidden_words(result)}; "
            f"ReLU twin {totals['twin']:,.1f} nJ, ratio {result['twin_ratio']:.3f}"
        )
    console.print(report["verification"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sw.energy",
        description="Count the energy of an inference, beside the papers' event-driven scatter on the same spikes and "
        "the ReLU network of the same layers.",
        epilog="examples:\n"
        "  python -m sw.energy networks/mnist-multilevel.npz --images 100 --plot energy.svg\n"
        "  python -m sim.run networks/mnist-multilevel.npz --images 100 --json run.json\n"
        "  python -m sw.energy networks/mnist-multilevel.npz --rtl run.json --page energy.html --json energy.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, metavar="NETWORK", help="network artefact")
    parser.add_argument(
        "--rtl", type=Path, metavar="RUN.json", help="show the counters of this run of sim.run, too"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read the data set of the network from DIR (default: the shipped MNIST images)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"count the first N test images (default: those of the run, or {IMAGES})",
    )
    for name, (default, text) in FOLDING.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    parser.add_argument(
        "--law", choices=LAWS, default="line", help="memory law (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the 45 nm figures to FILE (.svg, .png, ...)"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page to FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    given = {name: getattr(options, name) for name in FOLDING if getattr(options, name) is not None}
    if min(given.values(), default=1) < 1:
        return refuse("sw.energy", "lanes, fire units and word codes must be at least 1")
    try:
        network = load(options.network)
        report = evaluate(
            network,
            data=options.data,
            images=options.images,
            run_path=options.rtl,
            foldings=uniform_foldings(network, **given) if given else None,
            law=options.law,
        )
    except ValueError as error:
        return refuse("sw.energy", error)
    _show(report)
    try:
        # Everything is drawn before anything is written.
        files: list[tuple[Path, bytes]] = []
        if options.json:
            files.append((options.json, to_json({"name": options.network.stem, **report}).encode()))
        if options.plot:
            kind = options.plot.suffix.removeprefix(".")
            files.append((options.plot, picture(draw(report["energy"]), kind)))
        if options.page:
            title = f"Energy of {options.network.stem}"
            note = f"network {network.digest[:12]}, {report['images']:,} images"
            text = page(title, note, report["energy"], report["verification"])
            files.append((options.page, text.encode()))
        for path, content in files:
            write_bytes(path, content)
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know a kind of picture
        return refuse("sw.energy", f"the file cannot be written ({error})")
    for path, _ in files:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
