"""From packages to a trained head and a written checkpoint; what is written, not trained, of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from clipkit.training.resume import seed_everything
from recipe.baselines import FeatureEmbedder
from recipe.batches import TrainingData
from recipe.benchmarks import build_validation
from recipe.calibration import honest_scale, naming_cosines
from recipe.checkpoint import write_checkpoint
from recipe.concepts import build_concepts
from recipe.head import Head, HeadConfig, average_heads
from recipe.imagenet import TextWeights, prototypes, read_class_texts
from recipe.packages import Cache
from recipe.pairs import build_pairs
from recipe.settings import Settings
from recipe.styled_classes import build_styled_classes
from recipe.synthetic import build_synthetic_features
from recipe.texts import TextStore
from recipe.training import train_head
from recipe.trunk import Trunk
from recipe.tuning import tune_trunk

TRUNK_VERSION = 2
NUM_HEADS = 4  # in the mean that is shipped
HEAD = HeadConfig()
TEXT_WEIGHTS = TextWeights()


class Workshop:
    """The towers, the trunk's last layers tuned, and the cached features that the head needs."""

    def __init__(self, cache: Cache, version: int, settings: Settings) -> None:
        """Compute or read all features and texts; tune the trunk unless that was done."""
        self.cache = cache
        self.settings = settings
        self.trunk = Trunk(cache, version)
        self.store = TextStore(cache)
        self.texts = read_class_texts(cache)
        self.data = self._read_data()
        if settings.tuning.steps:
            head = self._write_head(settings.seed)
            runs = cache.root / "runs"
            tune_trunk(self.trunk, head, self.data, settings, seed=settings.seed, folder=runs)
            self.data = self._read_data()

    def _read_data(self) -> TrainingData:
        """Return what is learned from, with the features of the trunk as it is."""
        pairs = build_pairs(self.cache, self.trunk, self.store)
        synthetic = build_synthetic_features(self.trunk, pairs.crops, pairs.composites)
        return TrainingData(
            pairs,
            build_concepts(self.cache, self.texts, self.store),
            synthetic,
            build_styled_classes(pairs, synthetic, self.texts, self.store),
        )

    def train(self, seed: int) -> Head:
        """Return the mean of a few trained heads, which start alike and draw other batches."""
        heads = []
        for draws in range(seed * NUM_HEADS, (seed + 1) * NUM_HEADS):
            head = self._write_head(seed)
            train_head(head, self.data, self.settings, seed=draws, runs=self.cache.root / "runs")
            heads.append(head)
        return average_heads(heads)

    def _write_head(self, seed: int) -> Head:
        """Return a head that is not trained yet."""
        class_prototypes = prototypes(self.texts, self.store, TEXT_WEIGHTS)
        seed_everything(seed, rank=0)  # the free units' first weights are random too
        return Head(self.trunk.class_weight, self.trunk.class_bias, class_prototypes, HEAD)

    def embedder(self, head: Head, features: Tensor) -> FeatureEmbedder:
        """Return the embedder of a head for pictures with the given trunk features."""
        return FeatureEmbedder(
            features,
            self.store,
            image_function=head.embed_images,
            text_function=head.embed_texts,
        )

    def calibrate(self, head: Head) -> float:
        """Return the scale that makes short lists honest on the validation photographs."""
        validation = build_validation(self.cache)
        images = self.trunk.features("validation", validation.jobs)
        embedder = self.embedder(head, images.features)
        return honest_scale(naming_cosines(validation, embedder))


def build_checkpoint(
    folder: Path, cache: Cache, settings: Settings, *, version: int, seed: int
) -> None:
    """Train the head and write the checkpoint folder."""
    torch.set_num_threads(1)  # results depend on the number of threads in the last digits
    workshop = Workshop(cache, version, settings)
    head = workshop.train(seed)
    write_checkpoint(folder, cache, workshop.trunk, head, scale=workshop.calibrate(head))
