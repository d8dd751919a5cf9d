"""What decoding an AVIF file would really cost.

The size in its container is only what the decoder scales its frames to in the end. How large they are is in
the sequence headers of the AV1 data (AV1 Bitstream and Decoding Process Specification, sections 5.3 to 5.5),
which the container (ISO/IEC 14496-12 and 23008-12) keeps in items or, of animations, in tracks.
"""

import struct
from collections.abc import Iterator

MOST_PARTS = 1000
"""Of a kind: boxes in a box, items, OBUs. Files of more are no photographs, and take seconds to read."""
_SEQUENCE_HEADER = 1
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def frame_sizes(data: bytes) -> list[tuple[int, int]]:
    """(width, height) of the frames of each AV1 item and of each track's first chunk.

    Raises:
        ValueError, LookupError, struct.error: the file is malformed, or holds no such frame.
    """
    payloads = [*_items(data), *_tracks(data, 0, len(data))]
    sizes = [size for payload in payloads for size in _sequence_sizes(payload)]
    if not sizes:
        raise ValueError("no AV1 sequence header")
    return sizes


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of the boxes between two places."""
    for _ in range(MOST_PARTS):
        if start == end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        size = size or end - start
        if size < head or start + size > end:
            raise ValueError("a box is larger than what holds it")
        yield kind, start + head, start + size
        start += size
    raise ValueError("too many boxes")


def _tracks(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """The file from each track's first chunk on."""
    for kind, inner, inner_end in _boxes(data, start, end):
        if kind in _CONTAINERS:
            yield from _tracks(data, inner, inner_end)
        elif kind in (b"stco", b"co64"):
            (offset,) = struct.unpack_from(">I" if kind == b"stco" else ">Q", data, inner + 8)
            yield data[offset : offset + _first_sample_bytes(data, start, end)]


def _first_sample_bytes(data: bytes, start: int, end: int) -> int:
    """The size of a track's first sample, from the sample table between two places."""
    for kind, inner, _ in _boxes(data, start, end):
        if kind == b"stsz":
            common, _, first = struct.unpack_from(">III", data, inner + 4)
            return int(common or first)
    raise ValueError("a track without sizes")


def _items(data: bytes) -> Iterator[bytes]:
    """The AV1 data of each item."""
    left = 4 * len(data)
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        parts = {part: (inner, inner_end) for part, inner, inner_end in _boxes(data, start + 4, end)}
        types = dict(_item_types(data, *parts[b"iinf"]))
        for item, in_file, extents in _locations(data, parts[b"iloc"][0]):
            if types.get(item) == b"av01":
                base = 0 if in_file else parts[b"idat"][0]
                left -= sum(length or len(data) for _, length in extents)
                if left < 0:
                    raise ValueError("items are larger than the file")
                places = [(base + offset, length) for offset, length in extents]
                yield b"".join(data[at : at + length if length else None] for at, length in places)


def _item_types(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    wide_count = data[start] > 0
    for _, entry, _ in _boxes(data, start + (8 if wide_count else 6), end):
        item, _, kind = struct.unpack_from(">IH4s" if data[entry] > 2 else ">HH4s", data, entry + 4)
        yield item, kind


def _locations(data: bytes, start: int) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Of each item its number, whether its places count from the file's start, and its (offset, length)s."""
    at = start + 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("the table of items is cut off")
        return int.from_bytes(data[at - size : at])

    version = data[start]
    offset_size, length_size = data[start + 4] >> 4, data[start + 4] & 15
    base_size, index_size = data[start + 5] >> 4, data[start + 5] & 15
    for _ in range(_few(number(4 if version > 1 else 2))):
        item = number(4 if version > 1 else 2)
        method = number(2) & 15 if version else 0
        if method > 1:
            raise ValueError("an item inside of another")
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(_few(number(2))):
            number(index_size if version else 0)
            extents.append((base + number(offset_size), number(length_size)))
        yield item, method == 0, extents


def _few(count: int) -> int:
    if count > MOST_PARTS:
        raise ValueError("too many items")
    return count


def _sequence_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The largest frame of each sequence header in a string of OBUs."""
    at = 0
    for _ in range(MOST_PARTS):
        if at >= len(data):
            return
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        if (head >> 3) & 15 == _SEQUENCE_HEADER:
            yield _largest_frame(_Bits(data[at : at + min(size, 1000)]))
        at += size
    raise ValueError("too many parts")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the place after it."""
    value = 0
    for shift in range(0, 56, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 8 bytes")


class _Bits:
    """Numbers of any count of bits, one after another, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("a sequence header is cut off")
        return (self._value >> self._left) & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(min(zeros, 32))


def _largest_frame(bits: _Bits) -> tuple[int, int]:
    """max_frame_width_minus_1 + 1 and max_frame_height_minus_1 + 1 of a sequence header (section 5.5.1)."""
    bits.read(4)  # seq_profile, still_picture
    if bits.read(1):  # reduced_still_picture_header
        bits.read(5)
    else:
        _skip_timing_and_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_timing_and_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)
        if bits.read(1):  # equal_picture_interval
            bits.skip_uvlc()
        if bits.read(1):  # decoder_model_info_present_flag
            delay_bits = bits.read(5) + 1
            bits.read(42)
    display_delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # seq_level_idx
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if display_delays and bits.read(1):
            bits.read(4)
