"""The position encoding of own_position.py."""

import torch
from own_position import LogDistance

from ablation import BuildContext


def test_bias_falls_with_the_distance() -> None:
    build = BuildContext(d_model=8, n_layers=1, n_heads=2, n_kv_heads=2, max_length=16)
    positions, features = torch.arange(16), torch.zeros(1, 2, 16, 4)
    bias = LogDistance(build).bias(features, features, positions, positions)
    assert bias.shape == (1, 2, 16, 16)
    assert (bias.diagonal(dim1=-2, dim2=-1) == 0).all()
    assert (bias[..., -1, :].diff() > 0).all()  # the nearer the key, the larger
