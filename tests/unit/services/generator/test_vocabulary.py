"""Cutting a model's vocabulary: the file stays whole, and each token keeps its row."""

import io
import struct
from dataclasses import replace

import pytest

from services.generator import gguf
from services.generator.english_vocabulary import CONTROL_KIND, EMBEDDINGS, KINDS, PER_TOKEN, TOKENS, keep_english

TEXTS = ["<unk>", "<bos>", "<unused7>", "▁wood", "стол", "桌", "<0x41>", '":', "a"]
TOKEN_KINDS = [2, CONTROL_KIND, CONTROL_KIND, 1, 1, 1, 6, 1, 1]
ENGLISH = ["<unk>", "<bos>", "▁wood", "<0x41>", '":', "a"]
ROW_BYTES = 32


@pytest.fixture
def model() -> gguf.Model:
    tokens = [text.encode() for text in TEXTS]
    fields = [
        gguf.Field("general.name", gguf.STRING, gguf.STRING, [b"tiny"]),
        gguf.Field(TOKENS, gguf.ARRAY, gguf.STRING, tokens),
        gguf.Field(KINDS, gguf.ARRAY, 5, [struct.pack("<i", kind) for kind in TOKEN_KINDS]),
        gguf.Field(PER_TOKEN[2], gguf.ARRAY, 6, [struct.pack("<f", -number) for number in range(len(TEXTS))]),
    ]
    rows = b"".join(bytes([number]) * ROW_BYTES for number in range(len(TEXTS)))
    return gguf.Model(
        fields,
        [
            gguf.Tensor("norm", [8], 0, b"n" * 32),
            gguf.Tensor(EMBEDDINGS, [32, len(TEXTS)], 8, rows),
            gguf.Tensor("last", [8], 0, b"l" * 32),
        ],
    )


def written(model: gguf.Model) -> bytes:
    file = io.BytesIO()
    gguf.write(model, file)
    return file.getvalue()


def test_a_file_that_is_read_and_written_is_the_same(model: gguf.Model) -> None:
    content = written(model)
    assert gguf.parse(content) == model
    assert written(gguf.parse(content)) == content


def test_english_and_what_every_model_needs_stays(model: gguf.Model) -> None:
    cut = gguf.parse(written(keep_english(model)))
    texts = next(field for field in cut.fields if field.key == TOKENS).items
    assert [text.decode() for text in texts] == ENGLISH


def test_each_token_keeps_its_row_and_other_tensors_are_untouched(model: gguf.Model) -> None:
    norm, embeddings, last = gguf.parse(written(keep_english(model))).tensors
    kept = [embeddings.data[row * ROW_BYTES] for row in range(len(ENGLISH))]
    assert kept == [TEXTS.index(text) for text in ENGLISH]
    assert embeddings.shape == [32, len(ENGLISH)]
    assert (norm.data, last.data) == (b"n" * 32, b"l" * 32)


def test_a_model_of_another_kind_is_refused(model: gguf.Model) -> None:
    with pytest.raises(ValueError, match="has no tokenizer"):
        keep_english(replace(model, fields=model.fields[:1]))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGML" + bytes(100), b"GGUF" + struct.pack("<IQQ", 2, 0, 0)])
def test_what_is_no_gguf_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="GGUF"):
        gguf.parse(content)
