"""The settings come from the environment, are checked, and cannot change."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, unknown_variables
from model_core.checkpoint import bundled_path


def test_defaults_are_the_documented_ones() -> None:
    """Without any environment the service has its promised limits and listens on loopback only."""
    settings = Settings()
    assert settings.checkpoint == bundled_path()
    assert (settings.max_request_bytes, settings.max_pixels) == (30_000_000, 50_000_000)
    assert (settings.timeout_seconds, settings.host, settings.port) == (60, "127.0.0.1", 8000)


def test_environment_variables_set_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """INPAINT_ plus a field's name in capitals sets it."""
    monkeypatch.setenv("INPAINT_CHECKPOINT", "/models/mine.safetensors")
    monkeypatch.setenv("INPAINT_MAX_PIXELS", "1000")
    monkeypatch.setenv("INPAINT_TIMEOUT_SECONDS", "2.5")
    settings = Settings()
    assert settings.checkpoint == Path("/models/mine.safetensors")
    assert settings.max_pixels == 1000
    assert settings.timeout_seconds == 2.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "eighty"),
        ("device", "tpu"),
        ("precision", "int4"),
        ("max_request_bytes", "0"),
        ("max_pixels", "1000000000"),
        ("max_side", "20000"),
        ("max_concurrency", "0"),
        ("max_queued_requests", "-1"),
        ("timeout_seconds", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("drain_seconds", "-1"),
        ("grace_seconds", "-1"),
        ("watch_checkpoint", "-1"),
        ("threads", "0"),
        ("max_decode_seconds", "0"),
        ("max_held_bytes", "0"),
        ("max_connections", "0"),
        ("idle_timeout_seconds", "0"),
    ],
)
def test_impossible_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value that could not work is refused when the settings are read, naming its field."""
    monkeypatch.setenv(f"INPAINT_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert caught.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_settings_are_frozen(name: str) -> None:
    """Nobody changes the configuration of a running service, in any field."""
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_field_is_described(name: str) -> None:
    """Each field says in a sentence what it does."""
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")


def test_variables_that_are_no_settings_are_found() -> None:
    """A misspelt one with what was meant, case aside as for the settings; what others set is none of ours."""
    names = [
        "INPAINT_API_KEY",
        "inpaint_max_pixel",
        "INPAINT_SERVICE_HOST",
        "INPAINT_PORT",
        "inpaint_device",
        "PATH",
    ]
    assert unknown_variables(names) == {
        "INPAINT_API_KEY": "INPAINT_API_KEYS",
        "inpaint_max_pixel": "INPAINT_MAX_PIXELS",
        "INPAINT_SERVICE_HOST": None,
    }
