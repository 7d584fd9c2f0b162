"""What the accelerator's ports do during an image, as a VCD file: handshakes of the streams and counters."""

import ctypes
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hw.generate import generate
from hw.weights import load_image
from sim.verilator import BUILD_ROOT, SimulationError, build_library
from sw.clocks import layer_slots
from sw.files import write_text
from sw.folding import Folding
from sw.network import Network

HARNESS = Path(__file__).resolve().parent / "waves.cpp"
PATIENCE = 10_000_000  # clocks without a code in, a score out or a counter's strobe


def slowest(network: Network, foldings: tuple[Folding, ...], frames: np.ndarray) -> int:
    """Number of the image in `frames` whose busiest layer has the most to do, by the golden model's events."""
    from sw import golden

    multiply = [index for index, folding in enumerate(foldings) if folding.multiply]
    work = [
        layer_slots(network, index, foldings[index], events).reshape(len(frames), -1).sum(1)
        for index, events in enumerate(golden.window_events(network, frames, multiply))
        if events is not None
    ]
    return int(np.argmax(np.max(work, axis=0)))


def record(
    network: Network,
    foldings: tuple[Folding, ...],
    frames: np.ndarray,
    path: Path,
    *,
    loadable: tuple[int, ...] = (),
    frequency_hz: float,
) -> int:
    """Run one image, uint8 (step, C, H, W), without pauses and write `path`: clocks from its first code to its score.

    Every stream is shown with valid, ready and payload where they are ports, the counters as they are when their strobe
    is high.  Loading of weights comes before the file's first clock.
    Raises SimulationError, NetworkError, OSError.
    """
    image = np.array(load_image(network, foldings, loadable), np.uint32)
    BUILD_ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as name:
        manifest = generate(network, foldings, Path(name), taps=True, loadable=loadable)
        shown = _shown(manifest)
        top = manifest["top"]
        library = build_library(
            [Path(name) / f"{top}.v"], HARNESS, _header(manifest, shown), top=top
        )
    period_ps = round(1e12 / frequency_hz)
    write_text(path, _declarations(top, manifest, shown))
    if loadable:
        fields = manifest["ports"]["load__payload"]["fields"]
        image = image << fields["data"]["offset"]
        image[:1] |= 1 << fields["first"]["offset"]
    codes = np.ascontiguousarray(frames.transpose(0, 2, 3, 1)).reshape(-1)
    run = ctypes.CDLL(str(library)).waves_record
    run.restype = ctypes.c_uint64
    run.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_uint8),
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_uint32),
        *[ctypes.c_size_t] * 2,
        *[ctypes.c_uint64] * 2,
    ]
    clocks = run(
        str(path).encode(),
        b"+",
        codes.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
        codes.size,
        image.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)),
        image.size,
        network.class_count,
        period_ps,
        PATIENCE,
    )
    if not clocks:
        raise SimulationError(f"the hardware stalled, or {path} cannot be written")
    return int(clocks)


def _shown(manifest: Mapping[str, Any]) -> list[str]:
    """Ports of the streams, the views on them and the counters."""
    hidden = ("clk", "rst", "load__valid", "load__ready", "load__payload")
    return [port for port in manifest["ports"] if port not in hidden]


def _header(manifest: Mapping[str, Any], shown: list[str]) -> str:
    """The text of ports.h."""

    def mangled(port: str) -> str:
        return port.replace("__", "___05F")

    ports, top, groups = manifest["ports"], manifest["top"], manifest["counters"]["strobes"]
    strobe_of = {name: strobe for strobe, names in groups.items() for name in names}
    signals, strobes = [], []
    for port in shown:
        scope, _, name = port.partition("__")
        strobe = strobe_of.get(name)
        when = f"top.{mangled(f'{scope}__{strobe}')}" if strobe else "true"
        signals.append(f"X({mangled(port)}, {ports[port]['width']}, {when})")
        if name in groups:
            strobes.append(port)
    return "\n".join(
        [
            f'#include "V{top}.h"',
            f"using Top = V{top};",
            f"#define SIGNALS(X) {' '.join(signals)}",
            f"#define STROBES(X) {' '.join(f'X({n}, {mangled(p)})' for n, p in enumerate(strobes))}",
            f"#define STROBE_COUNT {len(strobes)}",
            f"#define LOADABLE {int('load__payload' in ports)}",
            "",
        ]
    )


def _declarations(top: str, manifest: Mapping[str, Any], shown: list[str]) -> str:
    """The head of the file: a scope for each stream and each layer."""
    scopes: dict[str, list[str]] = {}
    for number, port in enumerate(shown):
        scope, _, name = port.partition("__")
        width = manifest["ports"][port]["width"]
        scopes.setdefault(scope, []).append(f"$var wire {width} s{number} {name or scope} $end\n")
    text = f"$timescale 1ps $end\n$scope module {top} $end\n$var wire 1 ! clk $end\n"
    for scope, lines in scopes.items():
        text += f"$scope module {scope} $end\n{''.join(lines)}$upscope $end\n"
    return f"{text}$upscope $end\n$enddefinitions $end\n"
