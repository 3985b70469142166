"""The recipes that models are made by."""

from collections.abc import Mapping

from training.augment import Distortion
from training.configuration import Configuration

RECIPES: Mapping[str, Configuration] = {
    # Reads what people send, not only what MNIST holds: this is what ships.
    "robust": Configuration(
        epochs=30,
        batch=128,
        learning_rate=0.1,
        dropout=0.2,  # the mixture is hard enough
        averaging=0.998,
        distortion=Distortion(stroke=0.6, wild=0.25),
        corrupted=0.3,
        non_digits=0.15,
    ),
}
"""Configurations by name."""

SEEDS = range(5)
"""Those of every published figure of several seeds."""

ABLATIONS: tuple[str, ...] = ()
"""What each part of the robust recipe brought, as lines of the model card."""
