"""Settings that are more than a number or a word: API keys, a rate, origins. No error quotes a key."""

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import limits

ApiKeys = frozenset[bytes]
"""SHA-256 digests of the accepted keys, so that no object of the service holds a key itself."""

MIN_KEY_CHARACTERS = 16
_KEY = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_KEY_CHARACTERS},}}")
_ORIGIN = re.compile(r"\*|https?://[^\s/,*]+")


def keys_in_text(text: str) -> ApiKeys:
    """The digests of the keys that a text lists, separated by commas.

    Raises:
        ValueError: a key is too short, or holds characters that a header cannot carry.
    """
    return _digests(part for part in (part.strip() for part in text.split(",")) if part)


def keys_in_file(path: str) -> ApiKeys:
    """The digests of the keys in a file, one a line; empty lines and those that begin with # are skipped.

    No path, no keys.

    Raises:
        ValueError: the file cannot be read, holds no key, or one that cannot be used.
    """
    if not path:
        return frozenset()
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read as a text file") from exc
    keys = _digests(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError(f"{path} holds no key")
    return keys


def rate(text: str) -> str:
    """`text`, if it says a number of requests in a time, such as 60/minute or 5 per 10 seconds.

    Raises:
        ValueError: it does not.
    """
    try:
        (item,) = limits.parse_many(text)
    except ValueError:
        item = None
    if item is None or item.amount < 1:
        raise ValueError(f"{text!r} is no number of requests in a time; expected one such as 60/minute")
    return text


def origins(text: str) -> tuple[str, ...]:
    """The origins that a text lists, separated by commas: scheme and host, or * for all.

    Raises:
        ValueError: one of them is something else.
    """
    listed = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    for origin in listed:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin; expected one such as https://example.org, or *")
    return listed


def _digests(keys: Iterable[str]) -> ApiKeys:
    keys = list(keys)
    for number, key in enumerate(keys, start=1):
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"key {number} of {len(keys)} cannot be used; expected at least {MIN_KEY_CHARACTERS} "
                "letters, digits and characters of ._~+/=-"
            )
    return frozenset(digest(key) for key in keys)


def digest(key: str) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode("latin-1", "replace")).digest()
