"""Connections of a real process: slow, silent and superfluous ones are cut off, and others never notice."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

ToBytes = Callable[..., bytes]
RunService = Callable[..., AbstractContextManager[Any]]
IDLE_SECONDS = 3
SLACK_SECONDS = 10
"""What a busy machine may be late."""
MAX_CONNECTIONS = 12
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def service(run_service: RunService) -> Iterator[Any]:
    """A service that waits for a silent client for three seconds only."""
    with run_service(idle_timeout_seconds=IDLE_SECONDS, max_connections=MAX_CONNECTIONS) as service:
        yield service


def connect(service: Any, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(60)
    client.connect(("127.0.0.1", service.port))
    return client


def wait_until_closed(client: socket.socket, byte_every: float | None = None) -> None:
    """Until the server closes a connection on which a client sends a byte now and then, or nothing."""
    begin = time.monotonic()
    client.settimeout(byte_every or 20)
    while time.monotonic() - begin < 20:
        try:
            if not client.recv(1000):
                return
        except TimeoutError:
            with suppress(ConnectionError):  # the next recv tells
                client.sendall(b"x")
        except ConnectionError:
            return


def post(path: str, length: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode()


@pytest.mark.parametrize(
    ("sent", "byte_every"),
    [(b"", None), (b"GET /health HTTP/1.1\r\nX-Slow: ", 0.2), (b"G", None)],
    ids=["nothing", "a header without end", "half a line"],
)
def test_a_head_that_does_not_come_is_not_waited_for(
    service: Any, sent: bytes, byte_every: float | None
) -> None:
    """The whole head has to be there in time, however busily its parts trickle in."""
    begin = time.monotonic()
    with connect(service) as client:
        client.sendall(sent)
        wait_until_closed(client, byte_every)
    assert IDLE_SECONDS <= time.monotonic() - begin < IDLE_SECONDS + SLACK_SECONDS


def test_the_time_begins_anew_with_each_request(service: Any) -> None:
    """A connection that is used again and again, more slowly than the time in all, is kept."""
    with connect(service) as client:
        for _ in range(4):
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"}" not in answer:
                part = client.recv(2000)
                assert part, "the connection was closed"
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(IDLE_SECONDS * 0.4)


def test_the_rest_of_a_refused_body_is_not_waited_for(service: Any) -> None:
    """A client that goes on sending after it has its answer is cut off."""
    with connect(service) as client:
        client.sendall(post("/nothing", 1_000_000) + b"x")
        assert client.recv(1000).startswith(b"HTTP/1.1 404")
        begin = time.monotonic()
        wait_until_closed(client, 0.2)
        assert time.monotonic() - begin < IDLE_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize(("missing", "statuses"), [(100, [b"422"]), (1, [b"200", b"400"])])
def test_a_body_longer_than_it_says_is_no_next_request(
    service: Any, files: dict[str, bytes], missing: int, statuses: list[bytes]
) -> None:
    """What was declared counts; the bytes behind it are refused, or cut off as a head that does not come."""
    request = httpx.Request("POST", f"{service.url}/inpaint", files=files)
    body = request.read()
    head = post("/inpaint", len(body) - missing).decode().replace(FORM, request.headers["content-type"])
    with connect(service) as client:
        client.sendall(head.encode() + body)
        answer = b"".join(until_closed(client))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == statuses
    assert httpx.post(f"{service.url}/inpaint", files=files).status_code == 200


def test_a_body_may_be_slower_than_a_head(service: Any, files: dict[str, bytes]) -> None:
    """An upload has the request's time, not the time of a silent connection."""
    request = httpx.Request("POST", f"{service.url}/inpaint", files=files)
    body = request.read()
    with connect(service) as client:
        head = post("/inpaint", len(body)).decode().replace(FORM, request.headers["content-type"])
        client.sendall(head.encode() + body[:100])
        time.sleep(IDLE_SECONDS * 1.5)
        client.sendall(body[100:])
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_answer_that_is_not_read_is_not_kept(service: Any, to_bytes: ToBytes) -> None:
    """Past the time the connection is cut off; a client that reads gets the whole answer."""
    asked = request_for_noise(service, to_bytes, 3000)  # 27 MB, of which systems take a few unread
    received = {}
    for pause in (0.0, IDLE_SECONDS * 2.0):
        with connect(service, receive_buffer=4096) as client:
            client.sendall(asked)
            first = client.recv(200)
            assert first.startswith(b"HTTP/1.1 200")
            time.sleep(pause)
            whole = int(first.lower().split(b"content-length: ")[1].split()[0])
            received[pause] = len(first) + sum(len(part) for part in until_closed(client))
    assert received[0.0] > whole
    assert received[IDLE_SECONDS * 2.0] < received[0.0] * 0.9


