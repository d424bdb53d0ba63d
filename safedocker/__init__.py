"""safedocker: a guard in front of docker and docker-compose. This file imports nothing."""

__version__ = "0.1.0"
