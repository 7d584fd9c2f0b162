"""Export of graphs: every residual gives the same spikes in integers, and what cannot become integers says why."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from sw.datasets.common import TensorSplit
from sw.export import ExportError, build_network, compare
from sw.models import build
from sw.models.small import Task, readout
from sw.models.spec import INPUT, LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.network import load

ONE_HOT = {"kind": "one-hot", "levels": 3, "boundary": "open"}
LEAKY = {"kind": "multi-level", "levels": 4, "leak": "retain", "leak_shift": 2}
PLAIN = {"kind": "multi-level", "levels": 4}


def random_network(spec: NetworkSpec) -> SpikingNetwork:
    """A folded network with batch norm of gains of both signs, and thresholds of its own for every layer."""
    torch.manual_seed(1)
    network = SpikingNetwork(spec).eval()
    for layer in network.chain():
        if layer.norm is not None:
            assert layer.norm.running_mean is not None and layer.norm.running_var is not None
            layer.norm.running_mean.uniform_(-0.2, 0.3)
            layer.norm.running_var.uniform_(0.1, 1.5)
            layer.norm.weight.data.uniform_(-0.5, 1.2)
            layer.norm.bias.data.uniform_(-0.2, 0.6)
        if layer.bias is not None:
            layer.bias.data.normal_(0, 0.1)
        if layer.neuron is not None and layer.spec.neuron.kind != "barrier":  # type: ignore[union-attr]
            layer.neuron.get_parameter("threshold").data.uniform_(0.2, 0.6)
    network.folded = True
    return network


def images(shape: tuple[int, int, int], count: int = 12) -> TensorSplit:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (count, *shape)) * (rng.random((count, *shape)) < 0.5)
    return TensorSplit(
        torch.from_numpy(drawn.astype(np.uint8)), torch.from_numpy(rng.integers(0, 5, count))
    )


def residual(kind: str, neuron: dict, timesteps: int, bits: int = 4) -> NetworkSpec:
    """Two stages of a residual network, 8 x 8 pixels."""
    options = {"width": 0.125, "bits": bits, "residual": kind, "stem": "small"}
    task = Task(classes=5, input_shape=(2, 8, 8), timesteps=timesteps)
    spec = build("resnet18", kind, neuron, task, options)
    assert isinstance(spec, NetworkSpec)
    return spec


@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("neuron", [LEAKY, ONE_HOT], ids=["multi-level", "one-hot"])
@pytest.mark.parametrize("kind", ["sew", "sparse", "spiking", "ms"])
def test_residuals_equal_the_trained_network(
    kind: str, neuron: dict, timesteps: int, tmp_path
) -> None:
    network = random_network(residual(kind, neuron, timesteps))
    artefact = build_network(network)
    assert (
        not artefact.is_chain and artefact.digest == load(artefact.save(tmp_path / "n.npz")).digest
    )
    comparison = compare(network, artefact, images((2, 8, 8)), batch=8)
    assert comparison.differing == 0 and comparison.spikes > 10_000
    assert comparison.float_correct == comparison.integer_correct
    joins = [layer for layer in artefact.layers if layer.kind == "join"]
    assert len(joins) == {"ms": 8 + 8 + 1}.get(kind, 8)
    fires = {"sew": 0, "sparse": 8, "spiking": 8, "ms": 9}[kind]
    assert sum(layer.neuron is not None for layer in joins) == fires
    if kind == "sparse":
        assert {int(t) for layer in joins for t in layer.threshold} == {1}  # type: ignore[union-attr]
    # Spikes are scaled to the currents that they are added to; currents only where others are sums of pixels.
    scaled = [scale for layer in joins for scale in layer.scales if scale is not None]
    assert len(scaled) == {"spiking": 5, "ms": 2}.get(kind, 0)
    assert kind != "ms" or {int(x) for scale in scaled for x in scale} == {255}


@pytest.mark.parametrize(
    ("kind", "options"), [("resnet20-wide", {}), ("vgg16-wide", {"hidden": 16})]
)
def test_the_networks_of_paper_2(kind: str, options: dict) -> None:
    """Averages of spikes are sums of four; dense layers have neither batch norm nor bias."""
    spec = build(kind, kind, ONE_HOT, Task(classes=5), {"bits": 8, "width": 0.05, **options})
    assert isinstance(spec, NetworkSpec)
    network = random_network(spec)
    artefact = build_network(network)
    comparison = compare(network, artefact, images((3, 32, 32), 3))
    assert comparison.differing == 0 and comparison.spikes > 10_000
    pools = [n for n, layer in enumerate(artefact.layers) if layer.kind == "sumpool"]
    assert len(pools) == (kind == "resnet20-wide")
    if pools:  # read by a convolution, and straight by the join of the first block
        assert artefact.sent(pools[0]).levels == 16 and len(artefact.readers(pools[0])) == 2


@pytest.mark.parametrize(("kind", "most"), [("spiking", 0.02), ("ms", 0.06)])
def test_folding_keeps_the_function_of_added_currents(kind: str, most: float) -> None:
    """With 8-bit weights, folded and free network agree but for neurons near a threshold.

    Membrane shortcuts carry the rounding of all blocks before, so more of their neurons are near one.
    """
    network = random_network(residual(kind, PLAIN, 1, bits=8))
    last: list[list[torch.Tensor]] = []
    for network.folded in (False, True):
        seen: list[torch.Tensor] = []
        network(
            images((2, 8, 8)).images.float(), lambda i, spikes, _, seen=seen: seen.append(spikes)
        )
        last.append(seen)
    for free, folded in zip(*(spikes[:4] for spikes in last), strict=True):
        assert (free != folded).float().mean() < most and (folded > 0).float().mean() > 0.02


def test_shared_units_pass_gradients() -> None:
    """Training in integers moves every parameter of convolutions whose currents are added."""
    network = random_network(residual("ms", PLAIN, 1, bits=8))
    network(images((2, 8, 8)).images.float()).square().sum().backward()
    for index in (0, 2, 3):
        layer = network.chain()[index]
        assert layer.weight is not None and layer.norm is not None
        for parameter in (layer.weight, layer.norm.weight, layer.norm.bias):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0


FIRES = LayerSpec(kind="conv", channels=2)
CURRENTS = replace(FIRES, neuron=None)
BARRIER = NeuronSpec(kind="barrier", levels=4)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([replace(FIRES, bits=None)], "layer 0 (conv): its weights are not quantised; give it bits"),
        ([replace(FIRES, neuron=NeuronSpec(kind="relu"))], "layer 0 (conv): its relu neurons cannot be computed"),
        ([replace(FIRES, neuron=NeuronSpec(charge="repeated"))], "layer 0 (conv): its multi-level neurons cannot"),
        ([replace(FIRES, neuron=BARRIER)], "layer 0 (conv): only a join has a barrier"),
        ([replace(FIRES, pool=2, pool_kernel=3)], "layer 0 (conv): its pooling windows overlap"),
        ([replace(CURRENTS, pool=2)], "layer 0 (conv): it pools currents"),
        ([CURRENTS], "layer 1 (dense): it reads currents, which only a join can"),
        ([replace(CURRENTS, kind="dense")], "layer 0 (dense): a dense layer without a neuron is the readout"),
        (
            [FIRES, LayerSpec(kind="join", inputs=(0,), average=2, neuron=None), FIRES,
             LayerSpec(kind="join", inputs=(1, 2), neuron=None)],
            "layer 3 (join): it adds spikes to averages of spikes",
        ),
        ([FIRES, LayerSpec(kind="join", inputs=(0,), neuron=NeuronSpec())], "layer 1 (join): it adds nothing but"),
        ([CURRENTS, LayerSpec(kind="join", inputs=(0,), average=2)], "layer 1 (join): it averages currents"),
        (
            [LayerSpec(kind="join", inputs=(INPUT,), average=2, neuron=None)],
            "layer 0 (join): its sums of spikes reach 1020, more than 255",
        ),
    ],
)  # fmt: skip
def test_what_cannot_become_integers_says_why(layers: list[LayerSpec], reason: str) -> None:
    spec = NetworkSpec(name="small", layers=(*layers, readout(5)), input_shape=(2, 8, 8))
    assert not spec.foldable and spec.unfoldable.startswith(reason)
    with pytest.raises(
        ExportError, match=re.escape(f"small cannot be computed in integers; {reason}")
    ):
        build_network(SpikingNetwork(spec))
