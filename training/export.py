"""`export`: the service's checkpoint from a training state."""

import json
from datetime import UTC, datetime
from pathlib import Path

from model_core.checkpoint import CheckpointInfo, save_checkpoint
from training.errors import OptionError
from training.state import averaged_generator


def export(state: Path, output: Path, name: str, provenance: str, scores: dict[str, float]) -> CheckpointInfo:
    """Write the averaged generator of the training state at `state` to the checkpoint `output`.

    Raises:
        StateError: the training state cannot be read.
        CheckpointError: the checkpoint cannot be written.
    """
    generator, values = averaged_generator(state)
    info = CheckpointInfo(
        name=name,
        steps=values["step"],
        samples=values["samples"],
        provenance=provenance,
        scores=scores,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(output, generator, info)
    return info


def read_scores(path: Path) -> dict[str, float]:
    """The headline figures of a scores.json that `evaluate` wrote, or a plain {"name": number} object.

    Raises:
        OptionError: the file cannot be read or holds anything else.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise OptionError(f"scores {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise OptionError(f"scores {path} is not JSON: {error}") from error
    scores = values.get("scores", values) if isinstance(values, dict) else None
    if not isinstance(scores, dict) or not all(type(value) in (int, float) for value in scores.values()):
        raise OptionError(f'scores {path} is not of the form {{"name": number}}')
    return {str(name): float(value) for name, value in scores.items()}
