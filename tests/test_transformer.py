"""The Spike-driven Transformer: published sizes, an independent evaluation, gradients, and the observer."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sw.models.transformer import (
    Neurons,
    SpikeDrivenTransformer,
    macs,
    neurons,
    transformer_2_512,
    transformer_8_512,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "mlif-vectors.json").read_text())
KINDS = ("C", "D", "multi-level", "relu")


def tiny(
    kind: str = "C", *, timesteps: int = 1, blocks: int = 1, **options
) -> SpikeDrivenTransformer:
    """Width 16, 16 x 16 images; the weights scaled up so that neurons fire from the first image on."""
    torch.manual_seed(0)
    given = {"classes": 5, "input_shape": (3, 16, 16), **options}
    model = SpikeDrivenTransformer(blocks, 16, neurons(kind), timesteps=timesteps, **given)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.uniform_(module.bias, -0.5, 1.0)
    return model


def random_images(*shape: int) -> Tensor:
    """Noise of random colour, so that means over a map differ, too."""
    return torch.randn(*shape, 3, 16, 16) + 2 * torch.randn(*shape, 3, 1, 1)


def settled(model: SpikeDrivenTransformer) -> SpikeDrivenTransformer:
    """In evaluation mode, with the batch statistics of a few random images."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches
    for _ in range(10):
        model(random_images(8))
    return model.eval()


# ----------------------------------------------------------------------------------------------- published sizes


