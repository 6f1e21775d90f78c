"""A model's image tower as a network, in torch."""

import torch

from services.captioner.image_input import ImageInput


class ImageTower(torch.nn.Module):
    """From uint8 images of shape (rows, height, width, 3), as they come out of `ImageInput.prepare`, to rows.

    Args:
        tower: from normalised images of shape (rows, 3, height, width) to rows.
        image_input: what it was trained on.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, tower: torch.nn.Module, image_input: ImageInput) -> None:
        super().__init__()
        self.tower = tower
        self._dtype = next(tower.parameters()).dtype
        # Normalised in float32 whatever the tower computes with.
        self.register_buffer("mean", torch.tensor(image_input.mean))
        self.register_buffer("std", torch.tensor(image_input.std))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalises the images and puts them through the tower."""
        pixels = (images.to(torch.float32) / 255 - self.mean) / self.std
        rows: torch.Tensor = self.tower(pixels.permute(0, 3, 1, 2).to(self._dtype))
        return rows.to(torch.float32)
