"""Step 4: a Plan's losses into a Backup, and back."""
