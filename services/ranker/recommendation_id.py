"""The id of a recommendation: all that feedback on it needs to say, in itself.

So the ranker keeps nothing of what it recommends, feedback may come at any time and through any replica, and what was
recorded can be taken to another installation. A checksum tells damaged ids; that of a library's feedback is in nobody's
way but the library's own, so there is no signature.
"""

import base64
import binascii
import json
import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from chassis.errors import InvalidArgument
from services.ranker.signals import Vectors, unit

_VERSION = 1
_HEADER = struct.Struct("!BIH")
_NONCE_BYTES = 6
_LEVELS = 127
_MAX_SHOWN = 100
_MAX_SHOWN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What was shown for a product.

    Attributes:
        product: the product photo's unit vector in the space of `image_model`, to a hundredth of its largest number.
        image_model: the image-text model.
        backgrounds: ids within the library, the first one first.
    """

    product: Vectors
    image_model: str
    backgrounds: tuple[str, ...]


def encode(shown: Shown) -> str:
    """An id, another one each time, about 700 characters for five backgrounds and 384 dimensions."""
    numbers = np.rint(shown.product / np.abs(shown.product).max() * _LEVELS).astype(np.int8).tobytes()
    names = zlib.compress(json.dumps([shown.image_model, *shown.backgrounds]).encode())
    body = os.urandom(_NONCE_BYTES) + numbers + names
    raw = _HEADER.pack(_VERSION, zlib.crc32(body), len(numbers)) + body
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(recommendation_id: str) -> Shown:
    """What `encode` was given.

    Raises:
        InvalidArgument: it is no id that `encode` gave.
    """
    try:
        raw = base64.b64decode(recommendation_id + "=" * (-len(recommendation_id) % 4), altchars=b"-_", validate=True)
        version, checksum, count = _HEADER.unpack_from(raw)
        body = raw[_HEADER.size :]
        if version != _VERSION or zlib.crc32(body) != checksum:
            raise ValueError("no such version, or damaged")
        numbers = np.frombuffer(body, dtype=np.int8, count=count, offset=_NONCE_BYTES)
        unpacked = zlib.decompressobj().decompress(body[_NONCE_BYTES + count :], _MAX_SHOWN_BYTES)
        shown = json.loads(unpacked)
        # Whoever works out the checksum may write anything.
        if not isinstance(shown, list) or len(shown) > 1 + _MAX_SHOWN or not all(isinstance(x, str) for x in shown):
            raise ValueError("not what is shown")
        image_model, *backgrounds = shown
    except (binascii.Error, struct.error, zlib.error, ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument.of(
            "recommendation_id", "send the recommendation_id of the response as it is, all of it"
        ) from error
    return Shown(unit(tuple(numbers.tolist())), image_model, tuple(backgrounds))
