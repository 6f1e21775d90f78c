"""The image-text models themselves: the embedded default, and open_clip from a checkpoint on disk."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from chassis.torchvision_ops import define_missing_torchvision_ops
from services.captioner.application import open_reader
from services.captioner.config import CaptionerConfig
from services.captioner.embedding_cache import EmbeddingCache
from services.captioner.errors import ModelNotLoaded
from services.captioner.features import PhotoFeatures, PhotoReader
from services.captioner.image_decoding import Limits
from services.captioner.image_text_model import ImageTextModel, load_model
from services.captioner.taxonomy import load_taxonomy

# Torch and its friends warn of their own affairs while they are imported.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

SIDE_PX, TEXT_LENGTH = 32, 16


@pytest.fixture(scope="module")
def cache_dir(request: pytest.FixtureRequest) -> Path:
    """Kept between runs: embedding all labels anew takes a while."""
    return request.config.cache.mkdir("captioner")


@pytest.fixture(scope="module")
def reader(cache_dir: Path) -> PhotoReader:
    return open_reader(CaptionerConfig(cache_dir=cache_dir))


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


def test_conse_tells_what_a_product_is(reader: PhotoReader) -> None:
    clock, ball = reader.read(a_wall_clock(), "product"), reader.read(a_tennis_ball(), "product")

    assert (best(clock, "object_type"), best(ball, "object_type")) == ("wall clock", "tennis ball")


def test_conse_scores_the_true_caption_highest(reader: PhotoReader) -> None:
    clock = reader.read(a_wall_clock(), "product")
    captions = ["A round clock hangs on the wall.", "A leather shoe on a wooden floor.", "A bowl of fruit."]

    scores = reader.score(clock.embedding, captions)

    assert scores[0] == max(scores)
    assert all(-1 <= score <= 1 for score in scores)


def test_conse_is_unsure_of_noise(reader: PhotoReader) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)

    assert best(reader.read(encoded(Image.fromarray(noise)), "product"), "object_type") == "unsure"


def test_conse_embeds_at_unit_length(reader: PhotoReader) -> None:
    model = reader.model
    texts = model.encode_text(["a mug", "a chair"])
    image = reader.read(a_wall_clock(), "background").embedding

    assert texts.shape == (2, model.dimension)
    assert image.shape == (model.dimension,)
    np.testing.assert_allclose(np.linalg.norm([*texts, image], axis=1), 1, atol=1e-5)


def test_a_background_is_read_with_its_light_and_colours(reader: PhotoReader) -> None:
    night = Image.new("RGB", (640, 480), (10, 14, 40))

    features = reader.read(encoded(night), "background")

    assert best(features, "lighting") in {"dim", "cool"}
    assert best(features, "color") in {"navy", "black"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CLIP of random weights, as `open_clip` saves them."""
    define_missing_torchvision_ops()
    import open_clip

    folder = tmp_path_factory.mktemp("tiny-clip")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": SIDE_PX, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": TEXT_LENGTH, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder


def load(source: str, **settings: object) -> ImageTextModel:
    return load_model(CaptionerConfig.model_validate({"model": f"open_clip:{source}", "device": "cpu", **settings}))


def test_open_clip_embeds_as_open_clip_itself_does(checkpoint: Path) -> None:
    import open_clip

    ours = load(f"local-dir:{checkpoint}", precision="float32")
    theirs, transform = open_clip.create_model_from_pretrained(f"local-dir:{checkpoint}")
    theirs.eval()
    photos = [Image.effect_noise((90, 60), 60).convert("RGB"), Image.new("RGB", (40, 70), "teal")]
    texts = ["a red mug", "a wooden table in front of a window"]

    with torch.inference_mode():
        images = theirs.encode_image(torch.stack([transform(photo) for photo in photos]), normalize=True).numpy()
        sentences = theirs.encode_text(
            open_clip.get_tokenizer(f"local-dir:{checkpoint}")(texts), normalize=True
        ).numpy()

    np.testing.assert_allclose(
        ours.encode_image(torch.stack([ours.preprocess(photo) for photo in photos])), images, atol=1e-5
    )
    np.testing.assert_allclose(ours.encode_text(texts), sentences, atol=1e-5)
    assert ours.logit_scale == pytest.approx(float(theirs.logit_scale.exp()))
    assert ours.dimension == 24


def test_bfloat16_hardly_moves_an_embedding(checkpoint: Path) -> None:
    full, half = (load(f"local-dir:{checkpoint}", precision=precision) for precision in ("float32", "bfloat16"))
    photo = full.preprocess(Image.effect_noise((90, 60), 60).convert("RGB"))[None]

    assert float(full.encode_image(photo)[0] @ half.encode_image(photo)[0]) > 0.999
    assert float(full.encode_text(["a mug"])[0] @ half.encode_text(["a mug"])[0]) > 0.999


def test_many_texts_are_embedded_in_their_order(checkpoint: Path) -> None:
    model = load(f"local-dir:{checkpoint}", precision="float32")
    texts = [f"photo number {number}" for number in range(150)]

    np.testing.assert_allclose(model.encode_text(texts)[149], model.encode_text(texts[149:])[0], atol=1e-5)


def test_other_weights_give_the_model_another_name(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint / "open_clip_pytorch_model.bin", weights_only=True)
    state["logit_scale"] = state["logit_scale"] + 1
    (tmp_path / "open_clip_config.json").write_text((checkpoint / "open_clip_config.json").read_text())
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")

    assert load(f"local-dir:{checkpoint}").name == load(f"local-dir:{checkpoint}").name
    assert load(f"local-dir:{checkpoint}").name != load(f"local-dir:{tmp_path}").name


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("ViT-B-32", "names no weights"),
        ("ViT-B-32:no-such-tag", "not a known tag or valid file path"),
        ("No-Such-Model:openai", "not found"),
        ("local-dir:/no/such/folder", "not found"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named(source: str, says: str) -> None:
    with pytest.raises(ModelNotLoaded, match=says):
        load(source)


def test_a_photo_is_read_with_open_clip(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(
        "{name: things, description: Things, categories: "
        "[{name: kind, reader: zero_shot, labels: [mug, chair]}, {name: color, reader: palette, labels: [red, white]}]}"
    )
    model = load(f"local-dir:{checkpoint}")
    taxonomies = {"things": load_taxonomy(tmp_path / "things.yaml")}
    features = PhotoReader(model, taxonomies, EmbeddingCache(tmp_path), Limits()).read(a_wall_clock(), "things")

    assert len(features.embedding) == 24
    assert best(features, "color") == "white"
