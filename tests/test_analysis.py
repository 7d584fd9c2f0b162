"""Analyses: their numbers against a direct computation, their commands, their plots."""

import importlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from support_training import DATA, small
from sw.analysis import activity, common, gradients, levels, quantisation, residuals
from sw.analysis.gradient_watch import GradientWatch, blocks_of
from sw.models import Task
from sw.models.resnet import RESIDUALS, resnet
from sw.models.spec import NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.models.trainable import TransformerNetwork, TransformerSpec
from sw.training.checkpoint import save_checkpoint
from sw.training.recipe import Recipe, make_recipe
from sw.training.trainer import Trainer, evaluate

COMMANDS = ("activity", "gradients", "levels", "quantisation", "residuals")
TASK = Task(classes=4, input_shape=(1, 8, 8), timesteps=2)


def residual_spec(residual: str, barrier: str = "") -> NetworkSpec:
    return resnet(
        residual,
        NeuronSpec(threshold=0.3),
        TASK,
        blocks=(1, 2),
        channels=(4, 6),
        residual=residual,
        barrier=barrier,
    )


def random_network(spec: NetworkSpec) -> SpikingNetwork:
    """Random weights, and batch norm as after some batches."""
    torch.manual_seed(0)
    network = SpikingNetwork(spec)
    with torch.no_grad():
        for _ in range(20):
            network(DATA.train.take(torch.arange(64)).float())
    return network.eval()


def save(path: Path, network: SpikingNetwork) -> Path:
    log = {
        "network": network.spec.to_json(),
        "folded": False,
        "recipe": {"data": {"set": "quadrants"}},
        "data": {"name": "quadrants", "note": ""},
    }
    save_checkpoint(path, network, log)
    return path


@pytest.fixture
def quadrants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "load_described", lambda description, folder: DATA)


# ----------------------------------------------------------------------------------------------------- activity


@pytest.mark.parametrize(
    "neuron",
    [
        NeuronSpec(threshold=0.3),
        NeuronSpec(kind="one-hot", levels=3, normalised=True),
        NeuronSpec(kind="relu"),
    ],
    ids=["multi-level", "normalised", "relu"],
)
def test_activity_equals_the_trainers_figures(neuron: NeuronSpec) -> None:
    """Events and level sums are those of the run log, and the levels' shares follow from the spikes themselves."""
    network = random_network(small(neuron, timesteps=2))
    found, expected = activity.measure(network, DATA.test, batch=50), evaluate(network, DATA.test)
    (layer,) = found["layers"]
    assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=1e-4)
    assert layer["events"] == pytest.approx(expected["spikes"][0], abs=0.005)
    assert layer["level_sum"] == pytest.approx(expected["levels"][0], abs=0.005)
    assert (layer["neurons"], layer["neurons_before_pooling"]) == (4 * 4 * 4, 4 * 8 * 8)
    spikes: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        network(DATA.test.images.float(), lambda _, before, after: spikes.append((before, after)))
    before, after = spikes[0]
    assert layer["events_before_pooling"] * 128 == pytest.approx(int(before.count_nonzero()))
    assert layer["activity"] == pytest.approx(int(after.count_nonzero()) / 128 / 64)
    assert layer["density"] == pytest.approx(float((after != 0).float().mean()))
    if neuron.kind == "relu":
        assert layer["levels"] is None
        return
    counts = Counter(after.flatten().tolist())
    assert len(counts) > 2
    assert {float(k): v for k, v in layer["levels"].items()} == {
        level: count / after.numel() for level, count in counts.items()
    }


def test_activity_in_total() -> None:
    network = random_network(residual_spec("sparse"))
    found = activity.measure(network, DATA.test, 60)
    assert found["images"] == 60
    assert [layer["name"] for layer in found["layers"][:4]] == [
        "0 conv",
        "1 conv",
        "2 conv",
        "3 join",
    ]
    total = found["total"]
    assert total["neurons"] == sum(layer["neurons"] for layer in found["layers"])
    events = sum(layer["activity"] * layer["neurons"] for layer in found["layers"])
    assert total["activity"] == pytest.approx(events / total["neurons"])
    assert total["density"] == pytest.approx(total["activity"] / 2)
    assert found["total_with_sums"] == total
    with pytest.raises(ValueError, match="129 images were asked for; this set has 1 to 128"):
        activity.measure(network, DATA.test, 129)


