"""Weights of other programs: by name, renamed, in order; and files that are refused."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from exchange import RELU, convolutional, settled
from sw.interchange.weights import Pair, WeightsError, load_weights, save_weights
from sw.models.resnet import resnet
from sw.models.small import Task
from sw.models.spec import NeuronSpec
from sw.models.spiking import SpikingNetwork


def foreign_vgg() -> nn.Sequential:
    """The same architecture in plain PyTorch; convolutions have a bias before batch norm."""
    return settled(
        nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 10, bias=False), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4),
        )
    )  # fmt: skip


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_come_back(tmp_path: Path, suffix: str) -> None:
    source = convolutional(NeuronSpec(threshold=0.7)).to(memory_format=torch.channels_last)
    path = tmp_path / "folder" / f"weights.{suffix}"
    if suffix == "pt":
        path.parent.mkdir()
        torch.save(source.state_dict(), path)
    else:
        save_weights(source, path, {"data_set": "CIFAR-10"})
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt", "data_set": "CIFAR-10"}
    target = convolutional(NeuronSpec(threshold=0.2))
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    pairs = load_weights(target, path)
    assert pairs == [Pair(name, name) for name in source.state_dict()]
    assert unchanged(target, source.state_dict())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_prefixes_of_wrappers_do_not_matter(tmp_path: Path) -> None:
    source = convolutional()
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    target = nn.Module()
    target._orig_mod = convolutional()
    load_weights(target, tmp_path / "wrapped.pt")
    assert unchanged(target._orig_mod, source.state_dict())
    save_weights(target, tmp_path / "plain.safetensors")
    with safe_open(tmp_path / "plain.safetensors", "pt") as file:
        assert set(file.keys()) == set(source.state_dict())
    torch.save({**wrapped, "layers.0.weight": torch.zeros(1)}, tmp_path / "twice.pt")
    with pytest.raises(
        WeightsError, match=r"has 'layers.0.weight' twice, with and without the prefix"
    ):
        load_weights(target, tmp_path / "twice.pt")


def test_every_tensor_that_does_not_fit_is_in_one_sentence(tmp_path: Path) -> None:
    target = convolutional()
    tensors = state_of(target)
    for name in [name for name in tensors if name.startswith("layers.1.norm")]:
        tensors[f"features.{name}"] = tensors.pop(name)
    tensors["layers.3.weight"] = torch.zeros(5, 10, 1, 1)
    path, before = tmp_path / "other.pt", state_of(target)
    torch.save(tensors, path)
    with pytest.raises(WeightsError) as caught:
        load_weights(target, path)
    assert str(caught.value) == (
        f"{path} does not fit the network (5 missing: layers.1.norm.weight, layers.1.norm.bias, "
        "layers.1.norm.running_mean and 2 more; 5 unexpected: features.layers.1.norm.weight, "
        "features.layers.1.norm.bias, features.layers.1.norm.running_mean and 2 more; 1 of another shape: "
        "layers.3.weight 5x10x1x1 instead of 4x10x1x1); pass rename for other names, or by_order for the same "
        "architecture under other names"
    )
    assert unchanged(target, before)


def test_rename(tmp_path: Path) -> None:
    """Whole names and prefixes; the longest counts."""
    source, target = convolutional(), convolutional()
    with torch.no_grad():
        source.layers[3].bias.fill_(3.0)
    tensors = {f"net.{name.removeprefix('layers.')}": t for name, t in source.state_dict().items()}
    tensors["net.offset"] = tensors.pop("net.3.bias")
    path = tmp_path / "renamed.pt"
    torch.save(tensors, path)
    pairs = load_weights(target, path, rename={"net.": "layers.", "net.offset": "layers.3.bias"})
    assert Pair("layers.3.bias", "layers.3.bias") in pairs
    assert unchanged(target, source.state_dict())
    for rename, message in (
        ({"net.": "layers.", "nett.": "layers."}, "has no nett. to rename; correct rename"),
        ({"net.0.weight": "x", "net.1.weight": "x"}, "rename leads to 'x' twice"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_weights(target, path, rename=rename)


@torch.no_grad()
def test_by_order_takes_over_another_programs_network(tmp_path: Path) -> None:
    """A plain PyTorch network and ours then have the same logits, biases before batch norm included."""
    source, target = foreign_vgg(), convolutional()
    path = tmp_path / "vgg.pth"
    torch.save(source.state_dict(), path)
    pairs = load_weights(target, path, by_order=True)
    assert pairs[:3] == [
        Pair("0.weight", "layers.0.weight"),
        Pair("1.weight", "layers.0.norm.weight"),
        Pair("1.bias", "layers.0.norm.bias"),
    ]
    pixels = torch.randint(0, 256, (5, 2, 8, 8)).float()
    assert torch.allclose(target(pixels), source(pixels / 255), atol=1e-5)


class Basic(nn.Module):
    """A basic block with the names of the usual ResNets."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + shortcut)


