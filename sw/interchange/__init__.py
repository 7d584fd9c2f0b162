"""Networks and weights of other programs.

- `nir`: artefacts and trained networks to and from NIR, the exchange format of spiking networks; on the command line,
  ``python -m sw.interchange``.
- `weights`: safetensors and PyTorch state dicts, by name or by order.
"""
