"""Networks with weights: `open_model(spec)` gives a network, how it wants its images, and its card's name.

Needs torch.
"""

from __future__ import annotations

from dvfo_env.accuracy.models.opening import NAMED_MODELS, open_model
from dvfo_env.accuracy.models.preprocessing import Preprocessing
from dvfo_env.accuracy.models.trained import TrainedModel

__all__ = ["NAMED_MODELS", "Preprocessing", "TrainedModel", "open_model"]
