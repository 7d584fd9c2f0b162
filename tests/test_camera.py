"""Binning of events in hardware against the frames that training makes of them."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.camera import Camera, EventFrames
from hw.folding import choose_foldings
from sim.events import load_events
from sim.run import simulate
from sim.verilator import SimulationError
from support import conv, dense, multi_level, network
from sw.datasets.events import crop, events_of, integrate, pool
from sw.network import Coding, NetworkError


def recording(count: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Events with crowds: some pixels see many of them, and some spans of time none."""
    rng = np.random.default_rng(seed)
    times = np.sort(
        rng.choice([1_000, 1_010, 40_000, 70_000], count) + rng.integers(0, 9_000, count)
    )
    height, width = shape
    x = np.minimum(rng.geometric(0.3, count), width) - 1
    return events_of(times, x, rng.integers(0, height, count), rng.integers(0, 2, count))


def frames_net(frames: int, shape: tuple[int, int], levels: int):
    return network(
        [dense(np.random.default_rng(0), 2, 2, shape, width=2)],
        (2, *shape),
        coding=Coding(kind="multi-level", levels=levels),
        timesteps=frames,
    )


def binned(net, camera: Camera, recordings, spans, *, seed: int, pause: float) -> np.ndarray:
    """Frames (recording, T, 2, H, W) of recordings that follow each other without a gap."""
    dut, rng = EventFrames(net, camera), random.Random(seed)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    shape = (len(recordings), net.timesteps, *net.input_shape[1:], 2)
    codes: list[int] = []

    async def source(ctx):
        for events, span in zip(recordings, spans, strict=True):
            beats = [
                {
                    "t": int(e["t"]),
                    "x": int(e["x"]),
                    "y": int(e["y"]),
                    "polarity": int(e["polarity"]),
                }
                for e in events
            ]
            for beat in [{"t": span, "mark": 1}, *beats, {"mark": 1}]:
                while rng.random() < pause:
                    await ctx.tick()
                ctx.set(dut.i.payload, beat)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        held = None
        for _ in range(200_000):
            ctx.set(dut.o.ready, rng.random() >= pause)
            _, _, valid, ready, code = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            assert held is None or (valid and code == held), f"an offered code changed, seed {seed}"
            held = code if valid and not ready else None
            if valid and ready:
                codes.append(code)
            if len(codes) == np.prod(shape):
                return
        raise AssertionError(f"only {len(codes)} of {np.prod(shape)} codes came, seed {seed}")

    simulator.add_testbench(source, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return np.array(codes, np.uint8).reshape(shape).transpose(0, 1, 4, 2, 3)


def duration(events: np.ndarray) -> int:
    return int(events["t"].max() + 1 - events["t"].min())


@pytest.mark.parametrize(
    ("by", "most", "frames", "pause"),
    [("time", 3, 3, 0.0), ("time", 1, 4, 0.5), ("count", 15, 5, 0.3), ("time", 15, 1, 0.2)],
)
def test_equals_integrate(by, most, frames, pause):
    shape = (5, 7)
    net = frames_net(frames, shape, 15)
    recordings = [recording(count, shape, seed) for seed, count in enumerate((60, 7, 133))]
    spans = [duration(r) if by == "time" else len(r) // frames for r in recordings]
    got = binned(
        net, Camera(sensor=shape, by=by, most=most), recordings, spans, seed=3, pause=pause
    )
    expected = [integrate(r, shape, frames=frames, by=by, levels=most) for r in recordings]
    assert np.array_equal(got, np.stack(expected))


@pytest.mark.parametrize("size", [8, 12])  # a part of the sensor, and blank pixels around it
def test_crop_and_blocks(size):
    sensor, factor = (10, 11), 2
    net = frames_net(2, (size // factor, size // factor), 15)
    events = recording(150, sensor, 9)
    seen = crop(events, sensor, size)
    origin = ((sensor[0] - size) // 2, (sensor[1] - size) // 2)
    camera = Camera(sensor=sensor, origin=origin, factor=factor, most=15)
    got = binned(net, camera, [events], [duration(seen)], seed=4, pause=0.2)
    expected = integrate(pool(seen, factor), (size // factor,) * 2, frames=2, by="time", levels=15)
    assert np.array_equal(got[0], expected)
    assert expected.sum() > 20


def test_a_recording_without_events_is_blank():
    net = frames_net(3, (4, 4), 15)
    events = recording(20, (4, 4), 1)
    got = binned(
        net,
        Camera(sensor=(4, 4), most=15),
        [events[:0], events],
        [5, duration(events)],
        seed=1,
        pause=0.0,
    )
    assert not got[0].any()
    assert np.array_equal(got[1], integrate(events, (4, 4), frames=3, by="time"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "frame"}, "'time' or 'count', not 'frame'"),
        ({"most": 16}, "1 to 15 events"),
        ({"factor": 3}, "power of two, not 3"),
        ({"sensor": (0, 4)}, "1 to 16384 rows and columns, not 0"),
    ],
)
def test_impossible_camera(options, said):
    net = frames_net(1, (4, 4), 15)
    with pytest.raises(NetworkError, match=said):
        Camera(**{"sensor": (4, 4), "most": 1} | options).check(net)


def test_network_of_images():
    net = network([dense(np.random.default_rng(0), 1, 2, (4, 4), width=2)], (1, 4, 4))
    with pytest.raises(NetworkError, match="two polarities"):
        Camera(sensor=(4, 4), most=1).check(net)


def test_network_behind_a_camera():
    """Events into the compiled RTL: every layer's spikes, scores and counters as golden makes them of the frames."""
    rng, shape = np.random.default_rng(2), (6, 7)
    net = network(
        [
            conv(rng, 2, 4, neuron=multi_level(3, leak="retain", leak_shift=2), padding=(1, 1)),
            dense(rng, 4, 3, shape),
        ],
        (2, *shape),
        coding=Coding(kind="multi-level", levels=7),
        timesteps=3,
    )
    recordings = [recording(count, shape, count) for count in (90, 3, 200, 41)]
    frames = np.stack([integrate(r, shape, frames=3, by="time", levels=7) for r in recordings])
    result = simulate(
        net,
        choose_foldings(net, 2),
        frames,
        camera=Camera(sensor=shape, most=7),
        recordings=recordings,
        seed=5,
    )
    assert (result["images"], result["mismatches"]) == (4, 0)
    assert result["counters"][0]["output_spikes"] > 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"set": "mnist"}, "nmnist, not from mnist"),
        ({"set": "nmnist", "lanes": 3}, "does not encode them to 3 lanes"),
        ({"set": "nmnist", "frames": 1, "pool": 3, "levels": 15}, "power of two, not 3"),
    ],
)
def test_events_that_no_camera_makes(data, said, tmp_path):
    net = replace(frames_net(1, (12, 12), 15), provenance={"data": data})
    with pytest.raises((NetworkError, SimulationError), match=said):
        load_events(net, tmp_path, 1)
