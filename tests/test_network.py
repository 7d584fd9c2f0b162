"""The artefact: what is written is read, and nothing else is."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

from support import PIXELS, conv, dense, maxpool, multi_level, one_hot
from sw.network import Coding, Layer, Network, NetworkError, Neuron, load


@pytest.fixture
def net() -> Network:
    rng = np.random.default_rng(0)
    return Network(
        timesteps=2,
        input_shape=(1, 8, 8),
        input_coding=PIXELS,
        layers=(
            conv(rng, 1, 4, neuron=multi_level(4, leak="retain", leak_shift=3), padding=(1, 1)),
            maxpool(),
            conv(rng, 4, 6, neuron=one_hot(3, reset="hard"), width=4, padding=(1, 1)),
            dense(rng, 6, 10, (2, 2), average=(2, 2)),
        ),
        provenance={"data_set": "MNIST", "seed": 0},
    )


def rewrite(path, change) -> None:
    """Apply `change(header, arrays)` to the stored artefact."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays.pop("header").tobytes())
    change(header, arrays)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, header=text, **arrays)


def test_round_trip(net, tmp_path):
    again = load(net.save(tmp_path / "net.npz"))
    assert again.digest == net.digest
    assert again.shapes == net.shapes == ((1, 8, 8), (4, 8, 8), (4, 4, 4), (6, 4, 4), (10, 1, 1))
    assert again.provenance == net.provenance
    for a, b in zip(again.layers, net.layers, strict=True):
        assert (a.kind, a.neuron, a.average, a.padding) == (b.kind, b.neuron, b.average, b.padding)
        for name in ("weights", "bias", "threshold"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


def test_the_same_network_is_written_as_the_same_bytes(net, tmp_path):
    one, two = net.save(tmp_path / "one.npz"), net.save(tmp_path / "two.npz")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_one_weight_changes_the_digest(net):
    before = net.digest
    net.layers[0].weights[0, 0, 0, 0] ^= 1
    assert Network(**{**vars_of(net)}).digest != before


def vars_of(net: Network) -> dict:
    names = ("timesteps", "input_shape", "input_coding", "layers", "provenance")
    return {name: getattr(net, name) for name in names}


def test_a_newer_format_is_refused(net, tmp_path):
    path = net.save(tmp_path / "net.npz")
    rewrite(path, lambda header, arrays: header.update(version=3))
    with pytest.raises(
        NetworkError,
        match=r"has format version 3, this program reads 1 to 2; update or export again$",
    ):
        load(path)


def test_a_foreign_format_is_refused(net, tmp_path):
    path = net.save(tmp_path / "net.npz")
    rewrite(path, lambda header, arrays: header.update(format="onnx"))
    with pytest.raises(
        NetworkError, match=r"has the foreign format 'onnx'; expected 'stairspike-network'$"
    ):
        load(path)


def alter_weight(header, arrays):
    arrays["0.weights"][0, 0, 0, 0] ^= 1


def alter_provenance(header, arrays):
    header["provenance"]["seed"] = 1


@pytest.mark.parametrize("change", [alter_weight, alter_provenance])
def test_an_altered_file_is_refused(net, tmp_path, change):
    path = net.save(tmp_path / "net.npz")
    rewrite(path, change)
    with pytest.raises(NetworkError, match=r"altered|differ"):
        load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda h, a: a.update(extra=np.zeros(1)), "unknown array 'extra'"),
        (lambda h, a: a.pop("2.bias"), "bias must be a non-empty int64 array of rank 1, not None"),
        (
            lambda h, a: a.update({"2.bias": a["2.bias"].astype(np.int32)}),
            "bias must be a non-empty int64 array of rank 1, not int32 of shape (6,)",
        ),
        (lambda h, a: a["2.threshold"].fill(0), "threshold 0 is below 1; export the layer again"),
        (
            lambda h, a: a["2.weights"].fill(100),
            "weight 100 does not fit 4 signed bits (-8..7); quantise again",
        ),
        (lambda h, a: h["layers"].pop(), "unknown array '3.weights'"),
        (lambda h, a: h.pop("timesteps"), "has a damaged header ('timesteps'); export it again"),
        (lambda h, a: h["layers"][0].update(potential_width=9), "the stored accumulator widths"),
        (lambda h, a: h["layers"][2].update(padding=[3, 3]), "padding (3, 3) must be smaller than the kernel"),
    ],
)  # fmt: skip
def test_a_damaged_structure_is_named(net, tmp_path, change, sentence):
    path = net.save(tmp_path / "net.npz")
    rewrite(path, change)
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(
        NetworkError, match=r"does not exist; make a network with python -m sw.export$"
    ):
        load(tmp_path / "none.npz")


