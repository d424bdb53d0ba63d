"""Step 5: the world outside, one file a neighbour."""
