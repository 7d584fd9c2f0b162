"""A simulated board: a design with the pins of a serial line, behind a TCP port or a pseudo-terminal."""

import os
import select
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

from sim.verilator import build_bench, run_bench

CLOCK_NS = 10
TOP = "board"


def verilog_of(design: wiring.Component) -> str:
    return verilog.convert(design, name=TOP, emit_src=False, strip_internal_attrs=True)


class SimulatedBoard:
    """A Verilated `SerialAccelerator` behind a TCP port, for as long as the context lasts.

    text: Verilog with the module `TOP`; bit_ns: duration of a bit at the far end of the wire.
    """

    def __init__(self, text: str, work: Path, bit_ns: int):
        work.mkdir(parents=True, exist_ok=True)
        (work / "board.v").write_text(text)
        self._program = build_bench(work / "board.v", top=TOP)
        self._work, self._bit_ns = work, bit_ns
        self._port = work / "port"
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._simulate, daemon=True)

    def _simulate(self) -> None:
        environment = {
            "STAIRSPIKE_PORT_FILE": str(self._port),
            "STAIRSPIKE_BIT_NS": str(self._bit_ns),
        }
        try:
            run_bench(
                self._program,
                top=TOP,
                module="sim.bench_uart",
                environment=environment,
                work=self._work,
            )
        except Exception as error:
            self._error = error

    def __enter__(self) -> str:
        self._thread.start()
        while not self._port.exists():
            assert self._thread.is_alive(), self._error
            time.sleep(0.05)
        return f"socket://127.0.0.1:{self._port.read_text()}"

    def __exit__(self, *exception: object) -> None:
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "the simulation goes on although the program hung up"
        if self._error is not None and exception[0] is None:
            raise self._error


@contextmanager
def pseudo_terminal(url: str) -> Iterator[str]:
    """The path of a terminal device, behind which the TCP port of `SimulatedBoard` answers."""
    host, _, number = url.removeprefix("socket://").partition(":")
    master, slave = os.openpty()
    tty.setraw(slave)
    done = threading.Event()
    with socket.create_connection((host, int(number))) as connection:

        def carry() -> None:
            while not done.is_set():
                readable, _, _ = select.select([master, connection], [], [], 0.05)
                if master in readable:
                    connection.sendall(os.read(master, 4096))
                if connection in readable:
                    os.write(master, connection.recv(4096))

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        try:
            yield os.ttyname(slave)
        finally:
            done.set()
            thread.join()
            os.close(master)
            os.close(slave)
