"""The network that fills holes, its checkpoints, and the Inpainter around it; no HTTP, no training."""