def test_a_reader_that_is_slow_but_steady_is_served(service: Any, to_bytes: ToBytes) -> None:
    """As fast, for this time of silence, as 45 kB a second are for the usual one."""
    with connect(service, receive_buffer=4096) as client:
        client.sendall(
            request_for_noise(service, to_bytes, 1400).replace(b"Host: x", b"Host: x\r\nConnection: close", 1)
        )
        received = 0
        while part := client.recv(30_000):
            received += len(part)
            time.sleep(len(part) / 300_000)
    assert received > 3 * 1400 * 1400


def request_for_noise(service: Any, to_bytes: ToBytes, side: int) -> bytes:
    """A request whose answer, a PNG, is as large as its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    files = {"image": to_bytes(Image.fromarray(noise)), "mask": to_bytes(Image.new("L", (side, side)))}
    request = httpx.Request("POST", f"{service.url}/inpaint", files=files)
    body = request.read()
    head = post("/inpaint", len(body)).decode().replace(FORM, request.headers["content-type"])
    return head.encode() + body


def until_closed(client: socket.socket) -> Iterator[bytes]:
    try:
        while part := client.recv(1_000_000):
            yield part
    except ConnectionError:
        pass


def test_superfluous_connections_are_turned_away(service: Any) -> None:
    """One connection too many gets a 503 at once; when others leave, there is room again."""
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):  # the server takes them in the order in which they come
            stack.enter_context(connect(service))
        with connect(service) as one_more:
            answer = b"".join(until_closed(one_more))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
    service.wait_until_ready()


def test_slow_clients_delay_nobody(service: Any, files: dict[str, bytes]) -> None:
    """While three clients send one byte a second, others are answered as fast as without them."""
    # In turn, so that what else the machine does is in both.
    seconds: dict[str, list[float]] = {"alone": [], "beside": []}
    for _ in range(3):
        seconds["alone"] += seconds_of_requests(service.url, files)
        with slow_clients(service):
            seconds["beside"] += seconds_of_requests(service.url, files)
    alone, beside = median(seconds["alone"]), median(seconds["beside"])
    print(f"median of 12 requests: {1000 * alone:.0f} ms alone, {1000 * beside:.0f} ms beside slow clients")
    assert beside < alone + 0.5


def seconds_of_requests(url: str, files: dict[str, bytes]) -> list[float]:
    """How long each of four requests takes."""
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        assert httpx.post(f"{url}/inpaint", files=files, timeout=60).status_code == 200
        seconds.append(time.perf_counter() - begin)
    return seconds


@contextmanager
def slow_clients(service: Any) -> Iterator[None]:
    """Three clients that send their bodies byte by byte, until the block ends."""
    stop = threading.Event()
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(service)) for _ in range(3)]

        def trickle() -> None:
            for client in slow:
                client.sendall(post("/inpaint", 1000))
            while not stop.wait(1):
                for client in slow:
                    client.sendall(b"-")

        sender = threading.Thread(target=trickle)
        sender.start()
        time.sleep(1.5)
        try:
            yield
        finally:
            stop.set()
            sender.join()


def test_nothing_of_a_client_is_logged(
    run_service: RunService, photo: Image.Image, mask: Image.Image, to_bytes: ToBytes
) -> None:
    """The most talkative log names requests, but no key, no file name and nothing of a picture."""
    key, name, camera = "key-of-a-client-0123", "family-photo.jpg", "Camera of a client"
    exif = Image.Exif()
    exif[0x010F] = camera
    image = to_bytes(photo, "TIFF", exif=exif)
    with run_service(log_level="debug", api_keys=key) as service:
        files = {"image": (name, image), "mask": (name, to_bytes(mask))}
        answers = [
            httpx.post(
                f"{service.url}/inpaint", files=files, headers={"X-API-Key": sent, "X-Request-ID": "r-1"}
            )
            for sent in (key, f"{key}x")
        ]
        cut = {"image": (name, image[:-5000]), "mask": (name, to_bytes(mask))}
        answers.append(
            httpx.post(f"{service.url}/inpaint", files=cut, headers={"Authorization": f"Bearer {key}"})
        )
        log = service.log.read_text()
    assert [answer.status_code for answer in answers] == [200, 401, 422]
    assert "POST /inpaint" in log
    for secret in (key, name, "family", camera):
        assert secret not in log
