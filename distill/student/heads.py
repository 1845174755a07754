"""A head on an encoder: its state summed up and a linear layer, or, untrained, the nearest label's words.

Refuses to know where weights come from or what a label is called.
"""

from typing import Any, Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "cls"]
SHARPNESS = 20.0
"""What cosines are multiplied with before the softmax, as sentence encoders are trained with."""


class Head(torch.nn.Module):
    """Encoder, pooling, dropout and a linear layer: inputs (B, T) -> logits (B, K), float32."""

    def __init__(self, encoder: Any, pooling: Pooling, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.dropout = torch.nn.Dropout(dropout)
        self.linear = torch.nn.Linear(encoder.config.hidden_size, labels)
        torch.nn.init.normal_(self.linear.weight, std=0.02)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, **inputs: Tensor) -> Tensor:
        """The logits, not yet divided by a temperature."""
        logits_BK: Tensor = self.linear(self.dropout(pooled(self.encoder, self.pooling, inputs)))
        return logits_BK.float()


class Nearest(torch.nn.Module):
    """No training at all: the logits are cosines between the input's state and each label's words."""

    def __init__(self, encoder: Any, pooling: Pooling, label_inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.encoder, self.pooling, self.label_inputs = encoder, pooling, label_inputs

    def forward(self, **inputs: Tensor) -> Tensor:
        """SHARPNESS * cosine, (B, K)."""
        states_BH = torch.nn.functional.normalize(pooled(self.encoder, self.pooling, inputs).float(), dim=-1)
        words_KH = pooled(self.encoder, self.pooling, self.label_inputs).float()
        return SHARPNESS * states_BH @ torch.nn.functional.normalize(words_KH, dim=-1).T


def pooled(encoder: Any, pooling: Pooling, inputs: dict[str, Tensor]) -> Tensor:
    """The state of the first token, or the mean over real tokens: (B, H)."""
    states_BTH: Tensor = encoder(**inputs).last_hidden_state
    if pooling == "cls":
        return states_BTH[:, 0]
    mask_BT1 = inputs["attention_mask"].unsqueeze(-1).to(states_BTH.dtype)
    return (states_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