def test_transformer_2_512_has_the_published_size() -> None:
    """10.23 M parameters and 1,234,899,968 MACs a timestep, 1,769,472 of them in the first layer."""
    model = transformer_2_512(neurons("C"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert round(trained / 1e6, 2) == 10.23
    counts = macs(model)
    assert counts[0] == ("embedding.convs.0.conv", 1_769_472)
    assert sum(count for _, count in counts) == 1_234_899_968
    assert dict(counts)["perceptron.1.expand.conv"] == 8 * 8 * 512 * 2048
    assert counts[-1] == ("head", 5120)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_transformer_8_512_pools_every_convolution() -> None:
    """224 x 224 pixels become 14 x 14 tokens."""
    counts = dict(macs(transformer_8_512(neurons("D"))))
    sizes = {"0": 224 * 224 * 3 * 64, "1": 112 * 112 * 64 * 128, "2": 56 * 56 * 128 * 256}
    for name, size in sizes.items():
        assert counts[f"embedding.convs.{name}.conv"] == 9 * size
    assert counts["embedding.position.conv"] == 9 * 14 * 14 * 512 * 512
    assert counts["attention.7.key.conv"] == 14 * 14 * 512 * 512
    assert counts["head"] == 512_000


def test_macs_do_not_depend_on_the_timesteps() -> None:
    assert macs(tiny(timesteps=3)) == macs(tiny())


# ------------------------------------------------------------------------------------------------------ neurons


@pytest.mark.parametrize("run", VECTORS["sdt"]["runs"], ids=lambda r: f"{r['theta']}-{r['S']}")
def test_variant_c_has_the_pinned_spikes(run: dict) -> None:
    neuron = neurons("C", run["S"]).build(run["theta"])
    drive = torch.tensor(VECTORS["sdt"]["x"])
    assert neuron(drive).tolist() == run["O"]


@pytest.mark.parametrize(
    ("kind", "levels", "expected"),
    [
        ("C", 3, [0, 0.25, 0.5, 1]),  # fires above, not at, a threshold
        ("D", 3, [0.25, 0.5, 1, 1]),
        ("multi-level", 4, [1, 2, 4, 4]),
        ("relu", 0, [0.5, 1, 2, 4]),
    ],
)
def test_levels_of_every_kind(kind: str, levels: int, expected: list[float]) -> None:
    """Currents of 1/4, 1/2, 1 and 2 thresholds of one-hot lanes that decay their input by half."""
    assert neurons(kind, levels).build(1.0)(torch.tensor([[0.5, 1, 2, 4]]))[0].tolist() == expected


def test_fixed_and_learned_thresholds() -> None:
    assert not any(p.requires_grad for p in neurons("C").build(1.0).parameters())
    assert all(p.requires_grad for p in neurons("multi-level").build(1.0).parameters())
    assert all(p.requires_grad for p in neurons("C", learn_threshold=True).build(1.0).parameters())


# ------------------------------------------------------------------------------------- an independent evaluation


def evaluate(model: SpikeDrivenTransformer, image: Tensor) -> Tensor:
    """Logits of one image (C, H, W) at one timestep from the state dict: tokens as a list, plain loops over them.

    Variant C with three lanes, from its definition; two poolings.
    """
    state = model.state_dict()

    def fire(x: Tensor, theta: float = 1.0) -> Tensor:
        u = x / 2
        return sum(
            (u > theta * w).to(x.dtype) * step for w, step in ((0.25, 0.25), (0.5, 0.25), (1, 0.5))
        )

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, gain, shift = (
            state[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = x.movedim(0, -1)
        return (gain * (x - mean) / torch.sqrt(variance + 1e-5) + shift).movedim(-1, 0)

    def conv(x: Tensor, name: str) -> Tensor:
        return norm(functional.conv2d(x, state[f"{name}.conv.weight"], padding=1), name)

    def pool(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 3, 2, 1)

    def dense(tokens: list[Tensor], name: str) -> list[Tensor]:
        weight = state[f"{name}.conv.weight"][:, :, 0, 0]
        bias = state.get(f"{name}.conv.bias", torch.zeros(len(weight)))
        return [norm(weight @ token + bias, name) for token in tokens]

    x = fire(conv(image, "embedding.convs.0"))
    x = fire(conv(x, "embedding.convs.1"))
    x = pool(fire(conv(x, "embedding.convs.2")))
    x = pool(conv(x, "embedding.convs.3"))
    x = x + conv(fire(x), "embedding.position")
    tokens = list(x.flatten(1).T)
    for block in range(len(model.attention)):
        spikes = [fire(t) for t in tokens]
        q, k, v = (
            [fire(t) for t in dense(spikes, f"attention.{block}.{name}")]
            for name in ("query", "key", "value")
        )
        gate = torch.zeros(len(q[0]))
        for key, value in zip(k, v, strict=True):
            gate = gate + key * value
        gate = fire(gate, 0.5)
        update = dense([query * gate for query in q], f"attention.{block}.projection")
        tokens = [t + d for t, d in zip(tokens, update, strict=True)]
        hidden = dense([fire(t) for t in tokens], f"perceptron.{block}.expand")
        update = dense([fire(t) for t in hidden], f"perceptron.{block}.contract")
        tokens = [t + d for t, d in zip(tokens, update, strict=True)]
    mean = torch.stack(tokens).mean(0)
    return state["head.weight"] @ fire(mean) + state["head.bias"]


@torch.no_grad()
def test_equals_an_independent_evaluation() -> None:
    model = settled(tiny(blocks=2)).double()
    images = random_images(6).double()
    expected = torch.stack([evaluate(model, image) for image in images])
    assert torch.allclose(model(images), expected, atol=1e-9)
    assert len(expected.unique(dim=0)) > 1, "images without effect prove nothing"


@torch.no_grad()
def test_static_images_equal_recordings_of_them() -> None:
    model = settled(tiny(timesteps=3))
    images = random_images(4)
    repeated = model(images[:, None].expand(-1, 3, -1, -1, -1))
    assert torch.allclose(model(images), repeated, atol=1e-6)


@torch.no_grad()
def test_logits_are_the_mean_over_the_timesteps() -> None:
    model = settled(tiny(timesteps=3))
    images = random_images(4)
    steps = model(images, every_step=True)
    assert steps.shape == (3, 4, 5)
    assert not torch.equal(steps[0], steps[1]), "potentials carry over"
    assert torch.allclose(model(images), steps.mean(0))


# ------------------------------------------------------------------------------------------ training and formats


@pytest.mark.parametrize("timesteps", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str, timesteps: int) -> None:
    model = tiny(kind, timesteps=timesteps)
    logits = model(random_images(16))
    assert logits.shape == (16, 5)
    functional.cross_entropy(logits, torch.arange(16) % 5).backward()
    # A bias before batch norm moves nothing; batch norm takes the mean away again.
    idle = {n for n, _ in model.named_parameters() if n.endswith("conv.bias")}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in idle:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 1e-8, name


@pytest.mark.training
def test_training_lowers_the_loss() -> None:
    """Ten images of five classes: from ln 5 = 1.6 to about 0.7 in sixty steps."""
    model = tiny()
    images, labels = random_images(10), torch.arange(10) % 5
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, total_iters=60)
    losses = []
    for _ in range(60):
        loss = functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
        losses.append(loss.item())
    assert losses[0] > 1.5 and sum(losses[-10:]) / 10 < 1.0, losses[-10:]


@torch.no_grad()
def test_channels_last_and_autocast() -> None:
    model = settled(tiny("relu"))
    images = random_images(4)
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    assert torch.allclose(model(images.to(memory_format=torch.channels_last)), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(model(images).float(), expected, atol=0.1, rtol=0.1)


def test_initialisation() -> None:
    """Truncated normal of 0.02, no biases."""
    model = SpikeDrivenTransformer(1, 64, neurons("C"))
    weight = model.perceptron[0].expand.conv.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.perceptron[0].expand.conv.bias.any() and not model.head.bias.any()


# ----------------------------------------------------------------------------------------------------- observer


@torch.no_grad()
def test_observer_hears_of_every_neuron_in_order() -> None:
    model = settled(tiny(timesteps=2, blocks=2))
    heard: list[tuple[int, Tensor, Tensor]] = []
    quiet = model(torch.ones(3, 3, 16, 16))
    logits = model(torch.ones(3, 3, 16, 16), lambda *news: heard.append(news))
    assert torch.equal(logits, quiet)
    names = [name for name, _ in model.neurons()]
    assert [index for index, _, _ in heard] == list(range(4 + 7 * 2 + 1)) == list(range(len(names)))
    by_name = dict(zip(names, heard, strict=True))
    assert by_name["embedding.fires.2"][1].shape == (2, 3, 8, 16, 16)
    assert by_name["embedding.fires.2"][2].shape == (2, 3, 8, 8, 8), "pooled"
    assert by_name["embedding.fires.3"][1].shape == (2, 3, 16, 4, 4)
    assert by_name["attention.1.fire_attention"][1].shape == (2, 3, 16, 1, 1)
    assert by_name["perceptron.0.fire_hidden"][1].shape == (2, 3, 64, 4, 4)
    assert by_name["fire"][1].shape == (2, 3, 16, 1, 1)
    assert {float(z) for _, z, _ in heard for z in z.unique()} == {0, 0.25, 0.5, 1}


@torch.no_grad()
def test_products_of_levels_are_normalised() -> None:
    """With N levels a spike of N is worth 1: a token of full key and value fires its attention neuron at the top."""
    levels = 4
    choice = neurons("multi-level", levels)
    model = SpikeDrivenTransformer(1, 8, choice, classes=2, input_shape=(1, 8, 8))
    attention = model.attention[0].eval()
    for part in (attention.query, attention.key, attention.value):
        part.norm.bias.fill_(100.0)  # every neuron fires its highest level
    heard: dict[int, Tensor] = {}
    attention(torch.zeros(1, 1, 8, 1, 1), lambda index, spikes, _: heard.update({index: spikes}))
    index = [name for name, _ in model.neurons()].index("attention.0.fire_attention")
    assert heard[index].unique().tolist() == [levels]
    assert neurons("C").full == 1.0


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 20}, "width must be a multiple of 8, not 20"),
        ({"blocks": 0}, "blocks and timesteps must be at least 1, not 0 and 1"),
        ({"timesteps": 0}, "blocks and timesteps must be at least 1, not 1 and 0"),
        (
            {"pools": 5},
            "images of 16 x 16 do not suit 5 poolings; the sides are equal and divisible",
        ),
        ({"input_shape": (3, 18, 18)}, "images of 18 x 18 do not suit 2 poolings; the sides are"),
        ({"input_shape": (3, 16, 32)}, "images of 16 x 32 do not suit 2 poolings; the sides are"),
    ],
)
def test_sizes_that_do_not_fit(options: dict, message: str) -> None:
    given = {
        "blocks": 1,
        "width": 16,
        "choice": neurons("C"),
        "input_shape": (3, 16, 16),
        **options,
    }
    with pytest.raises(ValueError) as caught:
        SpikeDrivenTransformer(**given)
    assert str(caught.value).startswith(message)


def test_unknown_neurons() -> None:
    with pytest.raises(ValueError) as caught:
        neurons("E")
    assert str(caught.value) == "neurons must be 'C', 'D', 'multi-level' or 'relu', not 'E'"


def test_recordings_of_another_length() -> None:
    with pytest.raises(ValueError) as caught:
        tiny(timesteps=2)(torch.zeros(1, 3, 3, 16, 16))
    assert str(caught.value) == (
        "a recording of 3 frames for a network of 2 timesteps; build the network with as many"
    )


def test_other_neurons_can_be_built_in() -> None:
    """Any module from currents to spikes will do."""
    seen = []

    def build(threshold: float) -> torch.nn.Module:
        seen.append(threshold)
        return torch.nn.Hardtanh(0, 3)

    SpikeDrivenTransformer(1, 8, Neurons(build, full=3.0), input_shape=(1, 8, 8))
    assert sorted(seen) == [0.5] + [1.0] * 11
