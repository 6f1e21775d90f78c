"""An open_clip checkpoint as the folder that transformers, and what is built on it, loads."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

_MERGES = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
# What each part is called by open_clip, and by transformers.
_PATTERNS = (
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


def write_clip_folder(checkpoint: Path, folder: Path) -> Path:
    """Writes the ViT-B-32 weights of `checkpoint`, its tokenizer and its transform to `folder`, unless it is there."""
    if folder.exists():
        return folder
    # ViT-B-32 is what CLIPConfig describes by default, but for the activation.
    config = CLIPConfig(vision_config={"hidden_act": "gelu"}, text_config={"hidden_act": "gelu"}, projection_dim=512)
    model = CLIPModel(config)
    absent, unknown = model.load_state_dict(dict(_renamed(load_file(checkpoint))), strict=False)
    if unknown or any(not name.endswith("position_ids") for name in absent):
        raise ValueError(f"the weights do not fit: absent {absent}, unknown {unknown}")
    unfinished = folder.with_suffix(".part")
    model.save_pretrained(unfinished)
    CLIPImageProcessor().save_pretrained(unfinished)
    _write_tokenizer(unfinished)
    unfinished.rename(folder)
    return folder


def _renamed(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, weight in weights.items():
        for pattern, replacement in _PATTERNS:
            name = re.sub(pattern, replacement, name)
        if ".attn.in_proj_" in name:
            kind = name.rsplit("_", 1)[1]
            for part, rows in zip("qkv", weight.chunk(3), strict=True):
                yield name.replace(f".attn.in_proj_{kind}", f".self_attn.{part}_proj.{kind}"), rows.contiguous()
        elif name in ("visual.proj", "text_projection"):
            yield {"visual.proj": "visual_projection.weight"}.get(name, "text_projection.weight"), weight.T.contiguous()
        else:
            yield name, weight


def _write_tokenizer(folder: Path) -> None:
    tokenizer = open_clip.SimpleTokenizer()
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {marks.get(token, token): number for token, number in tokenizer.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = gzip.decompress(_MERGES.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            settings | {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        )
    )
