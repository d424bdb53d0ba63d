"""Step 1: what the person typed. argv -> Command, pure and hot."""
