"""What changes over a run, as pure functions of how far it has come."""

import math

from training.config import TrainConfig

FLOOR = 0.02


def progress(config: TrainConfig, samples: int, minutes: float) -> float:
    """0 at the start, 1 at the end; whichever limit is nearer counts."""
    by_samples = samples / config.total_samples if config.total_samples else 0.0
    by_minutes = minutes / config.max_minutes if config.max_minutes else 0.0
    return max(by_samples, by_minutes)


def learning_rate_factor(config: TrainConfig, samples: int, done: float) -> float:
    """Linear rise, plateau at 1, cosine fall to `FLOOR`.

    Args:
        done: the run's `progress`.
    """
    factor = min(1.0, (samples + 1) / config.lr_warm_up_samples) if config.lr_warm_up_samples else 1.0
    tail = 1 - config.lr_tail_share
    if done > tail:
        fallen = min((done - tail) / config.lr_tail_share, 1.0)
        factor *= FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * fallen)) / 2
    return factor


def is_adversarial(config: TrainConfig, done: float) -> bool:
    """Whether the warm-up on reconstruction is over and any loss asks for the discriminator."""
    return done >= config.reconstruction_share and uses_discriminator(config)


def uses_discriminator(config: TrainConfig) -> bool:
    """Whether any loss asks for the discriminator."""
    return config.losses.adversarial > 0 or config.losses.feature_matching > 0
