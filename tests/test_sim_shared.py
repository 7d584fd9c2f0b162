"""The compiled shared engine against the golden model, its clocks against their model, and the command lines."""

import json
from dataclasses import replace

import numpy as np
import pytest

import graphs
import support
from hw.shared import generate
from hw.shared.program import Program
from sim import shared
from sim.compare import MismatchError
from sw import golden_shared
from sw.schedule import Schedule, Sharing
from sw.synthetic import make_perceptron

pytestmark = pytest.mark.cosim


CASES = {
    # A group of channels has fewer lanes than channels, and weights in narrow beats hold the lanes up.
    "groups": (graphs.entangled(1), Sharing(lanes=4, fire_units=2, word_codes=2), 8),
    # Potentials are waited for.
    "timesteps": (graphs.entangled(2), Sharing(lanes=8, fire_units=4, word_codes=8), 64),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_golden_in_the_predicted_time(name):
    """Random images under mostly pauses, and as many as fast as it goes."""
    network, sharing, stream_width = CASES[name]
    program = Program.of(Schedule(network, sharing), stream_width=stream_width)
    frames = support.images(np.random.default_rng(1), network, 8)
    device = shared.build(program)
    shared.run_images(device, program, frames, seed=7, pause=0.7)
    outcome = shared.run_images(device, program, frames)
    predicted = program.schedule.forecast(
        outcome.work,
        depth=program.weight_depth,
        beats=[program.beats(step.weight_width) for step in program.steps],
    )
    elapsed = outcome.ended[-1] - outcome.ended[0]
    assert elapsed == pytest.approx(predicted[-1] - predicted[0], rel=0.02)


def test_the_comparison_sees_a_wrong_weight():
    """One weight of the stream is changed: the run fails at the step that uses it."""
    network, _ = support.configuration("one-channel")
    program = Program.of(Schedule(network, Sharing(lanes=8, word_codes=8)), stream_width=64)
    layers = list(network.layers)
    layers[0] = replace(layers[0], weights=layers[0].weights ^ 64)
    other = Program.of(
        Schedule(replace(network, layers=tuple(layers)), Sharing(lanes=8, word_codes=8))
    )
    frames = support.images(np.random.default_rng(1), network, 4)
    device = shared.build(program)
    with pytest.raises(MismatchError, match="^image 1, "):
        shared.run_images(device, replace(program, schedule=other.schedule), frames)


def test_what_comes_after_the_last_image_is_found():
    """An engine that goes on by itself, here because it gets an image too many, does not pass."""
    network, _ = support.configuration("one-channel")
    program = Program.of(Schedule(network, Sharing(lanes=8, word_codes=8)), stream_width=64)
    frames = support.images(np.random.default_rng(1), network, 4)
    device = shared.build(program)

    class TooMany:
        interface = device.interface

        def start(self, beats, **options):
            codes, weights = beats
            more = [np.concatenate([codes, codes[: frames[0].size]]), np.tile(weights, (2, 1))]
            return device.start(more, **options)

    shared.run_images(device, program, frames)
    with pytest.raises(
        MismatchError, match=r"^after the last image the hardware said \d+ things more than"
    ):
        shared.run_images(TooMany(), program, frames)


def test_command_lines(tmp_path, capsys):
    """A perceptron is generated; the weights in the file are those of the stream; wrong options exit with 2."""
    path = tmp_path / "net.npz"
    network = make_perceptron([12, 9, 3])
    network.save(path)
    out = tmp_path / "out"
    assert generate.main([str(path), "-o", str(out), "--lanes", "4", "--stream", "16"]) == 0
    manifest = json.loads((out / "accelerator.json").read_text())
    program = Program.of(Schedule(network, Sharing.of(4)), stream_width=16)
    assert (out / "weights.bin").read_bytes() == program.weight_stream().tobytes()
    assert manifest["stream"] == {"width": 16, "beats": 48, "words": 48}
    assert manifest["buffer"]["largest_group"] == 12
    capsys.readouterr()
    assert generate.main([str(path), "-o", str(out), "--lanes", "0"]) == 2
    assert capsys.readouterr().err == "lanes must be an integer in 1..1024, not 0\n"
    assert shared.main([str(path), "--pause", "1"]) == 2
    assert capsys.readouterr().err == "--pause must be in 0 <= p < 1, not 1.0\n"


def test_forecast_of_a_stream_that_is_too_narrow():
    """With more beats a word than the lanes have work, the weights decide: an image takes as long as its weights."""
    network, _ = support.configuration("conv-odd")
    schedule = Schedule(network, Sharing(lanes=8, word_codes=8))
    frames = support.images(np.random.default_rng(1), network, 4)
    work = golden_shared.run(schedule, frames).work
    ends = schedule.forecast(work, depth=schedule.largest_group, beats=[1000] * len(schedule.steps))
    assert np.diff(ends)[1:] == pytest.approx(1000 * schedule.streamed_rows, rel=0.02)