def test_sums_of_spikes_are_layers() -> None:
    """A spike-element-wise sum travels, although no neuron fires it."""
    network = random_network(residual_spec("sew"))
    found, sums = activity.measure(network, DATA.test), residuals.measure(network, DATA.test)
    bare = [layer for layer in found["layers"] if not layer["fires"]]
    assert [(e["index"], e["events"], e["level_sum"]) for e in bare] == [
        (block["layer"], block["events"], block["level_sum"]) for block in sums
    ]
    assert float(list(bare[2]["levels"])[-1]) == sums[2]["largest"] > 4
    events = sum(evaluate(network, DATA.test)["spikes"])
    assert found["total"]["events"] == pytest.approx(events, abs=0.05)
    events += sum(block["events"] for block in sums)
    assert found["total_with_sums"]["events"] == pytest.approx(events, abs=0.05)


def test_activity_of_a_transformer() -> None:
    spec = TransformerSpec(
        name="t", blocks=1, width=8, classes=4, input_shape=(1, 8, 8), pools=1, timesteps=2
    )
    torch.manual_seed(0)
    network = TransformerNetwork(spec).eval()
    found = activity.measure(network, DATA.test, 20)
    assert [layer["name"] for layer in found["layers"]] == [
        name for name, _ in network.transformer.neurons()
    ]
    for layer in found["layers"]:
        assert set(layer["levels"]) <= {"0", "0.25", "0.5", "1"}
        assert sum(layer["levels"].values()) == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------- residuals


def test_residual_sums() -> None:
    """Of spike-element-wise sums, the levels of both addends; behind a barrier at most N."""
    network = random_network(residual_spec("sew"))
    blocks = residuals.measure(network, DATA.test, batch=50)
    assert [(block["block"], block["layer"], block["neurons"]) for block in blocks] == [
        (1, 3, 256),
        (2, 7, 96),
        (3, 10, 96),
    ]
    sent: dict[int, Tensor] = {}
    with torch.no_grad():
        network(DATA.test.images.float(), lambda i, _, after: sent.update({i: after}))
    first = sent[2] + sent[0]  # the block's second convolution and the stem
    second = sent[5] + sent[6]  # its second convolution and the shortcut's
    third = sent[9] + second
    for block, spikes in zip(blocks, (first, second, third), strict=True):
        assert block["events"] * 128 == pytest.approx(int(spikes.count_nonzero()))
        assert block["level_sum"] * 128 == pytest.approx(float(spikes.sum()))
        assert block["largest"] == float(spikes.max())
    assert blocks[2]["largest"] > 4
    sparse = residuals.measure(random_network(residual_spec("sparse")), DATA.test)
    assert all(0 < block["largest"] <= 4 for block in sparse)
    assert sparse[0]["level_sum"] < blocks[0]["level_sum"]


def test_networks_without_residual_spikes() -> None:
    with pytest.raises(ValueError, match="small has no residual sums; give a network such as"):
        residuals.measure(random_network(small(NeuronSpec())), DATA.test)
    with pytest.raises(ValueError, match="ms adds currents, not spikes"):
        residuals.measure(random_network(residual_spec("ms")), DATA.test)


# ---------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("residual", RESIDUALS)
def test_paths_of_blocks(residual: str) -> None:
    """Both paths of a block start at the layer before it and end in its sum."""
    spec = residual_spec(residual)
    first, second, third = blocks_of(spec)
    for block in (first, second, third):
        assert block.direct[0] == block.residual[0]
        assert spec.sources(block.join)[0] == block.sum[0]
        assert block.direct[1] != block.residual[1]
    assert first.residual[1] == first.join  # an identity
    assert spec.layers[second.residual[1]].kernel == 1
    assert third.residual == (second.join, third.join)


def one_batch(network: SpikingNetwork) -> tuple[GradientWatch, Tensor]:
    """The watch after one backward pass, and the gradient of the first weights."""
    images, labels = DATA.train.images[:64].float(), DATA.train.labels[:64]
    network.zero_grad()
    with GradientWatch(network) as watch:
        functional.cross_entropy(network(images), labels).backward()
    weight = network.chain()[0].weight
    assert weight is not None and weight.grad is not None
    return watch, weight.grad.clone()


@pytest.mark.parametrize("residual", RESIDUALS)
def test_watching_changes_no_gradient(residual: str) -> None:
    network = random_network(residual_spec(residual))
    _, watched = one_batch(network)
    network.zero_grad()
    logits = network(DATA.train.images[:64].float())
    functional.cross_entropy(logits, DATA.train.labels[:64]).backward()
    weight = network.chain()[0].weight
    assert weight is not None and weight.grad is not None
    torch.testing.assert_close(watched, weight.grad)


