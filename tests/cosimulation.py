"""Runs a component in a cocotb bench under Verilator; the bench sees Verilog and a file of vectors, nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Const
from amaranth.lib import data, wiring

from sim import vectors, verilator
from sw.folding import Folding, beat_codes
from sw.golden import Trace
from sw.network import Network


def cosimulate(
    design: wiring.Component,
    bench: str,
    beats: Mapping[str, Sequence[int]],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Build `design`, run the tests of sim/<bench>.py on it; raises SimulationError when one fails."""
    text = verilog.convert(design, name="dut", emit_src=False, strip_internal_attrs=True)
    source = folder / "dut.v"
    source.write_text(text)
    directory = verilator.build_bench(source, top="dut")
    file = vectors.save(folder / "vectors.npz", beats)
    verilator.run_bench(
        directory,
        top="dut",
        module=f"sim.{bench}",
        environment={vectors.VARIABLE: str(file), **(environment or {})},
        work=folder / "run",
    )


def pack(layout: data.Layout, value: object) -> int:
    """The bits of a structured value."""
    constant = Const.cast(layout.const(value))
    return constant.value & ((1 << len(constant)) - 1)


def beats_of(codes: np.ndarray, per_beat: int, code_width: int) -> list[int]:
    """Codes (batch, step, C, H, W) as beats in stream order, the lowest channel in the low bits."""
    rows = codes.transpose(0, 1, 3, 4, 2).reshape(-1, per_beat).tolist()
    return [sum(code << (n * code_width) for n, code in enumerate(row)) for row in rows]


def layer_input(
    network: Network, foldings: tuple[Folding, ...], index: int, frames: np.ndarray, trace: Trace
) -> list[int]:
    """Beats that enter layer `index`; what enters layer `index` + 1 is what layer `index` sends."""
    codes = frames if index == 0 else trace.layers[index - 1].codes
    assert codes is not None
    return beats_of(codes, beat_codes(network, foldings, index), network.codings[index].code_width)


def score_beats(layout: data.Layout, trace: Trace) -> list[int]:
    """Output beats of the readout: every score with the argmax so far."""
    beats = []
    for scores in trace.scores:
        for n, score in enumerate(scores.tolist()):
            best = int(np.argmax(scores[: n + 1]))
            beats.append(pack(layout, {"score": score, "best": best, "last": n == len(scores) - 1}))
    return beats
