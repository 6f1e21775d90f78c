"""Reads and writes GGUF, the file format of llama.cpp: as much of it as cutting a vocabulary needs.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3, little-endian).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"GGUF"
VERSION = 3
HEADER_BYTES = 24
ALIGNMENT = 32

STRING, ARRAY = 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass(frozen=True)
class Field:
    """A key of the header. `items` are raw values: one, or those of an array, whose `item_kind` is then theirs."""

    key: str
    kind: int
    item_kind: int
    items: Sequence[bytes]


@dataclass(frozen=True)
class Tensor:
    """A tensor with its bytes as they are stored; `shape` has the length of a row first, as GGUF does."""

    name: str
    shape: Sequence[int]
    dtype: int
    data: bytes


@dataclass(frozen=True)
class Model:
    """What a file holds, in its order."""

    fields: Sequence[Field]
    tensors: Sequence[Tensor]


def parse(content: bytes) -> Model:
    """Reads a whole file.

    Raises:
        ValueError: it is not GGUF of the version that is known here.
    """
    reader = _Reader(content)
    if len(content) < HEADER_BYTES or reader.raw(4) != MAGIC or reader.number("I") != VERSION:
        raise ValueError(f"not a GGUF file of version {VERSION}")
    tensor_count, field_count = reader.number("Q"), reader.number("Q")
    fields = [reader.field() for _ in range(field_count)]
    headers = [reader.tensor_header() for _ in range(tensor_count)]
    start = _aligned(reader.position)
    ends = dict(_spans([offset for *_, offset in headers], len(content) - start))
    return Model(
        fields,
        [
            Tensor(name, shape, dtype, content[start + offset : start + ends[offset]])
            for name, shape, dtype, offset in headers
        ],
    )


def write(model: Model, file: BinaryIO) -> None:
    """Writes a whole file."""
    file.write(MAGIC + struct.pack("<IQQ", VERSION, len(model.tensors), len(model.fields)))
    for field in model.fields:
        file.write(_packed(field))
    offset = 0
    for tensor in model.tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        file.write(_string(tensor.name.encode()) + shape + struct.pack("<IQ", tensor.dtype, offset))
        offset += _aligned(len(tensor.data))
    _pad(file)
    for tensor in model.tensors:
        file.write(tensor.data)
        _pad(file)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._content, self.position)
        self.position += struct.calcsize(f"<{code}")
        return int(value)

    def raw(self, size: int) -> bytes:
        self.position += size
        return self._content[self.position - size : self.position]

    def item(self, kind: int) -> bytes:
        return self.raw(self.number("Q") if kind == STRING else SCALAR_BYTES[kind])

    def field(self) -> Field:
        key, kind = self.item(STRING).decode(), self.number("I")
        if kind != ARRAY:
            return Field(key, kind, kind, [self.item(kind)])
        item_kind, count = self.number("I"), self.number("Q")
        return Field(key, kind, item_kind, [self.item(item_kind) for _ in range(count)])

    def tensor_header(self) -> tuple[str, list[int], int, int]:
        name = self.item(STRING).decode()
        shape = [self.number("Q") for _ in range(self.number("I"))]
        return name, shape, self.number("I"), self.number("Q")


def _spans(offsets: Iterable[int], end: int) -> Iterable[tuple[int, int]]:
    starts = sorted(offsets)
    return zip(starts, [*starts[1:], end], strict=True)


def _packed(field: Field) -> bytes:
    items = b"".join(_string(item) if field.item_kind == STRING else item for item in field.items)
    head = _string(field.key.encode()) + struct.pack("<I", field.kind)
    if field.kind == ARRAY:
        head += struct.pack("<IQ", field.item_kind, len(field.items))
    return head + items


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(bytes(_aligned(file.tell()) - file.tell()))
