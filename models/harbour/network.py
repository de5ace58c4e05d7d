"""The network: a small centre-heatmap detector with its decoding inside the graph. Needs torch.

Objects as points (Zhou et al. 2019, arXiv 1904.07850) with distances to the four sides (FCOS, arXiv 1904.01355) at
stride 4. ``Heatmap`` is what is trained; ``Deployed`` wraps it with the cast, the peak search and the top 40, so that
the exported graph takes uint8 pictures as they are and gives boxes, scores and labels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.harbour.pictures import HEIGHT_PX, LABELS, WIDTH_PX

STRIDE = 4
TOP = 40
"""How many peaks the graph gives; a picture of the scene holds about ten things."""


def _conv(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Heatmap(nn.Module):
    """(n, 3, h, w) in 0–1 → class logits (n, labels, h/4, w/4) and distances (n, 4, h/4, w/4) in network pixels."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 2), _conv(16, 20, 2), _Residual(20))
        self.middle = nn.Sequential(_conv(20, 40, 2), _Residual(40))
        self.deep = nn.Sequential(_conv(40, 72, 2), _Residual(72), _Residual(72))
        self.deep_to_middle = _conv(72, 40, size=1)
        self.join_middle = _conv(40, 40)
        self.middle_to_fine = _conv(40, 28, size=1)
        self.stem_to_fine = _conv(20, 28, size=1)
        self.join_fine = _conv(28, 28)
        self.before_heads = _conv(28, 32)
        self.classes = nn.Conv2d(32, labels, 1)
        self.sides = nn.Conv2d(32, 4, 1)
        # A prior of 1 % per cell keeps the first steps from being all about empty water (arXiv 1708.02002, 4.1).
        nn.init.constant_(self.classes.bias, -4.6)
        nn.init.constant_(self.sides.bias, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stem = self.stem(x)
        middle = self.middle(stem)
        deep = self.deep(middle)
        up = functional.interpolate(self.deep_to_middle(deep), scale_factor=2.0, mode="nearest")
        middle = self.join_middle(middle + up)
        up = functional.interpolate(self.middle_to_fine(middle), scale_factor=2.0, mode="nearest")
        fine = self.before_heads(self.join_fine(self.stem_to_fine(stem) + up))
        sides = torch.exp(self.sides(fine).clamp(-4.0, 4.5)) * STRIDE
        return self.classes(fine), sides


class Deployed(nn.Module):
    """(n, h, w, 3) uint8 BGR → boxes (n, 40, 4) xyxy in network pixels, scores (n, 40), labels (n, 40) int64."""

    def __init__(self, inner: Heatmap, height_px: int, width_px: int) -> None:
        super().__init__()
        self.inner = inner
        rows, columns = height_px // STRIDE, width_px // STRIDE
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = (torch.stack([x, y], dim=-1).reshape(1, -1, 2).float() + 0.5) * STRIDE
        self.register_buffer("centres", centres)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = picture.float().permute(0, 3, 1, 2) * (1.0 / 255.0)
        logits, sides = self.inner(x)
        best, label = logits.sigmoid().max(dim=1)
        peak = functional.max_pool2d(best.unsqueeze(1), 3, 1, 1).squeeze(1)
        kept = torch.where(best >= peak, best, torch.zeros_like(best)).flatten(1)
        scores, cells = kept.topk(TOP, dim=1)
        labels = label.flatten(1).gather(1, cells)
        distances = sides.flatten(2).transpose(1, 2)
        corners = torch.cat([self.centres - distances[..., :2], self.centres + distances[..., 2:]], dim=-1)
        boxes = corners.gather(1, cells.unsqueeze(-1).expand(-1, -1, 4))
        return boxes, scores, labels


def deployed(weights: Path | None = None) -> Deployed:
    """What ``python -m export onnx models/harbour`` exports; without weights it is untrained, with the same shapes."""
    network = Heatmap(len(LABELS))
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return Deployed(network, HEIGHT_PX, WIDTH_PX)
