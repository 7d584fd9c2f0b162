"""Networks, graphs and an independent reader for the tests of sw.interchange."""

from pathlib import Path

import nir
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.frames import frames_of
from sw.interchange.convention import Convention
from sw.models.spec import LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.network import Network

RELU = NeuronSpec(kind="relu")


def convolutional(
    neuron: NeuronSpec = RELU, bits: int | None = None, average: int = 1, **options
) -> SpikingNetwork:
    """conv 6, pool, conv 8 with stride, dense 10, dense 4 on 2 x 8 x 8."""
    torch.manual_seed(0)
    quiet = {"bits": bits, "neuron": neuron, "quiet": False}
    layers = (
        LayerSpec(kind="conv", channels=6, pool=2, **quiet),
        LayerSpec(kind="conv", channels=8, stride=2, **quiet),
        LayerSpec(kind="dense", channels=10, average=average, **quiet),
        LayerSpec(kind="dense", channels=4, bits=bits, neuron=None, norm=False, bias=True),
    )
    spec = NetworkSpec(name="small", layers=layers, input_shape=(2, 8, 8), **options)
    return settled(SpikingNetwork(spec))


def settled(module: nn.Module) -> nn.Module:
    """Random batch norm, in evaluation mode."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.5)
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return module.eval()


def write(path: Path, *nodes: nir.NIRNode, **options) -> Path:
    nir.write(path, nir.NIRGraph.from_list(*nodes, type_check=False, **options))
    return path


def threshold(value: float, *shape: int) -> nir.IF:
    return nir.IF(r=np.ones(shape), v_threshold=np.full(shape, value))


def affine(weight, bias=0.0) -> nir.Affine:
    weight = np.asarray(weight, np.float64)
    return nir.Affine(weight, np.broadcast_to(np.asarray(bias, np.float64), len(weight)).copy())


def entry(*shape: int) -> nir.Input:
    return nir.Input({"input": np.array(shape)})


CHOSEN = Convention(
    levels=1, boundary="open", reset="hard", timesteps=3, input_levels=1, last="count", dt=1e-3
)


NUMBERS = ("weight", "bias", "r", "tau", "v_leak", "v_threshold")


def run_stock(
    path: Path, frames: np.ndarray, *, strict: bool = True, dt: float = 1e-4
) -> np.ndarray:
    """What a program does that knows NIR and nothing of ours: the outputs of all timesteps, added up.

    Binary neurons, above the threshold (or at it, if not strict), back to zero.  frames: (batch, step, C, H, W).
    """
    graph = nir.read(path, type_check=False)
    after = dict(graph.edges)
    state: dict[str, Tensor | float] = {}
    total: Tensor | float = 0.0
    for step in range(frames.shape[1]):
        x, name = torch.from_numpy(frames[:, step]).double(), "input"
        while name in after:
            name = after[name]
            node = graph.nodes[name]
            values = {
                k: torch.from_numpy(np.asarray(v)).double()
                for k, v in vars(node).items()
                if k in NUMBERS
            }
            match node:
                case nir.Conv2d():
                    x = functional.conv2d(
                        x, values["weight"], values["bias"], tuple(node.stride), tuple(node.padding)
                    )
                case nir.SumPool2d():
                    x = functional.avg_pool2d(x, tuple(node.kernel_size), divisor_override=1)
                case nir.Flatten():
                    x = x.flatten(1)
                case nir.Affine():
                    x = x @ values["weight"].T + values["bias"]
                case nir.IF() | nir.LIF():
                    v = state.get(name, 0.0)
                    if isinstance(node, nir.LIF):
                        u = v + dt / values["tau"] * (values["v_leak"] - v + values["r"] * x)
                    else:
                        u = v + values["r"] * x
                    theta = values["v_threshold"]
                    x = ((u > theta) if strict else (u >= theta)).double()
                    state[name] = torch.where(x > 0, 0.0, u)
                case _:
                    assert isinstance(node, nir.Output)
        total = total + x
    return total.numpy()


def values_of(net: Network, frames: np.ndarray) -> np.ndarray:
    return net.input_coding.values[frames_of(net, frames)].astype(np.float64)
