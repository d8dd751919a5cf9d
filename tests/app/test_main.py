"""`python -m app` refuses to start with one sentence; tests/app/test_server.py runs it as a process."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.server import serve


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Give the test process back the handler that the service replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"CHECKPOINT": "none.safetensors"}, "none.safetensors cannot be read"),
        ({"CHECKPOINT": "words.safetensors"}, "words.safetensors is no safetensors file"),
        ({"DEVICE": "cuda:99"}, "'cuda:99'"),
        ({"DEVICE": "cpu", "PRECISION": "fp16"}, "precision fp16"),
        ({"PORT": "eighty", "MAX_SIDE": "0"}, "INPAINT_MAX_SIDE: .*; INPAINT_PORT: "),
        ({"API_KEYS": "short"}, "INPAINT_API_KEYS: key 1 of 1 cannot be used; expected at least 16 "),
    ],
    ids=[
        "missing checkpoint",
        "broken checkpoint",
        "missing device",
        "impossible precision",
        "bad settings",
        "bad key",
    ],
)
def test_what_cannot_start_says_why(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    sentence: str,
) -> None:
    """The process ends with one sentence that names the file, the device, or the settings."""
    monkeypatch.chdir(tmp_path)
    Path("words.safetensors").write_text("not a checkpoint")
    for name, value in ({"CHECKPOINT": str(tiny_checkpoint)} | variables).items():
        monkeypatch.setenv(f"INPAINT_{name}", value)
    with pytest.raises(SystemExit, match=f"^The service cannot start: .*{sentence}") as stopped:
        serve()
    assert isinstance(stopped.value.code, str)
    assert "\n" not in stopped.value.code


def test_sigterm_before_serving_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is stopped while it still loads ends with 0, not after it has loaded."""
    monkeypatch.setenv("INPAINT_PORT", "eighty")
    with pytest.raises(SystemExit):
        serve()
    with pytest.raises(SystemExit) as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 0
