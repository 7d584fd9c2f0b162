"""Memories as macros: the same network with its contents in files, and layers alone that share one design."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.lib.memory import Memory

import support
from hw.generate import generate, main
from hw.macros import Macros
from hw.single import generate_layer
from hw.weights import weight_words
from sim import batch
from sim.compare import MismatchError
from sim.model import Model
from sw.folding import Folding
from sw.network import Network

SHIPPED = Path(__file__).resolve().parent.parent / "networks" / "mnist-perceptron.npz"


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["conv-odd", "temporal"])
def test_equals_golden(name: str, tmp_path: Path) -> None:
    """Every memory with one read port is a macro: spikes, scores and counters stay those of the golden model."""
    network, foldings = support.configuration(name)
    manifest = generate(network, foldings, tmp_path, taps=True, macros=1)
    model = Model.build(tmp_path, manifest)
    frames = support.images(np.random.default_rng(1), network, 12)
    batch.run_images(model, network, foldings, frames, seed=3, pause=0.3)

    # The contents are really read from the files: with other weights it is another network.
    file = tmp_path / "layer0.weights.hex"
    words = file.read_text().split()
    file.write_text("\n".join(words[::-1]) + "\n")
    with pytest.raises(MismatchError, match=r"^image \d+, layer 0 \(conv\), spike"):
        batch.run_images(model, network, foldings, frames)


def test_files(tmp_path: Path) -> None:
    """Contents are the weights, word by word; the manifest has their digests; the Verilog has none of them."""
    network, foldings = support.configuration("pooled")
    manifest = generate(network, foldings, tmp_path, macros=64)
    instances = manifest["memories"]["instances"]
    files = {macro["file"]: macro for macro in instances if macro["file"] is not None}
    for index in (0, 2, 4):
        words = weight_words(network, foldings, index)
        macro = files[f"layer{index}.weights.hex"]
        text = (tmp_path / macro["file"]).read_text()
        assert [int(word, 16) for word in text.split()] == words
        assert (macro["module"], macro["words"]) == ("sram_1r", len(words))
        assert macro["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert all(macro["words"] * macro["width"] >= 64 for macro in instances)
    verilog = (tmp_path / "accelerator.v").read_text()
    assert len(re.findall(r"^  sram_1r1?w? #", verilog, re.MULTILINE)) == len(instances)
    assert (tmp_path / manifest["memories"]["model"]).read_text().count("endmodule") == 3


@pytest.mark.parametrize("lanes", [1, 3, 4])
@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_weight_words(width: int, lanes: int) -> None:
    """Every weight lies where the engine looks for it; lanes without a channel hold zeros."""
    rng = np.random.default_rng(0)
    neuron = support.multi_level(2)
    layers = [
        support.conv(rng, 3, 5, (2, 1), neuron=neuron, width=width),
        support.dense(rng, 5, 2, (1, 2)),
    ]
    network = support.network(layers, (3, 2, 2))
    foldings = (Folding(lanes=lanes), Folding())
    words = iter(weight_words(network, foldings, 0))
    for group in range(-(-5 // lanes)):
        for ky in range(2):
            for c in range(3):
                word = next(words)
                for lane in range(lanes):
                    channel = group * lanes + lane
                    field = word >> lane * width & (1 << width) - 1
                    signed = field - (field >> (width - 1) << width)
                    weight = network.layers[0].weights[channel, c, ky, 0] if channel < 5 else 0
                    assert signed == weight
                assert word >> lanes * width == 0
    assert next(words, None) is None


def test_equal_layers_are_one_design(tmp_path: Path) -> None:
    """What a layer has learned is in its files only: two layers alike in shape and widths have the same Verilog."""
    rng = np.random.default_rng(1)
    neuron = support.multi_level(1)
    layers = [support.conv(rng, 4, 4, padding=(1, 1), neuron=neuron, width=4) for _ in range(3)]
    # The same weights in another order of channels, so that the widths are the same.
    layers[2] = type(layers[2])(
        **vars(layers[1]) | {name: getattr(layers[1], name)[::-1].copy() for name in ("weights", "bias", "threshold")}
    )  # fmt: skip
    network = Network(
        timesteps=1,
        input_shape=(4, 5, 5),
        input_coding=neuron.coding,
        layers=(*layers, support.dense(rng, 4, 2, (5, 5))),
    )
    foldings = (Folding(lanes=2),) * 4
    manifests = [
        generate_layer(network, foldings, index, tmp_path / str(index), macros=1)
        for index in (1, 2)
    ]
    first, second = ((tmp_path / str(index) / "layer.v").read_bytes() for index in (1, 2))
    assert first == second
    digests = [
        {macro["file"]: macro["sha256"] for macro in manifest["memories"]["instances"]}
        for manifest in manifests
    ]
    assert digests[0].keys() == digests[1].keys() == {"weights.hex", "constants.hex", None}
    assert digests[0] != digests[1]


def test_only_large_memories_are_macros() -> None:
    def macros_of(depth: int, width: int, smallest: int) -> list:
        memory = Memory(shape=width, depth=depth, init=[])
        memory.read_port()
        platform = Macros(smallest)
        Fragment.get(memory, platform)
        return platform.macros

    assert macros_of(16, 8, 129) == []
    (macro,) = macros_of(16, 8, 128)
    assert (macro.words, macro.width, macro.file) == (16, 8, "memory0.hex")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(SHIPPED), "-o", str(tmp_path), "--macros"]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"sram.v", "layer0.weights.hex"}
    with pytest.raises(SystemExit) as status:
        main([str(SHIPPED), "-o", str(tmp_path), "--macros", "0"])
    assert status.value.code == 2
    assert "expected a number of bits, at least 1, not '0'" in capsys.readouterr().err
