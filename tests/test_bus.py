"""Accelerators behind AXI and Wishbone: real tops under independent bus models, and the files that go with them."""

import json
import runpy
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import support
from hw.bus.generate import design_of, generate, main
from hw.bus.registers import Register, register_map
from sim.bus import main as prove_main
from sim.bus import prove
from sim.verilator import find_compiler
from sw.folding import COUNTERS
from sw.network import NetworkError

AXI = {"bus": "axi", "beat_codes": 1, "loadable": (), "counters": True}


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conv-odd", {"loadable": (1, 2)}),
        ("spikes-in", {"beat_codes": 4, "counters": False}),
        ("strided", {"bus": "wishbone", "beat_codes": 4, "loadable": (0,)}),
    ],
    ids=["axi", "axi-wide", "wishbone"],
)
def test_answers_and_bad_traffic(name: str, options: dict, tmp_path: Path) -> None:
    network, foldings = support.configuration(name)
    rng = np.random.default_rng(1)
    seed = int(np.random.default_rng().integers(1 << 31))
    print(f"seed {seed}")
    frames = support.images(rng, network, 6)
    prove(network, foldings, frames, tmp_path, rounds=1, seed=seed, options={**AXI, **options})
