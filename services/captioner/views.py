"""The views of a photo that the image-text model gets to see."""

from PIL import Image

from services.captioner.foreground import Box

# Room around a product, so that its outline stays visible.
_ROOM = 1.15
# A product that fills this much of its photo needs no view of its own.
_FILLS_PHOTO = 0.9


def cut_views(image: Image.Image, box: Box | None) -> list[Image.Image]:
    """The whole photo and, when a product stands out in it, the square around the product.

    A model squeezes views into a square, so the cut-out is square as far as the photo has room for it.
    """
    if box is None:
        return [image]
    left, top, right, bottom = _square_around(box, image.width, image.height)
    if (right - left) * (bottom - top) > _FILLS_PHOTO * image.width * image.height:
        return [image]
    return [image, image.crop((left, top, right, bottom))]


def _square_around(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    side = _ROOM * max((box.right - box.left) * width, (box.bottom - box.top) * height)
    left, right = _span((box.left + box.right) / 2 * width, side, width)
    top, bottom = _span((box.top + box.bottom) / 2 * height, side, height)
    return left, top, right, bottom


def _span(center: float, length: float, limit: int) -> tuple[int, int]:
    """`length` pixels around `center`, moved to lie within 0 and `limit`."""
    length = min(length, limit)
    start = min(max(center - length / 2, 0), limit - length)
    return int(start), max(int(start) + 1, round(start + length))