@pytest.mark.parametrize("surrogate", ["", "sigmoid"])
def test_barriers_and_gradients(surrogate: str) -> None:
    """A straight-through barrier passes all on to both addends, a sigmoid one the upstream times its slope."""
    network = random_network(replace(residual_spec("sparse", surrogate), timesteps=1))
    blocks, kept = blocks_of(network.spec), []

    def keep(_: Any, inputs: tuple[list[Tensor]], output: tuple[Tensor, Tensor]) -> None:
        output[1].retain_grad()
        kept.append(((inputs[0][0] + inputs[0][1]).detach(), output[1]))

    hooks = [network.chain()[block.join].register_forward_hook(keep) for block in blocks]
    watch, _ = one_batch(network)
    for hook in hooks:
        hook.remove()
    for block, (total, output) in zip(blocks, kept, strict=True):
        assert output.grad is not None
        passed = output.grad
        if surrogate:
            bumps = [torch.sigmoid(5 * (total - n)) for n in range(1, 5)]
            passed = passed * sum(5 * s * (1 - s) for s in bumps)
        assert watch.outputs[block.join] == [pytest.approx(float(output.grad.norm()))]
        for source in network.spec.sources(block.join):
            found = watch.edges[source, block.join]
            assert found == [pytest.approx(float(passed.norm()), rel=1e-4)]


def test_gradients_of_both_paths_add_up() -> None:
    """The norms are those of autograd: of what reaches a block's input by either path, and of both together."""
    network = random_network(residual_spec("sew"))
    watch, _ = one_batch(network)
    third = blocks_of(network.spec)[2]
    kept: list[Tensor] = []

    def keep(_: Any, __: Any, output: tuple[Tensor, Tensor]) -> None:
        output[1].retain_grad()
        kept.append(output[1])

    hooks = [network.chain()[i].register_forward_hook(keep) for i in (third.direct[0], third.join)]
    logits = network(DATA.train.images[:64].float())
    functional.cross_entropy(logits, DATA.train.labels[:64]).backward()
    for hook in hooks:
        hook.remove()
    start, end = (tensor.grad for tensor in kept)
    assert start is not None and end is not None
    assert watch.outputs[third.join] == [pytest.approx(float(end.norm()))]
    assert watch.edges[third.residual] == [pytest.approx(float(end.norm()))]
    assert watch.edges[third.direct] == [pytest.approx(float((start - end).norm()), rel=1e-4)]


def residual_recipe(**training: Any) -> Recipe:
    tree = {
        "network": {"kind": "resnet18", "width": 0.0625, "neuron": {"threshold": 0.3}},
        "data": {"set": "quadrants"},
        "training": {"epochs": 1, "batch": 32, **training},
    }
    return make_recipe("tiny", tree)


def test_variants_start_from_the_same_weights() -> None:
    networks = [Trainer(r, DATA).network for r in gradients.variants_of(residual_recipe()).values()]
    states = [dict(network.named_parameters()) for network in networks]
    for name, tensor in states[0].items():
        assert all(torch.equal(tensor, state[name]) for state in states[1:])
    surrogates = {
        layer.neuron.surrogate
        for layer in networks[2].spec.layers
        if layer.neuron is not None and layer.neuron.kind == "barrier"
    }
    assert surrogates == {"sigmoid"}
    with pytest.raises(ValueError, match="the network of x has no residual option"):
        chain = {"kind": "chain", "plan": "4"}
        gradients.variants_of(make_recipe("x", {"network": chain, "data": {"set": "mnist"}}))


