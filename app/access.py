"""Who may ask: API keys, and how often one client may ask. Both are off until a setting turns them on."""

import hmac
import ipaddress
import math
import time
from collections.abc import Collection
from typing import Any

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import AppError, RateLimitedError, UnauthorizedError
from app.values import ApiKeys, digest

OPEN_PATHS = frozenset(
    {"/", "/health", "/health/live", "/health/ready", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)
OPEN_FOLDER = "/page/"
"""What needs no key and is not counted; every other path does and is, those that do not exist included."""

_SCHEMES = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key, if the service has any."},
    "Key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, in a header."},
}


class Access:
    """ASGI middleware that answers 401 without a valid key and 429 beyond the rate, before a body is read.

    Without keys nobody needs one, and the rate is that of a network address (of IPv6, its /64 network).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: ApiKeys,
        rate_limit: str | None,
        open_paths: Collection[str] = OPEN_PATHS,
    ) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths
        self._rate = RateLimit(rate_limit) if rate_limit else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_open(scope["path"]):
            try:
                client = self._identify(scope)
                if self._rate:
                    self._rate.count(client)
            except AppError as error:
                await problems.problem_response(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path.startswith(OPEN_FOLDER)

    def _identify(self, scope: Scope) -> str:
        if not self._keys:
            return _network(scope["client"])
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        offered = [headers.get("x-api-key", ""), token.strip() if scheme.lower() == "bearer" else ""]
        for candidate in [digest(key) for key in offered if key]:
            # Every accepted key is compared, each in constant time: how long it takes tells nothing.
            if any([hmac.compare_digest(candidate, accepted) for accepted in self._keys]):
                return candidate.hex()
        raise UnauthorizedError(
            "A valid API key is needed, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; "
            f"this request has {'one that is not accepted' if any(offered) else 'none'}."
        )


class RateLimit:
    """Counts requests by client in the memory of this process."""

    def __init__(self, text: str) -> None:
        self._item = limits.parse(text)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, client: str) -> None:
        """Count one request of `client`.

        Raises:
            RateLimitedError: it is one too many; this one is not counted.
        """
        if self._window.hit(self._item, client):
            return
        reset = self._window.get_window_stats(self._item, client).reset_time
        raise RateLimitedError(
            f"More requests came from this client than the {self._item} that are accepted.",
            retry_after_seconds=max(1, math.ceil(reset - time.time())),
        )


def describe(openapi: dict[str, Any], keys: ApiKeys, open_paths: Collection[str] = OPEN_PATHS) -> None:
    """Write into an OpenAPI document what `Access` enforces: the schemes, and where they apply."""
    openapi.setdefault("components", {})["securitySchemes"] = _SCHEMES
    needed: list[dict[str, list[str]]] = [{scheme: []} for scheme in _SCHEMES]
    for path, operations in openapi["paths"].items():
        if path not in open_paths:
            for operation in operations.values():
                operation["security"] = needed if keys else [*needed, {}]


def _network(client: tuple[str, int] | None) -> str:
    """Whom an address belongs to: an IPv6 client owns the /64 network that its first 8 bytes name."""
    host = client[0] if client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return address.packed[:8].hex()
    return host
