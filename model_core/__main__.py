"""`python -m model_core`: compile what the first start would compile otherwise (`networks.compiled`)."""

from model_core.checkpoint import bundled_path
from model_core.inpainter import Inpainter

if __name__ == "__main__":
    Inpainter.from_checkpoint(bundled_path(), device="cpu").prepare()
