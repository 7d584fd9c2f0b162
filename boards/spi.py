"""A transport for `boards.client.Client` over an SPI controller such as Linux' spidev."""

from collections.abc import Sequence
from typing import Protocol

from hw.protocol import END, Hush

POLL_BYTES = 64


class Controller(Protocol):
    """What is needed of an SPI port; `spidev.SpiDev`, opened and set to mode 0 and its rate, is one."""

    def xfer2(self, data: Sequence[int], /) -> Sequence[int]:
        """Say bytes, and return those heard at the same time; selected from the first to the last."""
        ...


class SpiTransport:
    """Bytes both ways at once: what is heard while writing is kept for `read`.

    Parameters
        controller: at most an eighth of the device's clock fast, see `hw.spi`.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._heard = bytearray()
        self._hush = Hush()

    def write(self, data: bytes) -> None:
        self._move(data)

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes; none when the device has nothing to say."""
        if not self._heard:
            self._move(bytes([END]) * POLL_BYTES)
        part = bytes(self._heard[:size])
        del self._heard[:size]
        return part

    def _move(self, data: bytes) -> None:
        self._heard += self._hush(self._controller.xfer2(list(data)))
