"""Reads the `.spool` files of earlier versions: a line that names the format, then frames.

A frame is the payload's length (4 bytes, big-endian), the SHA-256 of length and payload, and the payload. The first frame names
the owner, every other one is a record.
"""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

MAGIC: Final = b"train-mario spool 1\n"
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = _LENGTH_BYTES + 32


class LegacyFile(NamedTuple):
    """What a `.spool` file holds.

    Attributes:
        owner: whom the records belong to; None: the file has no intact head.
        records: those before the first damage, in order.
        damaged_bytes: how many bytes lie behind the last intact record.
    """

    owner: str | None
    records: list[bytes]
    damaged_bytes: int


def read(path: Path) -> LegacyFile:
    """The intact records of the file at `path`.

    Raises:
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    payloads: list[bytes] = []
    position = len(MAGIC) if data.startswith(MAGIC) else len(data) + 1
    while position < len(data):
        head = data[position : position + _HEAD_BYTES]
        end = position + _HEAD_BYTES + int.from_bytes(head[:_LENGTH_BYTES], "big")
        payload = data[position + _HEAD_BYTES : end]
        if end > len(data) or head[_LENGTH_BYTES:] != hashlib.sha256(head[:_LENGTH_BYTES] + payload).digest():
            break
        payloads.append(payload)
        position = end
    if not payloads:
        return LegacyFile(None, [], len(data))
    return LegacyFile(payloads[0].decode(errors="replace"), payloads[1:], len(data) - position)
