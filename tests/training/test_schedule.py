from collections.abc import Callable

import pytest

from training.config import TrainConfig
from training.schedule import FLOOR, is_adversarial, learning_rate_factor, progress

Configure = Callable[..., TrainConfig]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((100, 0.0), 0.25), ((0, 10.0), 0.5), ((100, 10.0), 0.5), ((50, 20.0), 0.5)],
)
def test_the_nearer_limit_counts(limits: tuple[int, float], expected: float, configure: Configure) -> None:
    """After 25 samples and 5 minutes."""
    config = configure(total_samples=limits[0], max_minutes=limits[1])

    assert progress(config, 25, 5.0) == expected


def test_learning_rate_rises_stays_and_falls(configure: Configure) -> None:
    """Linear up, constant, and along a cosine down to the floor."""
    config = configure(total_samples=1000, lr_warm_up_samples=100, lr_tail_share=0.5)
    factor = [learning_rate_factor(config, samples, samples / 1000) for samples in range(0, 1001, 50)]

    assert factor[0] == pytest.approx(0.01)
    assert factor[1] == pytest.approx(0.51)
    assert factor[2:11] == [1.0] * 9
    assert factor[15] == pytest.approx((1 + FLOOR) / 2)
    assert factor[10:] == sorted(factor[10:], reverse=True)
    assert factor[20] == pytest.approx(FLOOR)


def test_schedule_without_warm_up_or_tail_is_constant(configure: Configure) -> None:
    """Both parts can be switched off."""
    config = configure(lr_warm_up_samples=0, lr_tail_share=0)

    assert {learning_rate_factor(config, samples, samples / 16) for samples in range(17)} == {1.0}


@pytest.mark.parametrize(("done", "expected"), [(0.0, False), (0.24, False), (0.25, True), (1.0, True)])
def test_adversarial_phase_follows_reconstruction(done: float, expected: bool, configure: Configure) -> None:
    """The phases meet at reconstruction_share."""
    assert is_adversarial(configure(reconstruction_share=0.25), done) is expected


def test_without_adversarial_losses_there_is_no_such_phase(configure: Configure) -> None:
    """Weights of 0 keep the run in reconstruction."""
    assert not is_adversarial(configure(losses={"adversarial": 0, "feature_matching": 0}), 1.0)