@pytest.mark.training
def test_gradients_while_training() -> None:
    """The norms of one step are those of the trainer's own loss and batch; a later one has others."""
    recipe = next(iter(gradients.variants_of(residual_recipe()).values()))
    one, three = (gradients.measure_training(recipe, DATA, steps) for steps in (1, 3))
    trainer = Trainer(recipe, DATA)
    order = torch.randperm(512, generator=torch.Generator().manual_seed(0))[:32]
    trainer.network.train()
    with GradientWatch(common.residual(trainer.network)) as watch:
        logits = trainer.network(DATA.train.take(order).float())
        functional.cross_entropy(logits, DATA.train.labels[order]).backward()
    for found, expected in zip(one, watch.blocks(), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert three != one
    with pytest.raises(ValueError, match=r"--steps must be in 1\.\.16, not 17"):
        gradients.measure_training(recipe, DATA, 17)


# ------------------------------------------------------------------------------------------------- quantisation


@pytest.mark.parametrize(("steps", "size"), [(1, 1), (4, 1), (1, 4), (2, 2), (3, 5)])
def test_transfer_curve_of_levels(steps: int, size: int) -> None:
    """N T + 1 outputs, each from its own share of the range on."""
    found = quantisation.curve(steps, levels=size)
    count = steps * size
    assert found["outputs"] == pytest.approx([k / count for k in range(count + 1)])
    assert found["steps"] == pytest.approx([k / count for k in range(count + 1)], abs=1 / 4096)
    assert found["largest_error"] == pytest.approx(1 / count, abs=1 / 4096)
    assert found["rms_error"] == pytest.approx(1 / count / 3**0.5, rel=1e-2)


def test_transfer_curve_of_lanes() -> None:
    found = quantisation.curve(1, lanes=3)
    assert found["outputs"] == found["steps"] == [0, 0.25, 0.5, 1]
    assert len(quantisation.curve(4, lanes=3)["outputs"]) > 4


# ------------------------------------------------------------------------------------------------------- levels


def row(
    levels: int | None, steps: int, seed: int, accuracy: float, spikes: float
) -> dict[str, Any]:
    neuron = {"kind": "relu"} if levels is None else {"levels": levels}
    recipe = {"network": {"neuron": neuron, "timesteps": steps}, "training": {"seed": seed}}
    return {
        "key": f"{levels}-{steps}-{seed}",
        "name": "net" if levels else "net-relu",
        "settings": {"network.neuron.levels": str(levels), "training.seed": str(seed)},
        "recipe": recipe,
        "timesteps": steps,
        "neuron": "relu" if levels is None else "multi-level",
        "levels": levels,
        "neurons": [60, 40],
        "test": {"accuracy": accuracy, "spikes": [spikes, 10.0]},
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    return path


def test_levels_from_a_sweep(tmp_path: Path) -> None:
    rows = [row(n, t, s, 90 + n + t + s, 20.0 * t) for n in (1, 2) for t in (1, 4) for s in (0, 2)]
    rows += [row(None, 1, 0, 97.0, 80.0), {**row(4, 1, 0, 0, 0), "error": "out of memory"}]
    path = write_rows(tmp_path / "results.jsonl", rows)
    assert levels.main([str(path), "--output", str(tmp_path)]) == 0
    entries = json.loads((tmp_path / "levels.json").read_text())["entries"]
    assert [(e["levels"], e["timesteps"], e["runs"]) for e in entries] == [
        (1, 1, 2),
        (1, 4, 2),
        (2, 1, 2),
        (2, 4, 2),
        (None, 1, 1),
    ]
    assert entries[1]["accuracy"]["mean"] == 96
    assert entries[1]["accuracy"]["standard_deviation"] == pytest.approx(2**0.5, abs=1e-4)
    assert entries[1]["activity"]["mean"] == pytest.approx(0.9)
    drawn = levels.lines(entries, "levels")
    assert {name: [e["levels"] for e in line] for name, line in drawn.items()} == {
        "net, T = 1": [1, 2],
        "net, T = 4": [1, 2],
    }
    figure = levels.plot(entries)
    upper = figure.axes[0]
    assert upper.get_xlabel() == "levels N" and upper.get_ylabel() == "test accuracy (%)"
    (points, _, bars) = upper.containers[0]
    assert list(points.get_ydata()) == [93, 94]
    bar = bars[0].get_segments()[0]
    assert bar[1][1] - bar[0][1] == pytest.approx(2 * 2**0.5, abs=1e-3)
    assert figure.axes[1].get_xlabel() == "timesteps T"


# ------------------------------------------------------------------------------------------------- command line


@pytest.mark.usefixtures("quadrants")
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every analysis writes its numbers, and a plot that is the same bytes each time."""
    sew = save(tmp_path / "sew.pt", random_network(residual_spec("sew")))
    sparse = save(tmp_path / "sparse.pt", random_network(residual_spec("sparse")))
    results = write_rows(tmp_path / "results.jsonl", [row(1, 1, 0, 90.0, 20.0)])
    options: dict[str, list[str]] = {
        "activity": [str(sew), str(sparse), "--images", "50"],
        "residuals": [str(sew), str(sparse), "--images", "50"],
        "gradients": [str(sparse), "--batches", "2", "--batch", "16"],
        "levels": [str(results)],
        "quantisation": ["--levels", "1,4", "--lanes", "1,3"],
    }
    assert tuple(sorted(options)) == COMMANDS
    for name, arguments in options.items():
        module = importlib.import_module(f"sw.analysis.{name}")
        folders = (tmp_path / "a", tmp_path / "b")
        for folder in folders:
            assert module.main([*arguments, "--output", str(folder)]) == 0
        shown = capsys.readouterr().out
        assert f"{name}.json and" in shown and f"{name}.svg" in shown
        for suffix in ("json", "svg"):
            first, second = ((folder / f"{name}.{suffix}").read_bytes() for folder in folders)
            assert first == second and len(first) > 100
        assert json.loads((folders[0] / f"{name}.json").read_text())
    content = json.loads((tmp_path / "a" / "activity.json").read_text())["results"]
    assert [result["checkpoint"] for result in content] == ["sew", "sparse"]


@pytest.mark.training
@pytest.mark.usefixtures("quadrants")
def test_gradients_of_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        '[network]\nkind = "resnet18"\nwidth = 0.0625\nneuron = { threshold = 0.3 }\n'
        '[data]\nset = "quadrants"\n[training]\nepochs = 9\nbatch = 32\n'
    )
    options = ["--set", "training.epochs=1", "--batches", "2", "--batch", "32", "--steps", "2"]
    assert gradients.main([str(recipe), *options, "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "gradients.json").read_text())["results"]
    assert [(result["name"], result["phase"]) for result in results] == [
        (name, phase) for phase in ("at the start", "first 2 steps") for name in gradients.VARIANTS
    ]
    for result in results:
        assert [block["block"] for block in result["blocks"]] == list(range(1, 9))
        for block in result["blocks"]:
            passed = block["sum"] / block["output"]
            assert (passed == pytest.approx(1)) is (result["name"] != "Sparse, sigmoid")


@pytest.mark.usefixtures("quadrants")
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("activity", ["nothing.pt"], "nothing.pt does not exist"),
        ("activity", ["small.pt", "small.pt"], "small.pt is given twice"),
        ("activity", ["small.pt", "--images", "0"], "0 images were asked for"),
        ("activity", ["small.pt", "--output", "small.pt/x"], "cannot be written (Not a directory)"),
        ("residuals", ["small.pt"], "small has no residual sums"),
        ("gradients", ["small.pt"], "small has no residual sums"),
        ("gradients", ["small.pt", "--steps", "3"], "small.pt is a checkpoint, for which"),
        ("gradients", ["sparse.pt", "--batch", "0"], "--batch must be at least 1, not 0"),
        ("gradients", ["sparse.pt", "--batch", "600"], "8 batches of 600 images were asked for"),
        ("gradients", ["nothing"], "there is no recipe 'nothing'"),
        ("gradients", ["mnist-perceptron"], "the network of mnist-perceptron has no residual"),
        ("levels", ["none.jsonl"], "none.jsonl does not exist"),
        ("levels", ["empty.jsonl"], "empty.jsonl has no finished run"),
        ("quantisation", ["--levels", "4"], "'4' is not T,N"),
        ("quantisation", ["--levels", "1,65"], "'1,65': N must be a number of 1..64"),
        ("quantisation", ["--lanes", "1,x"], "'1,x': S must be a number of 1..8"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("small.pt"), random_network(small(NeuronSpec())))
    if "sparse.pt" in arguments:
        save(Path("sparse.pt"), random_network(residual_spec("sparse")))
    Path("empty.jsonl").touch()
    assert importlib.import_module(f"sw.analysis.{name}").main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_colours_are_distinct() -> None:
    styles = [common.style(index) for index in range(len(common.COLOURS))]
    assert len({style["color"] for style in styles}) == len({s["marker"] for s in styles}) == 7
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in common.COLOURS)


def test_shipped_images_are_the_default() -> None:
    """Of MNIST, the test images that come with the project; of others, those of the folder."""
    log = {"recipe": {"data": {"set": "mnist", "validation": 5000}}}
    assert len(common.load_test(log, None)) == 1000
    with pytest.raises(ValueError, match="nowhere"):
        common.load_test(log, Path("nowhere"))


def test_names_of_checkpoints(tmp_path: Path) -> None:
    network = random_network(small(NeuronSpec()))
    paths = [save(tmp_path / name / "net.pt", network) for name in ("a", "b")]
    assert [name for name, _, _ in common.load_networks(paths)] == [str(path) for path in paths]
    assert [name for name, _, _ in common.load_networks(paths[:1])] == ["net"]
