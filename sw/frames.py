"""What enters a network: images as the codes of all timesteps."""

import numpy as np

from sw.network import Network, NetworkError


def frames_of(network: Network, images: np.ndarray) -> np.ndarray:
    """Images as uint8 codes of shape (batch, step, C, H, W).

    A batch of static images (batch, C, H, W) is presented at every timestep; (batch, step, C, H, W) is taken as it is.
    Raises NetworkError for another shape, dtype or a code that the input coding does not have.
    """
    expected = (network.timesteps, *network.input_shape)
    if images.dtype != np.uint8:
        raise NetworkError(
            f"input must be uint8 codes, not {images.dtype}; round 255 times pixels in 0..1 to uint8"
        )
    if images.shape[1:] == network.input_shape:
        images = np.repeat(images[:, None], network.timesteps, axis=1)
    if images.shape[1:] != expected:
        raise NetworkError(
            f"input of shape {images.shape} does not fit the network's (batch, step, C, H, W) {expected}"
        )
    if images.size and images.max() > network.input_coding.levels:
        raise NetworkError(
            f"input code {images.max()} exceeds the {network.input_coding.levels} levels of the coding"
        )
    return images
