"""How the demo's detector was made; run again, it is made again.

    python -m models.harbour.train render  PICTURES.npz
    python -m models.harbour.train learn   PICTURES.npz WEIGHTS.pt --steps 2500 [--begin OLDER.pt --rate 1e-3]
    python -m export onnx models/harbour --weights WEIGHTS.pt --out models/harbour/harbour.onnx

``render`` needs the project alone; the others need the ``export`` extra. One thread is enough.
``python -m models.harbour.examine`` then writes the figures into the card.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.harbour.network import STRIDE, Heatmap
from models.harbour.pictures import HEIGHT_PX, LABELS, WIDTH_PX, render

ROWS, COLUMNS = HEIGHT_PX // STRIDE, WIDTH_PX // STRIDE
BATCH = 8
PEAK_RATE = 2.5e-3
NEAR_CENTRE = 0.5
"""Cells whose Gaussian is above this also learn the box."""


def _targets(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One picture's truth → heat (labels, r, c), boxes (4, r, c), weight of boxes (r, c), and where to look (r, c)."""
    heat = np.zeros((len(LABELS), ROWS, COLUMNS), dtype=np.float32)
    boxes = np.zeros((4, ROWS, COLUMNS), dtype=np.float32)
    weight = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    look = np.ones((ROWS, COLUMNS), dtype=np.float32)
    x = (np.arange(COLUMNS) + 0.5) * STRIDE
    y = ((np.arange(ROWS) + 0.5) * STRIDE)[:, None]
    # Large things first, so that a small one in front of them has the last word in its own cells.
    for x1, y1, x2, y2, label, asked in sorted(rows.tolist(), key=lambda r: -(r[2] - r[0]) * (r[3] - r[1])):
        if asked == 0.0:
            look[int(y1 // STRIDE) : int(y2 // STRIDE) + 1, int(x1 // STRIDE) : int(x2 // STRIDE) + 1] = 0.0
            continue
        column, row = min(COLUMNS - 1, int((x1 + x2) / 2 // STRIDE)), min(ROWS - 1, int((y1 + y2) / 2 // STRIDE))
        spread_x, spread_y = max(2.6, (x2 - x1) / 6.0), max(2.6, (y2 - y1) / 6.0)
        middle_x, middle_y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
        bump = np.exp(-((x - middle_x) ** 2) / (2 * spread_x**2) - ((y - middle_y) ** 2) / (2 * spread_y**2))
        heat[int(label)] = np.maximum(heat[int(label)], bump)
        near = bump >= NEAR_CENTRE
        boxes[:, near] = np.array([[x1], [y1], [x2], [y2]])
        weight[near] = bump[near] / max(1.0, float(bump[near].sum()))
    return heat, boxes, weight, look


def _heat_loss(logits: Tensor, heat: Tensor, look: Tensor) -> Tensor:
    """The penalty-reduced focal loss of arXiv 1904.07850, equation 1."""
    chance = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    at_peak = heat.eq(1.0).float()
    hit = at_peak * (1 - chance).pow(2) * chance.log()
    miss = (1 - at_peak) * (1 - heat).pow(4) * chance.pow(2) * (1 - chance).log() * look.unsqueeze(1)
    return -(hit + miss).sum() / at_peak.sum().clamp(min=1.0)


def _box_loss(sides: Tensor, boxes: Tensor, weight: Tensor, centres: tuple[Tensor, Tensor]) -> Tensor:
    """One minus the generalised IoU (arXiv 1902.09630), weighted toward the centres."""
    x, y = centres
    px1, py1, px2, py2 = x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]
    tx1, ty1, tx2, ty2 = boxes.unbind(1)
    shared_w = (torch.minimum(px2, tx2) - torch.maximum(px1, tx1)).clamp(min=0)
    shared_h = (torch.minimum(py2, ty2) - torch.maximum(py1, ty1)).clamp(min=0)
    shared = shared_w * shared_h
    union = (px2 - px1) * (py2 - py1) + (tx2 - tx1) * (ty2 - ty1) - shared + 1e-6
    hull_w, hull_h = (
        torch.maximum(px2, tx2) - torch.minimum(px1, tx1),
        torch.maximum(py2, ty2) - torch.minimum(py1, ty1),
    )
    hull = hull_w * hull_h + 1e-6
    loss = 1.0 - shared / union + (hull - union) / hull
    return (loss * weight).sum() / weight.sum().clamp(min=1e-6)


def _batch(
    pixels: np.ndarray, rows: np.ndarray, starts: np.ndarray, chosen: np.ndarray, dice: np.random.Generator
) -> tuple[Tensor, ...]:
    """Pictures with truth, mirrored and re-lit by chance."""
    pictures, truths = [], []
    for index in chosen:
        picture, truth = pixels[index], rows[starts[index] : starts[index + 1]].copy()
        if dice.random() < 0.5:
            picture = picture[:, ::-1]
            truth[:, [0, 2]] = WIDTH_PX - truth[:, [2, 0]]
        pictures.append(picture)
        truths.append(_targets(truth))
    x = torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2).float() / 255.0
    gain = torch.from_numpy(dice.uniform(0.8, 1.2, (len(chosen), 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(dice.uniform(-0.06, 0.06, (len(chosen), 1, 1, 1)).astype(np.float32))
    x = (x * gain + shift).clamp(0.0, 1.0)
    return x, *(torch.from_numpy(np.stack(part)) for part in zip(*truths, strict=True))


def learn(source: Path, target: Path, *, steps: int, rate: float, begin: Path | None, seed: int = 0) -> None:
    """Cosine rate with a warm-up, AdamW, and a running mean of the weights, which is what is kept."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    dice = np.random.default_rng(seed)
    stored = np.load(source)
    pixels, rows, starts = stored["pixels"], stored["rows"], stored["starts"]
    network = Heatmap(len(LABELS)).to(memory_format=torch.channels_last)
    if begin is not None:
        network.load_state_dict(torch.load(begin, weights_only=True))
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    x = (torch.arange(COLUMNS) + 0.5) * STRIDE
    y = ((torch.arange(ROWS) + 0.5) * STRIDE).unsqueeze(1)
    order = np.zeros(0, dtype=np.int64)
    for step in range(steps):
        if len(order) < BATCH:
            order = dice.permutation(len(pixels))
        chosen, order = order[:BATCH], order[BATCH:]
        pictures, heat, boxes, weight, look = _batch(pixels, rows, starts, chosen, dice)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 60) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        logits, sides = network(pictures.to(memory_format=torch.channels_last))
        heat_loss, box_loss = _heat_loss(logits, heat, look), _box_loss(sides, boxes, weight, (x, y))
        optimiser.zero_grad()
        (heat_loss + 2.0 * box_loss).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        mean.update_parameters(network)
        if step % 20 == 0:
            print(f"step {step} of {steps}  heat {heat_loss.item():.3f}  box {box_loss.item():.3f}", flush=True)  # noqa: T201 - a script's progress
            torch.save(mean.module.state_dict(), target)
    torch.save(mean.module.state_dict(), target)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.harbour.train", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("render")
    one.add_argument("pictures", type=Path)
    one.add_argument("--places", type=int, default=1100)
    one.add_argument("--casts", type=int, default=4)
    two = steps.add_parser("learn")
    two.add_argument("pictures", type=Path)
    two.add_argument("weights", type=Path)
    two.add_argument("--steps", type=int, default=2500)
    two.add_argument("--rate", type=float, default=PEAK_RATE)
    two.add_argument("--begin", type=Path, help="go on from these weights")
    arguments = parser.parse_args()
    if arguments.step == "render":
        render(arguments.pictures, arguments.places, arguments.casts)
    else:
        learn(
            arguments.pictures,
            arguments.weights,
            steps=arguments.steps,
            rate=arguments.rate,
            begin=arguments.begin,
        )


if __name__ == "__main__":
    main()
