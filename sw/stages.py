"""The recurrence behind `sw.clocks`: layers that hand rows to each other, each row at the clock when it is done.

A stage is the input, a layer with weights or a join; pools lie on the way between two of them.  A row is offered when
the stage would be done with it, and sent when every reader has taken it: a join takes a row of one source when the
other sources have offered theirs, less what its queues hold.
"""

from dataclasses import dataclass, field

import numpy as np

from sw.rows import Rows

JOIN_DELAY = 6  # clocks from a beat of the last source to the sum


@dataclass
class Way:
    """One stream from a stage to a reader.

    Members
        reader: who reads it; output: rows that the sender makes of a frame; pool: how many of them are one on arrival
        stored: rows of a frame that the reader keeps; a flat map is one
        depth: beats that wait before a join
        arrived: clocks at which the rows of the stream reach a layer with weights; started, offered: at which the
            sender of a join began and was done with them; rest: what is left to do of such a row when the join has room
    """

    reader: "Stage"
    output: int
    pool: int
    stored: int
    depth: int = 0
    arrived: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def place(self, row: int) -> tuple[int | None, int | None]:
        """(the reader's row that begins with row `row` of the sender, the one that is complete with it)."""
        frame, y = divmod(row, self.output)
        pooled, left = divmod(y + 1, self.pool)
        if left or pooled > self.output // self.pool:
            return None, None
        share = self.output // self.pool // self.stored
        found, part = divmod(pooled - 1, share)
        found += frame * self.stored
        return found if part == 0 else None, found if part == share - 1 else None


@dataclass
class Stage:
    """The input, a layer with weights, or a join.

    Members
        index: of the layer, -1 of the input; rows: of a layer with weights
        slots: clocks of work of every output row of the batch: for a join and the input, beats
        ahead: how many of them fit into what lies between the stage and its reader
        wait: from the arrival of rows to the first slot; delay: from the end of a row to its arrival at the reader
        sources, readers: the ways that lead here and away
        starts, offers, ends, freed: clocks at which rows are begun, done, sent, and stored ones forgotten
        starved, blocked: clocks spent waiting for input, and for room
    """

    index: int
    rows: Rows | None
    slots: np.ndarray
    ahead: np.ndarray
    wait: int = 0
    delay: int = 0
    sources: list[Way] = field(default_factory=list)
    readers: list[Way] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    offers: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    freed: list[float] = field(default_factory=list)
    starved: float = 0.0
    blocked: float = 0.0

    def advance(self) -> bool:
        """Offer or send the next row, if all that it waits for is known; false when nothing moved."""
        row = len(self.ends)
        moved = False
        if row == len(self.offers):
            if row == len(self.slots) or not self._offer(row):
                return False
            moved = True
        end = self.offers[row]
        for way in self.readers:
            _, complete = way.place(row)
            if way.depth and complete is not None:
                clock = way.reader.taken_at(complete, way.depth)
                if clock is None:
                    return moved
                end = max(end, clock)
        self._send(row, end)
        return True

    def taken_at(self, row: int, depth: int) -> float | None:
        """When a join has taken so many beats that a source can send all of `row`; None if that is not known yet."""
        beats = int(self.slots[0])
        needed = (row + 1) * beats - depth
        if needed <= 0:
            return 0.0
        last, part = divmod(needed - 1, beats)
        if last >= len(self.ends):
            return None
        begun, done = self.starts[last], self.ends[last]
        return begun + (done - begun) * (part + 1) / beats

    def _offer(self, row: int) -> bool:
        work = float(self.slots[row])
        begun = self._begin(row)
        if begun is None:
            return False
        start, end = begun
        for way in self.readers:
            first, _ = way.place(row)
            if way.reader.rows is None or first is None:
                continue
            freeing = first - way.reader.rows.ring
            if freeing >= len(way.reader.freed):
                return False
            if freeing >= 0:
                left = max([work - float(self.ahead[row]), *self._shallow(row)])
                end = max(end, way.reader.freed[freeing] + left)
        self.starts.append(start)
        self.offers.append(end)
        for way in self.readers:
            _, complete = way.place(row)
            if way.depth and complete is not None:
                way.started.append(start)
                way.offered.append(end)
                way.rest.append(work - float(self.ahead[row]))
        return True

    def _begin(self, row: int) -> tuple[float, float] | None:
        """(start, end) of a row whose readers have room; None while the rows that it needs are not known."""
        before = self.ends[-1] if self.ends else 0.0
        work = float(self.slots[row])
        if self.rows is not None:
            (way,) = self.sources
            frame, y = divmod(row, self.rows.output)
            base, count, _ = self.rows.span(y)
            needed = frame * self.rows.stored + base + count - 1
            if needed >= len(way.arrived):
                return None
            start = max(before, way.arrived[needed] + self.wait)
            return start, start + work
        if any(row >= len(way.offered) for way in self.sources):
            return None
        start = max([before, *(way.started[row] for way in self.sources)])
        return start, max([start + work, *(way.offered[row] + JOIN_DELAY for way in self.sources)])

    def _shallow(self, row: int) -> list[float]:
        """Work that the sources of a join have left for a row that does not fit its queues."""
        if self.rows is not None:
            return []
        return [way.rest[row] for way in self.sources if way.depth < int(self.slots[0])]

    def _send(self, row: int, end: float) -> None:
        before = self.ends[-1] if self.ends else 0.0
        self.starved += self.starts[row] - before
        self.blocked += end - self.starts[row] - float(self.slots[row])
        self.ends.append(end)
        if self.rows is not None:
            self.freed += [end] * self.rows.span(row % self.rows.output)[2]
        for way in self.readers:
            _, complete = way.place(row)
            if not way.depth and complete is not None:
                way.arrived.append(end + self.delay)


def run(stages: list[Stage]) -> None:
    """All rows of all stages."""
    moved = True
    while moved:
        moved = False
        for stage in stages:
            while stage.advance():
                moved = True
    assert all(len(stage.ends) == len(stage.slots) for stage in stages), "a row waits for itself"
