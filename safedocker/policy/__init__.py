"""Step 3: what is done about it. Plan + Policy + Caller -> Decision."""
