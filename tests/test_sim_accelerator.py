"""The whole accelerator in cocotb: every stream and counter, images back to back, random pauses on both sides."""

import json
from pathlib import Path

import numpy as np
import pytest

import support
from cosimulation import beats_of, cosimulate, layer_input, score_beats
from hw.accelerator import Accelerator
from hw.generate import STROBES
from sw import golden

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("name", ["conv-odd", "temporal", "pooled"])
def test_accelerator(name: str, tmp_path: Path) -> None:
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(7), network, 3)
    trace = golden.run(network, frames, foldings)
    design = Accelerator(network, foldings, taps=True)
    last = len(network.layers) - 1
    beats = {
        "i": beats_of(frames, 1, network.input_coding.code_width),
        "o": score_beats(design.o.payload.shape(), trace),
    }
    for index in range(last):
        beats[f"tap{index}"] = layer_input(network, foldings, index + 1, frames, trace)
    for index, layer in enumerate(trace.layers):
        beats |= {
            f"layer{index}.{counter}": values.tolist() for counter, values in layer.counters.items()
        }
    environment = {"STAIRSPIKE_STROBES": json.dumps(STROBES), "STAIRSPIKE_LAYERS": str(last + 1)}
    cosimulate(design, "bench_accelerator", beats, tmp_path, environment=environment)
