"""Models: quantisation, folding, residual joins, and the sizes that the papers publish."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from support_training import DATA, small
from sw.models import BUILDERS, Task, build
from sw.models.pooling import max_pool
from sw.models.quantise import integer_weight, largest, parse_bits, round_through, weight_scale
from sw.models.spec import INPUT, LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork

MULTI_LEVEL, ONE_HOT = NeuronSpec(), NeuronSpec(kind="one-hot", levels=3, boundary="open")
EVENT_CAMERA = Task(input_shape=(2, 48, 48), input_scale=1.0)


# ------------------------------------------------------------------------------------------------ quantisation


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("per_channel", [True, False])
def test_integer_weights(bits: int, per_channel: bool) -> None:
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(bits))
    scale = weight_scale(weight, bits, per_channel=per_channel)
    assert scale.shape == ((6 if per_channel else 1), 1, 1, 1)
    integers = integer_weight(weight, scale, bits)
    assert torch.equal(integers, integers.round())
    assert integers.abs().max() == largest(bits)
    inside = (weight / scale).abs() <= largest(bits)
    error = (integers * scale - weight).abs() / scale
    assert error[inside].max() <= 0.5 + 1e-4
    assert inside.float().mean() > 0.5


def test_weights_of_a_dead_channel_are_zero() -> None:
    weight = torch.zeros(2, 1, 3, 3)
    weight[1] = 1
    integers = integer_weight(weight, weight_scale(weight, 4), 4)
    assert not integers[0].any()
    assert (integers[1] == 7).all()


def test_rounding_passes_gradients() -> None:
    x = torch.tensor([0.4, 1.5, -2.6], requires_grad=True)
    y = round_through(x)
    assert y.tolist() == [0, 2, -3]
    (gradient,) = torch.autograd.grad((y * torch.tensor([1.0, 2.0, 3.0])).sum(), x)
    assert gradient.tolist() == [1, 2, 3]


def test_bits_of_the_command_line() -> None:
    assert parse_bits("4", 3) == (4, 4, 4)
    assert parse_bits("8,4,2", 3) == (8, 4, 2)
    for text, words in (
        ("9", "'9' is not"),
        ("8,x", "'8,x' is not"),
        ("8,4", "2 entries; the network has 3"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_bits(text, 3)


# ----------------------------------------------------------------------------------------------------- folding


def random_network(spec: NetworkSpec, seed: int) -> SpikingNetwork:
    """Random weights, and batch norm statistics and gains as after training, negative gains among them."""
    torch.manual_seed(seed)
    network = SpikingNetwork(spec).eval()
    generator = torch.Generator().manual_seed(seed)
    for layer in network.spiking_layers():
        assert layer.norm is not None
        for tensor, low, high in (
            (layer.norm.running_mean, -0.2, 0.3),
            (layer.norm.running_var, 0.01, 0.1),
            (layer.norm.weight, -1.0, 1.2),
            (layer.norm.bias, -0.5, 0.5),
        ):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_folding_keeps_the_function(neuron: NeuronSpec) -> None:
    """With 8-bit weights, folded and free network agree but for neurons near a threshold."""
    spec = small(neuron)
    spec = replace(spec, layers=(replace(spec.layers[0], bits=8, quiet=False), spec.layers[1]))
    network = random_network(spec, 1)
    images = DATA.test.images.float()
    spikes = []
    for network.folded in (False, True):
        network(images, lambda index, before, after: spikes.append(before))
    assert (spikes[0] != spikes[1]).float().mean() < 0.005
    assert spikes[1].unique().numel() > 2
    folded = network.spiking_layers()[0].fold()
    assert folded.threshold is not None
    for tensor in folded[:3]:
        assert tensor is not None
        assert torch.equal(tensor, tensor.round())
    assert folded.threshold.min() >= 1


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_quiet_layers_are_silent_on_a_blank_image(neuron: NeuronSpec) -> None:
    network = random_network(small(neuron), 2)
    network.layers[0].norm.bias.data.fill_(2.0)  # type: ignore[union-attr]
    network.folded = True
    spikes = []
    network(torch.zeros(1, 1, 8, 8), lambda index, before, after: spikes.append(before))
    assert not spikes[0].any()
    assert network.loudness() > 0


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
@pytest.mark.parametrize("folded", [False, True])
def test_pooling_potentials_equals_pooling_spikes(neuron: NeuronSpec, folded: bool) -> None:
    network = random_network(small(neuron), 3)
    network.folded = folded
    images = DATA.test.images.float()
    assert torch.equal(network(images), network(images, pool_first=True))


@pytest.mark.parametrize(("size", "p"), [((8, 8), 2), ((7, 9), 2), ((9, 8), 3)])
def test_max_pool(size: tuple[int, int], p: int) -> None:
    x = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected, found = functional.max_pool2d(x, p), max_pool(x, p)
    assert torch.equal(found, expected)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (expected, found)]
    assert torch.equal(*gradients)


def test_max_pool_of_equal_values() -> None:
    x = torch.ones(1, 1, 2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_pool(x, 2).sum(), x)
    assert gradient.tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]


def test_folded_phase_trains_every_parameter() -> None:
    network = random_network(small(MULTI_LEVEL), 4)
    network.folded = True
    functional.cross_entropy(network(DATA.train.images.float()), DATA.train.labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


# ---------------------------------------------------------------------------------------------------- networks


def named(kind: str, task: Task | None = None, **options: Any) -> NetworkSpec:
    return build(kind, kind, options.pop("neuron", {}), task or Task(), options)


@pytest.mark.parametrize(
    ("kind", "task", "options", "parameters", "macs"),
    [
        ("vgg16-wide", Task(), {}, 39.92e6, 338_403_328),
        ("vgg16-wide", Task(classes=100), {}, 40.29e6, 338_771_968),
        ("vgg16-wide", Task(classes=1000, input_shape=(3, 224, 224)), {}, None, 15_470_264_320),
        ("resnet20-wide", Task(), {}, 11.26e6, 215_699_456),
        ("vggsnn", EVENT_CAMERA, {}, 9.27e6, 660_943_872),
        ("vgg16", Task(), {}, 15.25e6, 313.7e6),
        ("resnet18", Task(), {"residual": "spiking"}, 11.17e6, 555e6),
        ("resnet19", Task(), {"residual": "sew"}, 12.7e6, 2285e6),
    ],
)
def test_published_sizes(
    kind: str, task: Task, options: dict[str, Any], parameters: float | None, macs: float
) -> None:
    spec = named(kind, task, **options)
    if parameters is not None:
        assert spec.parameter_count() == pytest.approx(parameters, rel=1e-3)
    assert sum(spec.macs()) == (macs if isinstance(macs, int) else pytest.approx(macs, rel=1e-3))


def test_first_layer_of_paper_2() -> None:
    assert named("vgg16-wide").macs()[0] == 1_769_472
    assert named("vgg16-wide", Task(input_shape=(3, 224, 224))).macs()[0] == 86_704_128


@pytest.mark.parametrize("residual", ["spiking", "sew", "sparse", "ms"])
def test_residual_networks_train(residual: str) -> None:
    torch.manual_seed(0)
    spec = named("resnet18", Task(timesteps=2), residual=residual, width=0.05)
    network = SpikingNetwork(spec)
    images = torch.rand(4, 3, 32, 32) * 255
    functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
    missing = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not missing
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_joins_add_spikes_or_currents() -> None:
    """SEW adds spikes, the barrier keeps their sum within 0..N, and a spiking block fires on the sum of currents."""
    torch.manual_seed(1)
    images = torch.rand(8, 3, 16, 16) * 255
    for residual in ("sew", "sparse", "spiking"):
        spec = named("resnet18", Task(input_shape=(3, 16, 16)), residual=residual, width=0.1)
        network = SpikingNetwork(spec)
        outputs: dict[int, torch.Tensor] = {}
        network(images, lambda index, spikes, _, kept=outputs: kept.__setitem__(index, spikes))
        joins = [index for index, layer in enumerate(spec.layers) if layer.kind == "join"]
        largest_level = max(int(spikes.max()) for spikes in outputs.values())
        if residual == "sew":
            assert not set(joins) & set(outputs)
            continue
        assert set(joins) <= set(outputs) and largest_level <= 4
        if residual == "sparse":
            first, second = spec.sources(joins[0])
            total = outputs[first] + outputs[second]
            assert total.max() > 4
            assert torch.equal(outputs[joins[0]], total.clamp(max=4))


def test_average_pooling_join_is_a_mean() -> None:
    spec = NetworkSpec(
        name="mean",
        input_shape=(1, 4, 4),
        layers=(
            LayerSpec(kind="join", inputs=(INPUT,), average=2, neuron=None),
            LayerSpec(kind="dense", channels=4, norm=False, neuron=None, bits=None),
        ),
    )
    network = SpikingNetwork(spec)
    weight = network.chain()[1].weight
    assert weight is not None
    weight.data = torch.eye(4).reshape(4, 1, 2, 2)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert network(image)[0].tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("alexnet", {}, "network.kind must be one of chain"),
        ("vgg16", {"plan": "3"}, "kind 'vgg16' has no option 'plan'"),
        ("chain", {"plan": "32 q"}, "the word 'q'"),
        ("chain", {"plan": ""}, "names no layer"),
        ("chain", {"plan": "8p 8p 8p 8p 8p 8p"}, "nothing is left of the map"),
        ("resnet18", {"residual": "dense"}, "network.residual must be one of spiking"),
        ("vgg16", {"pooling": "median"}, "network.pooling must be 'max' or 'average'"),
        ("vgg16", {"neuron": {"lanes": 3}}, "network.neuron has no 'lanes'"),
        ("vgg16", {"neuron": {"kind": "spiky"}}, "neuron kind must be one of"),
        ("vgg16", {"bits": 9}, "weights have 2 to 8 bits, not 9"),
    ],
)
def test_impossible_networks(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        named(kind, **options)


def test_descriptions_round_trip() -> None:
    for kind in BUILDERS:
        options = {"plan": "8 8p d16"} if kind == "chain" else {}
        spec = named(kind, **options)
        assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
