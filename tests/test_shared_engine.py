"""The shared engine equals the golden model on networks of every shape, whatever its parallelism and the pauses."""

import random

import numpy as np
import pytest

import shared_engine
from hw.shared.program import Program
from support import configuration, images
from sw.schedule import Schedule, Sharing
from test_random_networks import random_network

CASES = {
    "conv-odd": Sharing(lanes=4, fire_units=2, word_codes=4),
    "one-channel": Sharing(lanes=8, fire_units=1, word_codes=8),
    "strided": Sharing(lanes=12, fire_units=4, word_codes=4),
    "pooled": Sharing(lanes=4, fire_units=1, word_codes=4),
    "spikes-in": Sharing(lanes=8, fire_units=8, word_codes=8),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name):
    net, _ = configuration(name)
    program = Program.of(Schedule(net, CASES[name]), stream_width=16)
    batch = images(np.random.default_rng(3), net, 4)[[2, 0, 3] if net.input_shape[1] < 9 else [2]]
    seen = shared_engine.observe(program, batch)
    shared_engine.assert_equal_to_golden(program, batch, seen)


def random_program(seed: int) -> Program:
    """A random network of one timestep, of random parallelism, with a buffer of weights that is tight or is not."""
    rng = random.Random(seed)
    net = next(net for n in range(seed, 1000) if (net := random_network(n * 100)).timesteps == 1)
    codes = rng.choice([8, 16])
    sharing = Sharing(
        lanes=codes * rng.randint(1, 2), fire_units=rng.choice([1, 2, 4]), word_codes=codes
    )
    schedule = Schedule(net, sharing)
    depth = schedule.largest_group + rng.choice([0, 1, schedule.largest_group])
    return Program.of(
        schedule, weight_depth=depth, stream_width=rng.choice([8, 16, 32, 64, 128, 256])
    )


@pytest.mark.parametrize("seed", range(6))
def test_equals_golden_on_random_networks(seed):
    program = random_program(seed)
    rng = random.Random(seed)
    pauses = {
        side: rng.choice([0, 0.3, 0.7]) for side in ("pause_in", "pause_weights", "pause_out")
    }
    batch = images(np.random.default_rng(seed + 1), program.schedule.network, 3)[[2, seed % 2]]
    seen = shared_engine.observe(program, batch, seed=seed, **pauses)
    shared_engine.assert_equal_to_golden(program, batch, seen)
