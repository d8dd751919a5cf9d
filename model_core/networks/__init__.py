"""The generator and its parts."""

from model_core.networks.generator import Fill, Generator

__all__ = ["Fill", "Generator"]
