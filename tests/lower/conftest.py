"""A specification to vary."""

from __future__ import annotations

import pytest

RUNWAY = """# runway.rspec
language 1

param eps   = 0.1
param gamma = 0.5

model {
  input     image [3, 256, 256] in [0, 1]
  output    logits [2, 256, 256]
  classes   background, runway
  normalize mean [0.5, 0.5, 0.5] std [0.5, 0.5, 0.5]
  lipschitz l2 -> linf <= 2.001
}

data val {
  images "val/images/*.png"
  masks  "val/masks/*.png"
  ignore 255
}

property accurate_under_attack {
  metric   pixel_accuracy
  norm     l2
  budget   eps
  require  mean(worst_case) >= 0.75 with confidence 99%
  require  worst_case >= 0.40 for all images
}

property hard_to_degrade {
  metric   accuracy
  norm     linf
  degraded when h0 - h > gamma / 5
  require  radius >= 0.3 for 95% of images with confidence 0.99
  require  quantile(0.05, radius) >= 8/255
}
"""


@pytest.fixture
def runway() -> str:
    """A specification with a worst-case and a radius property."""
    return RUNWAY
