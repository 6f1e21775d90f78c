from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from chassis.networks.torchvision_ops import define_missing_torchvision_ops
from services.captioner.image_input import ImageInput

MEAN, STD = (0.48, 0.45, 0.41), (0.27, 0.26, 0.28)
SIZES = [(224, 224), (640, 480), (480, 641), (100, 37), (33, 500), (31, 31), (225, 224), (1, 1), (1, 15), (999, 667)]


def a_picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def open_clips_own(size: tuple[int, int], image: Image.Image, **settings: Any) -> np.ndarray[Any, Any]:
    define_missing_torchvision_ops()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(size=size, mean=MEAN, std=STD, **settings), is_train=False)
    return transform(image).numpy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (224, 224), (48, 32), (35, 70)])
def test_the_pixels_are_those_of_open_clips_own_transform(
    resize: Any, interpolation: Any, height: int, width: int
) -> None:
    if resize == "shortest" and height != width and interpolation == "bilinear":
        pytest.skip("open_clip takes bicubic here whatever it is told")
    image_input = ImageInput(width, height, MEAN, STD, resize, interpolation, fill=7)

    for size in SIZES:
        pixels = image_input.prepare(a_picture(*size))
        normalised = (torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]).div(
            torch.tensor(STD)[:, None, None]
        )
        theirs = open_clips_own(
            (height, width), a_picture(*size), resize_mode=resize, interpolation=interpolation, fill_color=7
        )
        np.testing.assert_array_equal(normalised.numpy(), theirs, err_msg=str(size))


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (3, 1), (1, 1)])
def test_a_strip_costs_no_more_memory_than_a_photo(resize: Any, size: tuple[int, int]) -> None:
    seen = [(0, 0)]

    class Watched(ImageInput):
        def _scale(self, image: Image.Image, width: int, height: int) -> Image.Image:
            seen.append((width, height))
            return ImageInput._scale(self, image, width, height)

    pixels = Watched(224, 224, MEAN, STD, resize).prepare(Image.new("RGB", size, "teal"))

    assert pixels.shape == (224, 224, 3)
    assert max(width * height for width, height in seen) <= 16 * 224 * 224


def test_the_middle_of_a_strip_is_seen() -> None:
    strip = Image.new("RGB", (10_000, 10), "white")
    strip.paste("red", (4_990, 0, 5_010, 10))

    middle = ImageInput(32, 32, MEAN, STD).prepare(strip)[16, 16]

    assert middle.tolist() == [255, 0, 0]
