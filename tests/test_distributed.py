"""Several processes train as one does: the same losses from the same batches, up to rounding."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.models.batch_norm import batch_norm
from sw.training.distributed import VARIABLES, Processes

STEPS, BATCH = 6, 8
ROOT = Path(__file__).resolve().parent.parent


class Network(nn.Module):
    """Convolution, batch norm, a neuron of N = 4 levels with a straight-through gradient, readout; float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.weight = nn.Parameter(torch.randn(6, 2, 3, 3, dtype=torch.float64) / 4)
        self.norm = nn.BatchNorm2d(6, dtype=torch.float64)
        self.threshold = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))
        self.readout = nn.Linear(6 * 25, 3, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        norm = self.norm
        current = batch_norm(
            functional.conv2d(images, self.weight, padding=1),
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            training=self.training,
        )
        ratio = (current / self.threshold).clamp(0, 4)
        levels = ratio + (ratio.floor() - ratio).detach()
        return self.readout(levels.flatten(1))


def train(processes: Processes) -> dict[str, Any]:
    """Some steps of SGD on the same random batches everywhere; the losses of the whole batches and the final state."""
    network = Network()
    model = processes.wrap(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(7)
    losses = []
    for _ in range(STEPS):
        # The offset of the second half makes statistics of halves differ much from those of the whole.
        images = torch.randn(BATCH, 2, 5, 5, generator=generator, dtype=torch.float64)
        images[BATCH // 2 :] += 2
        labels = torch.randint(0, 3, (BATCH,), generator=generator)
        own = processes.share(BATCH)
        loss = functional.cross_entropy(model(images[own]), labels[own])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total, count = processes.sum([float(loss.detach()) * len(labels[own]), len(labels[own])])
        assert count == BATCH
        losses.append(total / count)
    state = {name: value.tolist() for name, value in network.state_dict().items()}
    return {"count": processes.count, "losses": losses, "state": state}


def normalise_uneven_parts(processes: Processes) -> dict[str, list[Any]]:
    """Batch norm of 2 and of 5 out of 7 images: this process's part of the results and of the gradients."""
    result: dict[str, list[Any]] = {}
    part = slice(0, 2) if processes.is_first else slice(2, 7)
    for name, images, grad, affine in uneven_batches():
        x = images[part].clone().requires_grad_()
        weight, bias, mean, var = parameters(affine)
        y = batch_norm(x, mean, var, weight, bias, training=True, momentum=0.3, eps=1e-3)
        assert y.dtype == x.dtype
        y.backward(grad[part])
        assert x.grad is not None and x.grad.dtype == x.dtype
        own = [] if weight is None or bias is None else [weight.grad, bias.grad]
        result[name] = [t.tolist() for t in (y.detach(), x.grad, mean, var, *own)]
    return result


def uneven_batches() -> list[tuple[str, Tensor, Tensor, bool]]:
    generator = torch.Generator().manual_seed(9)
    images = (
        torch.randn(7, 3, 2, 2, generator=generator) * 3 + 100
    )  # a mean far above the deviation
    grad = torch.randn(7, 3, 2, 2, generator=generator)
    small = (images - 100).bfloat16()
    return [
        ("affine", images, grad, True),
        ("plain", images, grad, False),
        ("bfloat16", small, grad.bfloat16(), True),
    ]


def parameters(affine: bool) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    mean, var = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    if not affine:
        return None, None, mean, var
    weight = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    return weight, torch.tensor([0.0, 1.0, -1.0], requires_grad=True), mean, var


# ------------------------------------------------------------------------------------------------- two processes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes that torchrun started report."""
    folder = tmp_path_factory.mktemp("pair")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr"]
    command = [*torchrun, "127.0.0.1", "--nproc-per-node", "2", __file__, str(folder)]
    run = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_have_the_loss_curve_of_one(pair: list[dict[str, Any]]) -> None:
    alone = train(Processes())
    assert len(alone["losses"]) == STEPS and alone["losses"][-1] != alone["losses"][0]
    for both in pair:
        assert both["training"]["count"] == 2
        assert both["training"]["losses"] == pytest.approx(alone["losses"], abs=1e-9)
        for name, value in alone["state"].items():
            torch.testing.assert_close(
                torch.tensor(both["training"]["state"][name]),
                torch.tensor(value),
                atol=1e-9,
                rtol=0,
            )
    assert pair[0]["training"] == pair[1]["training"]  # the two stay alike bit for bit


def test_statistics_of_halves_would_not_do() -> None:
    """That the curves agree is the doing of the synchronised statistics: without them the first loss differs."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(BATCH, 2, 5, 5, generator=generator, dtype=torch.float64)
    images[BATCH // 2 :] += 2
    whole, network = Network()(images), Network()
    halves = torch.cat([network(half) for half in images.split(BATCH // 2)])
    assert float((whole - halves).detach().abs().max()) > 0.1


def test_batch_norm_of_uneven_parts(pair: list[dict[str, Any]]) -> None:
    for name, images, grad, affine in uneven_batches():
        x = images.float().clone().requires_grad_()
        weight, bias, mean, var = parameters(affine)
        y = functional.batch_norm(x, mean, var, weight, bias, True, 0.3, 1e-3)
        y.backward(grad.float())
        assert x.grad is not None
        first, second = (entry["norm"][name] for entry in pair)
        rounding = (
            {"rtol": 1e-2, "atol": 2e-2} if name == "bfloat16" else {"rtol": 1e-4, "atol": 1e-5}
        )
        for index, expected in enumerate((y.detach(), x.grad)):
            found = torch.tensor(first[index] + second[index])
            torch.testing.assert_close(found, expected, **rounding)
        for index, expected in enumerate((mean, var), 2):
            assert first[index] == second[index]
            torch.testing.assert_close(torch.tensor(first[index]), expected, rtol=1e-4, atol=1e-5)
        if weight is not None and bias is not None:
            for index, expected in enumerate((weight.grad, bias.grad), 4):
                found = torch.tensor(first[index]) + torch.tensor(second[index])
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


# -------------------------------------------------------------------------------------------------- one process


def test_one_process_has_torchs_batch_norm() -> None:
    _, images, _, affine = uneven_batches()[0]
    for training in (True, False):
        weight, bias, mean, var = parameters(affine)
        found = batch_norm(images, mean, var, weight, bias, training=training)
        other = parameters(affine)
        expected = functional.batch_norm(images, other[2], other[3], weight, bias, training)
        assert torch.equal(found, expected)
        assert torch.equal(mean, other[2]) and torch.equal(var, other[3])


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that torchrun did not make."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_torchrun_there_is_one_process(bare: pytest.MonkeyPatch) -> None:
    with Processes.start() as processes:
        assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
        assert processes.device == torch.device("cpu")
        assert processes.share(7) == slice(0, 7)
        assert processes.sum([1, 2.5]) == [1.0, 2.5]
        module = nn.Linear(2, 2)
        assert processes.wrap(module) is module
        assert not torch.distributed.is_initialized()


def test_shares_are_equal_and_cover_the_batch() -> None:
    shares = [Processes(rank, 4).share(12) for rank in range(4)]
    assert [i for share in shares for i in range(12)[share]] == list(range(12))
    assert {len(range(12)[share]) for share in shares} == {3}
    with pytest.raises(ValueError, match="a batch of 14 does not divide into 4 processes; use 12"):
        Processes(1, 4).share(14)
    with pytest.raises(ValueError, match="a batch of 3 does not divide into 4 processes; use 4"):
        Processes(1, 4).share(3)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE is set, but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not",
        ),
        ({"RANK": "2"}, "RANK 2 is not below WORLD_SIZE 2; start the processes with torchrun"),
        ({"RANK": "one"}, "RANK is 'one', not a number; start the processes with torchrun"),
    ],
)
def test_other_environments_are_refused(
    bare: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    whole = dict(zip(VARIABLES, ("0", "2", "0", "127.0.0.1", "29500"), strict=True))
    for name, value in (variables if "WORLD_SIZE" in variables else {**whole, **variables}).items():
        bare.setenv(name, value)
    with pytest.raises(ValueError, match=sentence):
        Processes.start()


def test_devices_that_are_not_there(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or 'auto', not 'tpu'"):
        Processes.start("tpu")
    bare.setattr(torch.cuda, "device_count", lambda: 0)
    assert Processes.start("auto").device == torch.device("cpu")
    with pytest.raises(ValueError, match="the device 'cuda' is not there; use 'cpu'"):
        Processes.start("cuda")
    bare.setattr(torch.cuda, "device_count", lambda: 2)
    values = ("2", "3", "2", "127.0.0.1", "29500")
    for name, value in zip(VARIABLES, values, strict=True):
        bare.setenv(name, value)
    with pytest.raises(ValueError, match="no GPU of its own, there are 2; start torchrun with"):
        Processes.start("cuda")


if __name__ == "__main__":
    warnings.simplefilter("error")
    with Processes.start() as own_processes:
        report = {
            "training": train(own_processes),
            "norm": normalise_uneven_parts(own_processes),
        }
        path = Path(sys.argv[1]) / f"{own_processes.rank}.json"
        path.write_text(json.dumps(report), encoding="utf-8")
    os._exit(0)  # threads of gloo that still end now and then abort the interpreter's own exit
