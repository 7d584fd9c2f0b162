"""Paper 2's multi-level encoding of event frames: several binary frames become one frame of one-hot spikes.

With S lanes, groups of f = 2^(S-1) consecutive frames become one; a pixel that is set in c of them gets the power of
two nearest to c in the logarithm, 2^round(log2 c), and stays silent for c = 0.  Codes are k + 1 for the level 2^k, 0
for silence.

The published loader encodes first and then resizes every lane as an 8-bit image, two polarities at a time; its image
type takes the second polarity for transparency, so that the first one fades where the second has no events.
`resize_lanes` does this with and without that error.  What it returns is no longer one-hot, nor whole; the default of
this project is to reduce the frames in space before they are encoded.
"""

import numpy as np
from PIL import Image


def level_codes(lanes: int) -> np.ndarray:
    """Code of every count 0..2^(lanes-1), uint8."""
    counts = np.arange(2 ** (lanes - 1) + 1)
    # c rounds up to the level 2^(k+1) when c > 2^(k + 1/2); in whole numbers, c * c > 2^(2k + 1).
    ups = [counts * counts > 2 ** (2 * k + 1) for k in range(lanes - 1)]
    return ((counts > 0) + np.sum(ups, axis=0, dtype=np.int64)).astype(np.uint8)


def levels_of(codes: np.ndarray) -> np.ndarray:
    """The levels of one-hot codes, uint8 of the same shape: 0 for silence, else 2^(code - 1)."""
    return np.where(codes > 0, 1 << np.maximum(codes.astype(np.int64) - 1, 0), 0).astype(np.uint8)


def merge(frames: np.ndarray, count: int) -> np.ndarray:
    """OR of runs of n // count frames each, (n, ...) to (count, ...); frames that are left over do not count.

    Raises ValueError, one sentence, for more frames than there are.
    """
    if not 1 <= count <= len(frames):
        raise ValueError(
            f"{len(frames)} frames cannot be merged to {count}; give 1 to {len(frames)}"
        )
    run = len(frames) // count
    return frames[: run * count].reshape(count, run, *frames.shape[1:]).max(axis=1)


def encode(frames: np.ndarray, *, lanes: int, merged: int | None = None) -> np.ndarray:
    """One-hot codes of binary frames, uint8 (ceil(T' / f), ...) with f = 2^(lanes-1).

    frames: 0 or 1, (n, ...), time first.  merged: T', to how many the frames are first merged (see `merge`); None
    leaves them.  A last group that is not full is filled with -T' mod f blank frames; the published code appends
    T' mod f, which is the same number wherever it makes whole groups.
    Raises ValueError, one sentence, where the frames cannot be merged.
    """
    if merged is not None:
        frames = merge(frames, merged)
    group = 2 ** (lanes - 1)
    blank = -len(frames) % group
    padded = np.concatenate([frames, np.zeros((blank, *frames.shape[1:]), frames.dtype)])
    counts = padded.reshape(-1, group, *frames.shape[1:]).sum(axis=1, dtype=np.int64)
    return level_codes(lanes)[counts]


def resize_lanes(codes: np.ndarray, *, lanes: int, size: int, mixed: bool = False) -> np.ndarray:
    """Frames after the published order of steps: every lane resized bilinearly, then merged to levels.

    codes: uint8 (T, 2, H, W).  mixed: resize both polarities as one image with transparency, as published.
    Returns float32 (T, 2, size, size), levels 0..2^(lanes-1) in steps of 1/255 of a lane.
    """
    merged = np.zeros((len(codes), 2, size, size), np.float32)
    for lane in range(lanes):
        planes = np.where(codes == lane + 1, 255, 0).astype(np.uint8)
        for frame, (off, on) in enumerate(planes):
            if mixed:
                image = Image.fromarray(np.stack([off, on], axis=-1), "LA")
                resized = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
                merged[frame] += resized.transpose(2, 0, 1) * np.float32(2**lane / 255)
            else:
                for polarity, plane in enumerate((off, on)):
                    image = Image.fromarray(plane)
                    resized = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
                    merged[frame, polarity] += resized * np.float32(2**lane / 255)
    return merged
