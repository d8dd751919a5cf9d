"""The generator and its parts."""

from model_core.networks.generator import Fill, Generator
from model_core.networks.peaks import Peaks, observed_peaks

__all__ = ["Fill", "Generator", "Peaks", "observed_peaks"]
