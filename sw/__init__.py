"""The model: training, the integer network, its exact reference and its energy."""
