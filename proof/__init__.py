"""What can be said of each room without a network, proven by SymbiYosys for every input and every pause."""
