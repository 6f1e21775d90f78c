"""The captioner's models on CUDA, where there is one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from chassis.errors import OutOfMemory
from chassis.networks.torchvision_ops import define_missing_torchvision_ops
from services.captioner.config import CaptionerConfig
from services.captioner.model_loading import load_model, open_model

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here"),
]

CLIP = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    define_missing_torchvision_ops()
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    torch.save(
        open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict(), folder / "open_clip_model.bin"
    )
    return f"open_clip:local-dir:{folder}"


@pytest.mark.parametrize("compiles", [False, True])
def test_bfloat16_on_cuda_embeds_as_float32_on_the_cpu_does(model: str, tmp_path: Path, compiles: bool) -> None:
    on_cuda = open_model(CaptionerConfig(model=model, cache_dir=tmp_path, compiles=compiles))
    on_cpu = load_model(
        CaptionerConfig(model=model, cache_dir=tmp_path, device="cpu", precision="float32", runtime="torch")
    )
    photos = np.stack([on_cpu.card.image_input.prepare(Image.effect_noise((90, 60), 60).convert("RGB"))] * 5)
    texts = ["a mug", "a chair"]

    assert on_cuda.card.runtime.startswith("torch bfloat16 on ")
    assert ((on_cuda.encode_images(photos) * on_cpu.encode_images(photos)).sum(axis=1) >= 0.999).all()
    assert ((on_cuda.encode_texts(texts) * on_cpu.encode_texts(texts)).sum(axis=1) >= 0.999).all()


def test_too_large_a_batch_fails_alone(model: str, tmp_path: Path) -> None:
    on_cuda = load_model(CaptionerConfig(model=model, cache_dir=tmp_path))
    photos = np.zeros((512, 64, 64, 3), dtype=np.uint8)
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(OutOfMemory):
            on_cuda.encode_images(photos)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert on_cuda.encode_images(photos).shape == (512, 64)
