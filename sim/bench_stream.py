"""Any component between one input stream `i` and one output stream `o`, against expected beats."""

from typing import Any

import cocotb

from sim import vectors
from sim.drivers import Monitor, Sink, Source, Stream, reset
from sim.scoreboard import Scoreboard, complete


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(
    (
        ("source_pause", "sink_pause", "patient"),
        [
            (0.0, 0.0, False),
            (0.4, 0.4, False),
            (0.0, 0.8, False),
            (0.8, 0.0, False),
            (0.2, 0.3, True),
        ],
    )
)
async def equals_model(dut: Any, source_pause: float, sink_pause: float, patient: bool) -> None:
    """Beat for beat, with pauses on either side, and with a sink that waits for valid."""
    beats = vectors.load()
    i, o = Stream(dut, "i"), Stream(dut, "o")
    board = Scoreboard("o", beats["o"], masks=beats.get("o_mask"))
    source = Source(dut.clk, i, source_pause)
    sink = Sink(dut.clk, o, sink_pause, patient=patient)
    clk = await reset(dut)
    cocotb.start_soon(Monitor(clk, o, board.receive).run())
    cocotb.start_soon(sink.run())
    sending = cocotb.start_soon(source.send(beats["i"]))
    await complete(clk, [board])
    await sending
