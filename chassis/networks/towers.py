"""The last parts of networks that embed, in torch: from what an encoder makes of an input to one unit row."""

import torch


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
