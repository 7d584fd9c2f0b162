"""AXI4-Stream: signals, and the join to the streams inside."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


class AxiStreamSignature(wiring.Signature):
    """As the sender sees it; `keep`: with `tkeep`, a bit for each byte."""

    def __init__(self, width, *, keep=False):
        members = {
            "tdata": Out(width),
            "tlast": Out(1),
            "tvalid": Out(1),
            "tready": In(1),
        }
        super().__init__(members | ({"tkeep": Out(width // 8)} if keep else {}))


def codes_layout(beat_codes):
    """One beat of an image: input codes, a byte each; which of them are there; the beat is the image's last."""
    return data.StructLayout(
        {"codes": data.ArrayLayout(8, beat_codes), "keep": unsigned(beat_codes), "last": 1}
    )


RESULT_LAYOUT = data.StructLayout({"word": unsigned(32), "last": 1})


def receive(axi, i):
    """Statements that pass what comes in on `axi` to `i`, a stream of `codes_layout`."""
    keep = axi.tkeep if hasattr(axi, "tkeep") else -1
    return [
        Value.cast(i.p.codes).eq(axi.tdata),
        i.p.keep.eq(keep),
        i.p.last.eq(axi.tlast),
        i.valid.eq(axi.tvalid),
        axi.tready.eq(i.ready),
    ]


def send(o, axi):
    """Statements that pass a stream of `RESULT_LAYOUT` out on `axi`."""
    return [
        axi.tdata.eq(o.p.word),
        axi.tlast.eq(o.p.last),
        axi.tvalid.eq(o.valid),
        o.ready.eq(axi.tready),
    ]
