"""The parts of image-text models as networks, in torch: from images or tokens to rows."""

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


class UnitRows(torch.nn.Module):
    """Another network with its rows brought to unit length, in float32."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Computes the rows and divides each by its length."""
        return torch.nn.functional.normalize(self.network(*inputs).to(torch.float32), dim=1)


class MeanOverTokens(torch.nn.Module):
    """From tokens and their mask, int64 of shape (rows, length), to the mean of what an encoder makes of the tokens."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Leaves the padding out of the mean."""
        states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state.to(torch.float32)
        weights = mask.to(torch.float32).unsqueeze(2)
        mean: torch.Tensor = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return mean
