"""python -m safedocker."""

from safedocker.cli import main

main()