@torch.no_grad()
def test_by_order_takes_over_a_residual_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    parts = OrderedDict(
        conv1=nn.Conv2d(2, 4, 3, 1, 1, bias=False),
        bn1=nn.BatchNorm2d(4),
        relu=nn.ReLU(),
        layer1=nn.Sequential(Basic(4, 4, 1), Basic(4, 4, 1)),
        layer2=nn.Sequential(Basic(4, 6, 2)),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(6, 3),
    )
    source = settled(nn.Sequential(parts))
    task = Task(classes=3, input_shape=(2, 8, 8))
    spec = resnet("r", RELU, task, blocks=(2, 1), channels=(4, 6), residual="spiking")
    target = settled(SpikingNetwork(spec))
    torch.save(source.state_dict(), tmp_path / "resnet.pth")
    pairs = load_weights(target, tmp_path / "resnet.pth", by_order=True)
    assert pairs[-1].source == "fc.bias"
    pixels = torch.randint(0, 256, (5, 2, 8, 8)).float()
    assert torch.allclose(target(pixels), source(pixels / 255), atol=1e-5)


def test_by_order_refuses_another_architecture(tmp_path: Path) -> None:
    target, path = convolutional(), tmp_path / "other.pth"
    before = state_of(target)

    def refusal(source: nn.Module) -> str:
        torch.save(source.state_dict(), path)
        with pytest.raises(WeightsError) as caught:
            load_weights(target, path, by_order=True)
        assert unchanged(target, before)
        return str(caught.value)

    assert refusal(nn.Sequential(nn.Conv2d(2, 6, 3))) == (
        f"{path} has 1 layers with weights or batch norm, the network 7; by_order needs the same architecture"
    )
    source = foreign_vgg()
    source[0] = nn.Conv2d(2, 6, 5)
    assert refusal(source) == (
        f"{path}: 0.weight 6x2x5x5 does not fit the network's layers.0.weight 6x2x3x3; by_order needs the same "
        "architecture"
    )
    source = foreign_vgg()
    source[11] = nn.Linear(10, 4, bias=False)
    assert refusal(source) == (
        f"{path}: layer '11' has weight where the network's 'layers.3' has weight, bias; by_order needs the same "
        "architecture"
    )


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    target = convolutional()
    before = state_of(target)

    def refusal(path: Path, **options) -> str:
        with pytest.raises(WeightsError) as caught:
            load_weights(target, path, **options)
        assert unchanged(target, before)
        return str(caught.value).removeprefix(str(path)).strip()

    assert refusal(tmp_path / "none.pt").startswith("does not exist")
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"\x00\x01garbage" * 9)
    assert refusal(garbage) == (
        "is neither a safetensors file nor a PyTorch state dict, or is damaged"
    )
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"\x00\x01garbage" * 9)
    assert refusal(damaged).startswith("is damaged, or holds more than tensors")
    torch.save(before, damaged)
    damaged.write_bytes(damaged.read_bytes()[:-900])
    assert "damaged" in refusal(damaged)
    code = tmp_path / "code.pt"
    torch.save({"weights": Path("object")}, code)
    assert refusal(code) == (
        "is damaged, or holds more than tensors and could run code; save its state_dict() alone"
    )
    nested = tmp_path / "nested.pt"
    torch.save({"epoch": 3, "model": before}, nested)
    assert refusal(nested) == (
        "is not a state dict itself; pass the entry that is one as key: it has 'epoch', 'model'"
    )
    assert refusal(nested, key="net") == "has no entry 'net'; it has 'epoch', 'model'"
    assert len(load_weights(target, nested, key="model")) == len(before)
    numbers = tmp_path / "numbers.pt"
    torch.save([1, 2], numbers)
    assert refusal(numbers) == "holds list, not named tensors"
    broken = tmp_path / "broken.pt"
    torch.save({**before, "layers.3.bias": torch.full((4,), torch.nan)}, broken)
    assert refusal(broken) == "has numbers in 'layers.3.bias' that are not finite; save it again"
    tensors = tmp_path / "tensors.safetensors"
    save_weights(target, tensors)
    assert "alphabetical order" in refusal(tensors, by_order=True)
