"""The compiled shared engine against the golden model, its clocks against their model, and the command lines."""

import json
from dataclasses import replace

import numpy as np
import pytest

import graphs
import support
from hw.shared import generate
from hw.shared.program import Program
from hw.shared.simulated import clocks_per_beat
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
def test_equals_golden_in_the_predicted_time(tmp_path, name):
    """Random images under mostly pauses, and as many as fast as it goes."""
    network, sharing, stream_width = CASES[name]
    program = Program.of(Schedule(network, sharing), stream_width=stream_width)
    frames = support.images(np.random.default_rng(1), network, 8)
    device = shared.build(program, tmp_path)
    shared.run_images(device, program, frames, seed=7, pause=0.7)
    outcome = shared.run_images(device, program, frames)
    predicted = program.schedule.forecast(
        outcome.work,
        depth=program.weight_depth,
        beats=[program.beats(step.weight_width) for step in program.steps],
    )
    elapsed = outcome.ended[-1] - outcome.ended[0]
    assert elapsed == pytest.approx(predicted[-1] - predicted[0], rel=0.02)


@pytest.mark.parametrize(("memory", "width"), [("sdram", 16), ("flash", 8)])
def test_weights_from_a_memory(tmp_path, memory, width):
    """With the chip in the loop, which the weights hold up: everything equal, and as late as predicted."""
    network, _ = support.configuration("conv-odd")
    schedule = Schedule(network, Sharing(lanes=8, fire_units=8, word_codes=8))
    program = Program.of(schedule, stream_width=width)
    frames = support.images(np.random.default_rng(1), network, 4)
    clock_hz = 62.5e6
    beat = clocks_per_beat(program, memory, clock_hz)
    device = shared.build(program, tmp_path, memory=memory, clock_hz=clock_hz)
    outcome = shared.run_images(device, program, frames, seed=5, pause=0.1, beat_clocks=beat)
    predicted = schedule.forecast(
        outcome.work,
        depth=program.weight_depth,
        beats=[beat * program.beats(step.weight_width) for step in program.steps],
    )
    assert outcome.ended[-1] - outcome.ended[0] == pytest.approx(
        predicted[-1] - predicted[0], rel=0.02
    )


def test_the_comparison_sees_a_wrong_weight(tmp_path):
    """One weight of the stream is changed: the run fails at the step that uses it."""
    network, _ = support.configuration("one-channel")
    program = Program.of(Schedule(network, Sharing(lanes=8, word_codes=8)), stream_width=64)
    layers = list(network.layers)
    layers[0] = replace(layers[0], weights=layers[0].weights ^ 64)
    other = Program.of(
        Schedule(replace(network, layers=tuple(layers)), Sharing(lanes=8, word_codes=8))
    )
    frames = support.images(np.random.default_rng(1), network, 4)
    device = shared.build(program, tmp_path)
    with pytest.raises(MismatchError, match="^image 1, "):
        shared.run_images(device, replace(program, schedule=other.schedule), frames)


def test_what_comes_after_the_last_image_is_found(tmp_path):
    """An engine that goes on by itself, here because it gets an image too many, does not pass."""
    network, _ = support.configuration("one-channel")
    program = Program.of(Schedule(network, Sharing(lanes=8, word_codes=8)), stream_width=64)
    frames = support.images(np.random.default_rng(1), network, 4)
    device = shared.build(program, tmp_path)

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
    assert (
        capsys.readouterr().err
        == "hw.shared.generate: lanes must be an integer in 1..1024, not 0\n"
    )
    assert shared.main([str(path), "--memory", "sdram", "--frequency", "200"]) == 2
    assert (
        capsys.readouterr().err == "sim.shared: an SDRAM is clocked with 10 to 100 MHz, not 200\n"
    )
    assert shared.main([str(path), "--memory", "sdram", "--stream", "64", "--lanes", "4"]) == 2
    assert capsys.readouterr().err == (
        "sim.shared: the SDRAM has 16 data lines; the weight stream must be as wide, not 64 bits\n"
    )
    assert shared.main([str(path), "--pause", "1"]) == 2
    assert capsys.readouterr().err == "sim.shared: --pause must be in 0 <= p < 1, not 1.0\n"


def test_forecast_of_a_stream_that_is_too_narrow():
    """With more beats a word than the lanes have work, the weights decide: an image takes as long as its weights."""
    network, _ = support.configuration("conv-odd")
    schedule = Schedule(network, Sharing(lanes=8, word_codes=8))
    frames = support.images(np.random.default_rng(1), network, 4)
    work = golden_shared.run(schedule, frames).work
    ends = schedule.forecast(work, depth=schedule.largest_group, beats=[1000] * len(schedule.steps))
    assert np.diff(ends)[1:] == pytest.approx(1000 * schedule.streamed_rows, rel=0.02)
