"""Networks and weights of other tools."""
