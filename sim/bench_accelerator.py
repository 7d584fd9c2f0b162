"""The whole accelerator: scores, class, every layer's stream and every counter."""

import json
import os
from typing import Any

import cocotb

from sim import vectors
from sim.drivers import Monitor, Sampler, Sink, Source, Stream, reset
from sim.scoreboard import Scoreboard, complete


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(
    (
        ("source_pause", "sink_pause", "patient"),
        [
            (0.0, 0.0, False),
            (0.4, 0.4, False),
            (0.0, 0.8, False),
            (0.7, 0.0, False),
            (0.2, 0.3, True),
        ],
    )
)
async def equals_golden(dut: Any, source_pause: float, sink_pause: float, patient: bool) -> None:
    """Images back to back, with pauses on either side."""
    expected = vectors.load()
    strobes = json.loads(os.environ["STAIRSPIKE_STROBES"])
    i, o = Stream(dut, "i"), Stream(dut, "o")
    source, sink = Source(dut.clk, i, source_pause), Sink(dut.clk, o, sink_pause, patient=patient)
    clk = await reset(dut)

    sampler = Sampler(clk)
    boards = [Scoreboard("o", expected["o"])]
    cocotb.start_soon(Monitor(clk, o, boards[0].receive).run())
    for name, beats in expected.items():
        if name.startswith("tap"):
            boards.append(board := Scoreboard(name, beats))
            valid, payload = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__payload")
            sampler.watch(valid, [payload], [board])
    for layer in range(int(os.environ["STAIRSPIKE_LAYERS"])):
        for strobe, names in strobes.items():
            group = [
                Scoreboard(
                    f"layer {layer}, counter {name}",
                    expected[f"layer{layer}.{name}"],
                    "image {}".format,
                )
                for name in names
            ]
            boards += group
            signals = [getattr(dut, f"layer{layer}__{name}") for name in names]
            done = getattr(dut, f"layer{layer}__{strobe}")
            sampler.watch(done, signals, group)

    cocotb.start_soon(sampler.run())
    cocotb.start_soon(sink.run())
    sending = cocotb.start_soon(source.send(expected["i"]))
    await complete(clk, boards)
    await sending
