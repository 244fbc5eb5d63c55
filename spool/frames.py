"""Records in a file, each framed so that damage is recognised.

A frame is the payload's length (4 bytes, big-endian), the SHA-256 of length and payload (32 bytes), and the payload. A file
that was cut short, whose tail is zeros after a power cut, or in which a bit has turned gives every whole record before the
damage, and none that was never written. Where frames lie after a damage is not guessed: a payload could hold one.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from typing import Final

_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
HEAD_BYTES: Final = _LENGTH.size + _DIGEST_BYTES
MAX_PAYLOAD: Final = 1 << 28  # 256 MiB; the largest record is an episode's actions, some tens of KB


def frame(payload: bytes) -> bytes:
    """`payload` as it stands in the file.

    Raises:
        ValueError: it is longer than a frame can be.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a record of {len(payload)} bytes is too long for the spool: at most {MAX_PAYLOAD}")
    length = _LENGTH.pack(len(payload))
    return length + _digest(length, payload) + payload


def read_frame(descriptor: int, position: int, end: int) -> bytes | None:
    """The payload of the frame at `position` of an open file that ends at `end`; None if there is no whole frame."""
    if end - position < HEAD_BYTES:
        return None
    head = os.pread(descriptor, HEAD_BYTES, position)
    if len(head) < HEAD_BYTES:
        return None
    length = _LENGTH.unpack_from(head)[0]
    if length > end - position - HEAD_BYTES:
        return None
    payload = os.pread(descriptor, length, position + HEAD_BYTES)
    whole = len(payload) == length and head[_LENGTH.size :] == _digest(head[: _LENGTH.size], payload)
    return payload if whole else None


def read_frames(descriptor: int, position: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Payloads from `position` on, each with the position behind it, up to the end of the file or the first damage."""
    while (payload := read_frame(descriptor, position, end)) is not None:
        position += HEAD_BYTES + len(payload)
        yield payload, position


def _digest(length: bytes, payload: bytes) -> bytes:
    return hashlib.sha256(length + payload).digest()