def test_no_damage_goes_unnoticed(net, tmp_path):
    """Cut anywhere or with any byte changed, a file is refused with a sentence or is the same network."""
    path = net.save(tmp_path / "net.npz")
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(600):
        damaged = bytearray(good)
        if trial % 3 == 0:
            del damaged[rng.integers(len(good)) :]
        else:
            for position in rng.integers(len(good), size=1 + trial % 4):
                damaged[position] ^= 1 + rng.integers(255)
        path.write_bytes(damaged)
        try:
            assert load(path).digest == net.digest
        except NetworkError as error:
            assert str(error).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF", b"{}", b"\x93NUMPY\x01\x00"])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "net.npz"
    path.write_bytes(content)
    with pytest.raises(
        NetworkError, match=r"is not a Stairspike network, or is damaged; export it again$"
    ):
        load(path)


def test_another_zip_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    path = tmp_path / "net.npz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(NetworkError, match=r"is not a Stairspike network"):
        load(path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Coding(kind="rate", levels=1), "coding kind must be 'multi-level' or 'one-hot', not 'rate'"),
        (lambda: Coding(kind="one-hot", levels=9), "levels must be in 1..8, not 9"),
        (lambda: multi_level(16), "a multi-level neuron has 1 to 15 levels, not 16"),
        (lambda: multi_level(4, reset="hard"), "a multi-level neuron resets softly"),
        (lambda: one_hot(3, leak="retain"), "leak_shift must be in 1..15, not 0"),
        (lambda: Neuron(kind="one-hot", levels=3, boundary="half"), "boundary must be 'closed' or 'open', not 'half'"),
        (lambda: Layer(kind="lstm"), "layer kind must be one of 'conv', 'dense', 'maxpool', 'sumpool', 'join', not"),
        (lambda: Layer(kind="maxpool", pool=(0, 2)), "pool must be in 1..64, not 0"),
        (lambda: Layer(kind="maxpool", stride=(1, 17)), "stride must be in 1..16, not 17"),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(make, sentence):
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        make()


def test_widths_are_the_worst_case(net):
    """No partial sum leaves the accumulator, and the extreme input reaches its bound."""
    layer = net.layers[2]
    bounds = net.bounds(2)
    top = net.codings[2].max_value
    positive = np.maximum(layer.weights.astype(int), 0).sum((1, 2, 3)).max() * top
    negative = np.minimum(layer.weights.astype(int), 0).sum((1, 2, 3)).min() * top
    assert bounds.accumulator == (negative, positive)
    assert -(1 << (bounds.accumulator_width - 1)) <= negative
    assert positive < 1 << (bounds.accumulator_width - 1)
    assert max(-negative - 1, positive) >= 1 << (bounds.accumulator_width - 2)


def test_codings():
    one, many = Coding(kind="one-hot", levels=3), Coding(kind="multi-level", levels=5)
    assert one.values.tolist() == [0, 1, 2, 4] and many.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert one.event_counts.tolist() == [0, 1, 1, 1]
    assert many.event_counts.tolist() == [0, 1, 1, 2, 1, 2]
    assert (one.code_width, one.exponent_count, one.max_value) == (2, 3, 4)
    assert (many.code_width, many.exponent_count, many.max_value) == (3, 3, 5)
