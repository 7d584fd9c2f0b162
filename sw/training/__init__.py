"""Training: recipes, the loop, and what it is made of."""
