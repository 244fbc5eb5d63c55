"""The feature extractor for the observation `tiles`."""

from __future__ import annotations

from typing import Final

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.extractors.shares import in_shares
from mario_env.observations import tiles

# What the network sees of the blocks is a window around Mario: what matters is where they are from him.
_ABOVE, _BELOW, _LEFT, _RIGHT = 6, 7, 4, 9
_WINDOW: Final = (_ABOVE + 1 + _BELOW) * (_LEFT + 1 + _RIGHT)
# Mario's cell is in rows -1 to 15 and columns 0 to 16, so the window reaches so many cells beyond the screen.
_PADDING: Final = (_LEFT, _RIGHT + 1, _ABOVE + 1, _BELOW + 3)  # left, right, above, below
_WIDTH: Final = tiles.COLUMNS + _PADDING[0] + _PADDING[1]
# Numbers of a block. What lies outside the screen is empty.
_BLOCK_NUMBERS: Final = {
    "solid": ("solid", "brick", "question", "pipe", "spring", "cannon"),
    "breakable": ("brick", "question"),
    "pipe": ("pipe", "cannon"),
    "wanted": ("coin", "pole", "axe", "vine"),
}
_KIND_NUMBERS: Final = 8
_OBJECT_NUMBERS: Final = 2 + 2 + 8 + 2  # place from Mario, movement from Mario, bits of its state, speed
_OBJECT_FEATURES: Final = 32
_STATES: Final = 4  # of Mario: on the ground, jumps, falls, climbs
_MARIO_NUMBERS: Final = 2 + 2 + 2 + 1 + _STATES + tiles.COLUMNS
# What brings the numbers of the row STATUS_ROW to about 1.
_STATUS_SCALE: Final = (2.0, 2.0, 2.0, 192.0, 1.0, 1.0, 35.0, 8.0, 128.0, 256.0, 256.0, 4.0, 1.0, 1.0, 1.0, 1.0)
_FASTEST: Final = 40.0  # of the x speed's units, which are sixteenths of a pixel a frame


class TileNetwork(BaseFeaturesExtractor):
    """Looks at the blocks in a window around Mario, and at each object's place relative to him; about 0.2 MFLOP.

    Takes float32 or uint8 (n, rows, columns) in [0, 255] (:class:`mario_env.observations.Tiles`; they are scaled here), returns
    float32 (n, features_dim).
    """

    block_numbers: torch.Tensor
    window: torch.Tensor
    status_scale: torch.Tensor
    bits: torch.Tensor

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 96, layer_norm: bool = False) -> None:
        super().__init__(observation_space, features_dim)
        numbers = [[float(name in classes) for classes in _BLOCK_NUMBERS.values()] for name in tiles.BLOCKS]
        # For any byte, since the time of an update is measured with random observations.
        self.register_buffer("block_numbers", nn.functional.pad(torch.tensor(numbers), (0, 0, 0, 256 - len(numbers))), False)
        self.register_buffer("window", _window(), persistent=False)
        self.register_buffer("status_scale", torch.tensor(_STATUS_SCALE), persistent=False)
        self.register_buffer("bits", 2 ** torch.arange(8), persistent=False)
        self.kinds = nn.Embedding(tiles.KINDS, _KIND_NUMBERS)
        self.objects = _layer(_KIND_NUMBERS + _OBJECT_NUMBERS, _OBJECT_FEATURES, layer_norm)
        inputs = _WINDOW * len(_BLOCK_NUMBERS) + _OBJECT_FEATURES + _MARIO_NUMBERS
        self.hidden = nn.Sequential(*_layer(inputs, features_dim, layer_norm), *_layer(features_dim, features_dim, layer_norm))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return in_shares(self._features, observations, self)

    def _features(self, observations: torch.Tensor) -> torch.Tensor:
        table = observations.long()
        x, y = table[:, tiles.X_ROW, :1], table[:, tiles.Y_ROW, :1]
        parts = [self._blocks(table, x, y), self._objects(table, x, y), self._mario(table, x, y)]
        features: torch.Tensor = self.hidden(torch.cat(parts, dim=1))
        return features

    def _blocks(self, table: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The numbers of the blocks around the middle of small Mario: float32 (n, window x numbers)."""
        padded = nn.functional.pad(table[:, : tiles.BLOCK_ROWS].to(torch.uint8), _PADDING)  # a byte a cell: it is copied
        # A cell has 16 pixels; the first row of blocks begins 32 pixels down. Small Mario is the lower half of his 32 pixels.
        row, column = (y - 8) // 16 + _PADDING[2], (x + 8) // 16 + _PADDING[0]
        found = padded.flatten(1).gather(1, row * _WIDTH + column + self.window)
        return nn.functional.embedding(found.int(), self.block_numbers).flatten(1)

    def _objects(self, table: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The sum of the features of all objects but Mario: float32 (n, features)."""
        rows = table[:, tiles.KIND_ROW : tiles.STATUS_ROW, 1:]
        kind, then_kind = rows[:, 0], rows[:, tiles.THEN_ROW - tiles.KIND_ROW]
        then = table[:, tiles.THEN_ROW + 1 : tiles.THEN_ROW + 3]
        place = (rows[:, 1:3] - torch.stack((x, y), dim=1)).float()
        moved = place - (then[:, :, 1:] - then[:, :, :1]).float()
        moved = moved * (kind == then_kind).unsqueeze(1)  # else another object is in this slot now
        bits = (rows[:, 3].unsqueeze(1) & self.bits.view(1, -1, 1)).bool().float()
        speed = (rows[:, 4:6] - 128).float()
        numbers = torch.cat((place / 64.0, moved / 16.0, bits, speed / 32.0), dim=1).transpose(1, 2)
        features = self.objects(torch.cat((self.kinds(kind.clamp(max=tiles.KINDS - 1)), numbers), dim=2))
        total: torch.Tensor = (features * (kind != 0).unsqueeze(2)).sum(dim=1)
        return total

    def _mario(self, table: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mario's place on the screen and in his cell, his speed, how far he has fallen since, and his state."""
        place = torch.cat((x, y), dim=1)
        inside = torch.cat(((x + 8) % 16, y % 16), dim=1)
        speed = table[:, tiles.SPEED_ROW : tiles.SPEED_ROW + 2, 0] - 128
        moved = y - table[:, tiles.THEN_ROW + 2, :1]
        state = nn.functional.one_hot(table[:, tiles.STATE_ROW, 0] % _STATES, _STATES)
        status = table[:, tiles.STATUS_ROW] / self.status_scale
        scaled = torch.tensor([_FASTEST, 4.0], device=speed.device)
        return torch.cat((place / 128.0 - 1.0, inside / 16.0, speed / scaled, moved / 16.0, state, status), dim=1)


def _layer(inputs: int, outputs: int, layer_norm: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), *([nn.LayerNorm(outputs)] if layer_norm else []), nn.ReLU())


def _window() -> torch.Tensor:
    """Distances in a padded, flattened grid from Mario's cell to the cells of the window: int64 (1, window)."""
    rows, columns = np.arange(-_ABOVE, _BELOW + 1), np.arange(-_LEFT, _RIGHT + 1)
    return torch.from_numpy((rows[:, None] * _WIDTH + columns).reshape(1, -1))
