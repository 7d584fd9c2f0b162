"""The spike SRAM of a layer: a ring of its last input rows, and the rooms around it."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .fetcher import Fetcher
from .framer import Framer, census_layout
from .geometry import Geometry
from .packer import Packer
from .spike import beat_layout
from .writer import Writer


class Window(wiring.Component):
    """Takes spike codes in raster order and yields, for every output position and group, the words that hold spikes.

    Rows are kept in a ring; a row is overwritten only when no window needs it any more, and an output row starts when
    its input rows have arrived, so images and frames follow each other without a gap.

    Members
        i: stream of beats (in); o: stream of items (out)
        spikes: codes that are not silent in the word now stored (out); word_written, word_read, frame_written,
        frame_read: a word, and the last of a frame (out); all for the counters
    """

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.packer = Packer(g)
        self.writer = Writer(g, self.packer.o.payload.shape())
        self.framer = Framer(g)
        self.fetcher = Fetcher(g, self.framer.o.payload.shape())
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(g.beat, g.coding))),
                "o": Out(stream.Signature(self.fetcher.o.payload.shape())),
                "spikes": Out(range(g.word + 1)),
                "word_written": Out(1),
                "word_read": Out(1),
                "frame_written": Out(1),
                "frame_read": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.packer = packer = self.packer
        m.submodules.writer = writer = self.writer
        m.submodules.framer = framer = self.framer
        m.submodules.fetcher = fetcher = self.fetcher
        m.submodules.words = words = Memory(shape=fetcher.word_layout, depth=g.spike_depth, init=[])
        m.submodules.census = census = Memory(shape=census_layout(g), depth=g.map[1], init=[])
        wiring.connect(m, i=wiring.flipped(self.i), packer=packer.i)
        wiring.connect(m, packer=packer.o, writer=writer.i)
        wiring.connect(m, framer=framer.o, fetcher=fetcher.i)
        wiring.connect(m, fetcher=fetcher.o, o=wiring.flipped(self.o))

        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(writer.word_en),
            write.addr.eq(writer.word_addr),
            write.data.codes.eq(packer.o.p.codes),
            write.data.index.eq(packer.o.p.index),
            read.en.eq(fetcher.word_en),
            read.addr.eq(fetcher.word_addr),
            fetcher.word.eq(read.data),
        ]
        write, read = census.write_port(granularity=1), census.read_port()
        m.d.comb += [
            write.en.eq(writer.census_en),
            write.addr.eq(writer.census_addr),
            Cat(write.data[row] for row in range(g.rows)).eq(writer.count.replicate(g.rows)),
            read.en.eq(framer.census_en),
            read.addr.eq(framer.census_addr),
            framer.census.eq(read.data),
        ]

        space = Signal(range(g.rows + 1), init=g.rows)
        m.d.sync += space.eq(space - writer.taken + fetcher.freed)
        m.d.comb += [
            writer.space.eq(space != 0),
            writer.hold.eq(framer.census_en & (framer.census_addr == writer.census_addr)),
            framer.row_written.eq(writer.row_written),
            self.frame_written.eq(writer.frame_written),
            self.word_written.eq(writer.word_en),
            self.word_read.eq(fetcher.word_en),
            self.frame_read.eq(fetcher.done),
            self.spikes.eq(
                Mux(writer.word_en, sum(packer.o.p.codes[n].any() for n in range(g.word)), 0)
            ),
        ]
        return m
