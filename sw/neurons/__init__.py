"""Multi-level spiking neurons; see sw.neurons.steps for the equations."""
