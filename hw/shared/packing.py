"""Weights as the words that the lanes read, and as the beats in which they come in."""

import numpy as np

from sw.schedule import Schedule, Step


def rows_of(schedule: Schedule, step: Step) -> np.ndarray:
    """The words of P weights of a step: int8, (group, row, lane); channels and lanes that are not there are zeros."""
    sharing, groups = schedule.sharing, schedule.groups(step)
    lanes = sharing.lanes
    rows = np.zeros((groups, schedule.rows(step), lanes), np.int8)
    for term, number in zip(step.terms, schedule.numbers(step), strict=False):
        first = number * schedule.word_rows(term.source)
        columns = term.weights.transpose(0, 2, 3, 1)
        columns = np.pad(columns, ((0, groups * lanes - step.channels), *[(0, 0)] * 3))
        if term.diagonal:
            lane = np.arange(schedule.group_words(term) * sharing.word_codes)
            rows[:, first + lane, lane] = columns.reshape(groups, lanes)[:, lane]
            continue
        size = schedule.words(term.source, term.shape[0]) * schedule.word_rows(term.source)
        columns = np.pad(columns, (*[(0, 0)] * 3, (0, size - term.shape[0])))
        grouped = columns.reshape(groups, lanes, -1).transpose(0, 2, 1)
        rows[:, first : first + grouped.shape[1]] = grouped
    return rows


def pack(words: np.ndarray, width: int, beats: int, stream_width: int) -> np.ndarray:
    """int8 (word, lane) as `beats` beats a word of `width` bits a lane, uint8 (beat, byte), low byte first."""
    bits = np.unpackbits(words[:, :, None].astype(np.uint8), axis=2, bitorder="little")
    bits = bits[:, :, :width].reshape(len(words), -1)
    bits = np.pad(bits, ((0, 0), (0, beats * stream_width - bits.shape[1])))
    return np.packbits(bits, axis=1, bitorder="little").reshape(-1, stream_width // 8)
