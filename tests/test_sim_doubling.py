"""The same network on more lanes: clocks fall until a layer has a lane for every channel."""

import numpy as np
import pytest
from rich.console import Console

import support
from sim import doubling
from sw.network import NetworkError


def test_lanes_stop_at_the_channels() -> None:
    network, _ = support.configuration("strided")
    channels = [network.shapes[i + 1][0] for i, la in enumerate(network.layers) if la.is_weighted]
    assert doubling.times(network, 1, 1000) == tuple(channels)
    assert doubling.times(network, 1, 1) == (1,) * len(channels)
    with pytest.raises(NetworkError, match=r"^1 lane counts for"):
        doubling.times(network, (2,), 1)


@pytest.mark.cosim
def test_clocks_fall_as_predicted() -> None:
    network, _ = support.configuration("strided")
    frames = support.images(np.random.default_rng(1), network, 8)
    rows = doubling.measure(network, 1, (1, 2), frames, seed=1, pause=0.3)
    first, second = rows
    assert second["speed_up"] == first["clocks_per_image"] / second["clocks_per_image"] > 1.2
    for row in rows:
        assert row["clocks_per_image"] == pytest.approx(row["predicted_clocks_per_image"], rel=0.05)
        assert row["clocks_per_image"] >= 0.98 * row["bottleneck"]["clocks"]
    console = Console(record=True, width=100)
    doubling.show(console, rows)
    assert f"layer {second['bottleneck']['layer']}" in console.export_text()


@pytest.mark.parametrize("text", ["", "0,1", "two"])
def test_factors_are_positive(text: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        doubling.main(["network.npz", "--times", text])
    assert stopped.value.code == 2
    assert f"expected factors like 1,2,4, not {text!r}" in capsys.readouterr().err
