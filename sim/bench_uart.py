"""A board in the simulator: the wire of the design's serial line comes out as a TCP port.

Bytes from a TCP connection go through cocotbext-uart, an independent model of a UART, onto the pin `rx`, and bytes from
the pin `tx` come back.  So every program that talks to a board talks to the simulated one; the bench ends when the
program hangs up.

Environment
    STAIRSPIKE_PORT_FILE: where to write the number of the TCP port.
    STAIRSPIKE_BIT_NS: duration of a bit on the wire; the clock has 10 ns.
"""

import logging
import os
import select
import socket
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer
from cocotbext.uart import UartSink, UartSource

CLOCK_NS = 10
BITS_BETWEEN_LOOKS = 20  # of a byte each way
IDLE_S = 0.05


@cocotb.test()
async def serve(dut: Any) -> None:
    """Pass bytes between one TCP connection and the wire until the other side hangs up."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    bit_ns = int(os.environ["STAIRSPIKE_BIT_NS"])
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_NS, "ns").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    source = UartSource(dut.rx, baud=1e9 / bit_ns)
    sink = UartSink(dut.tx, baud=1e9 / bit_ns)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        file = Path(os.environ["STAIRSPIKE_PORT_FILE"])
        partial = file.with_suffix(".partial")
        partial.write_text(str(server.getsockname()[1]))
        partial.replace(file)
        connection, _ = server.accept()
    with connection:
        while True:
            at_rest = source.idle() and sink.idle() and not int(dut.busy.value)
            readable, _, _ = select.select([connection], [], [], IDLE_S if at_rest else 0)
            if readable:
                received = connection.recv(4096)
                if not received:
                    break
                source.write_nowait(received)
            await Timer(BITS_BETWEEN_LOOKS * bit_ns, "ns")
            if not sink.empty():
                connection.sendall(bytes(sink.read_nowait()))
