"""Steps 5 and 6 of the ladder: training the model itself on the images of a split.

Each split is a training run of its own in the user's cache. One that is interrupted is resumed, and
of one that has been measured the measurement is kept.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.images import AdaptationImages
from clipkit.adaptation.options import AdaptationOptions
from clipkit.adaptation.rung import Measured
from clipkit.adaptation.splits import Split
from clipkit.adaptation.task import AdaptationTask
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.loading import load
from clipkit.errors import InputError
from clipkit.models.hub import SAFE_WEIGHTS
from clipkit.models.lora_info import LORA_NAME
from clipkit.paths import cache_directory
from clipkit.progress import Callbacks
from clipkit.runs.adaptation_task import measure_retention
from clipkit.runs.measurement_file import read_measurement, write_measurement
from clipkit.runs.report import TrainingReport
from clipkit.runs.run import train
from clipkit.runs.training_images import TrainingFolder
from clipkit.training.config import RunConfig
from clipkit.training.config_file import merge_settings
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.templates import fill_template, resolve_templates

_RUN_NAME = "run"
_MOST_BATCH = 32  # pairs, as CLIP-LoRA has it
_EPOCHS = 10  # as FLYP has it, and more of few images:
_LEAST_STEPS = 60


@dataclass(frozen=True)
class Recipe:
    """How a rung trains: settings that need no validation images, as published."""

    step: int
    name: str
    title: str
    settings: Mapping[str, Mapping[str, Any]]  # sections and keys of a run


RECIPES = (
    Recipe(
        5,
        "lora",
        "LoRA on both encoders",
        {
            # CLIP-LoRA: rank 2 for queries, keys and values. Its learning rate is 2e-4 for 500
            # steps an image of a class: of few steps nothing comes of it, and at 1e-3 the starter
            # forgets (docs/adaptation.md).
            "model": {"lora_rank": 2},
            "optimizer": {"lr": 5e-4, "weight_decay": 0.01},
            "watch": {"wise_ft": False},
        },
    ),
    Recipe(
        6,
        "flyp",
        "fine-tuning with class prompts (FLYP, WiSE-FT)",
        {
            # FLYP: the contrastive loss on prompts of the classes; then half of the way (WiSE-FT).
            "optimizer": {"lr": 1e-5, "weight_decay": 0.1},
            "watch": {"wise_ft": True},
        },
    ),
)
"""The rungs that train, cheapest first."""


@dataclass(frozen=True)
class TrainedModel:
    """A model that a run has trained."""

    directory: Path  # a checkpoint
    encoder: Encoder
    class_embeddings: NDArray[np.float32]  # of the prompts, shape (C, D)
    seconds: float
    num_bytes: int  # that it takes beside the base model


@dataclass(frozen=True)
class TrainedRung:
    """A rung that trains the model, and classifies by its class prompts afterwards."""

    recipe: Recipe
    base: Encoder
    images: AdaptationImages
    task: AdaptationTask
    options: AdaptationOptions
    callbacks: Callbacks

    @property
    def step(self) -> int:
        """Its place on the ladder."""
        return self.recipe.step

    @property
    def name(self) -> str:
        """Its short name."""
        return self.recipe.name

    @property
    def title(self) -> str:
        """What it is."""
        return self.recipe.title

    def lack(self, counts: NDArray[np.intp]) -> str:
        """Return why it cannot be fitted on so many images of each class, shape (C,); "" if so."""
        has_two = np.count_nonzero(counts) > 1
        return "" if has_two else "needs images of two classes, as a pair is learnt against others"

    def measure(self, split: Split) -> Measured:
        """Train on the images of a split and return what the model says of the others.

        Args:
            split: Rows of the images.

        Returns:
            The measurement. Its temperature is the one that the model was trained to: held-out
            images, of which another could be fitted, would each take a training run.

        Raises:
            KeyboardInterrupt: If training was interrupted; the same call resumes it.
        """
        directory = self._directory(split)
        file = directory.with_suffix(".safetensors")
        kept = read_measurement(file)
        if kept is not None:
            return kept
        model = self._trained(split, directory)
        with self.callbacks.progress_for(f"{self.name}: embedding test images") as progress:
            embeddings = model.encoder.encode_images(
                [*map(self.images.image, split.test.tolist())], progress=progress
            )
        measured = Measured(
            logits=model.encoder.logit_scale
            * (np.asarray(embeddings, np.float64) @ model.class_embeddings.T.astype(np.float64)),
            scale=1.0,
            retention=measure_retention(model.encoder, self.options, self.callbacks),
            seconds=model.seconds,
            num_bytes=model.num_bytes,
        )
        write_measurement(file, measured)
        self.remove(model)
        return measured

    def train(self, rows: NDArray[np.intp]) -> TrainedModel:
        """Train on some of the images.

        Args:
            rows: Of the images.

        Returns:
            The model, in a directory of the cache.

        Raises:
            KeyboardInterrupt: If training was interrupted; the same call resumes it.
            TrainingError: If training cannot continue.
        """
        split = Split(self.options.seeds[0], rows, np.array([], dtype=np.intp))
        return self._trained(split, self._directory(split))

    def _trained(self, split: Split, directory: Path) -> TrainedModel:
        TrainingFolder(directory).write(self.images, split.train)
        report = self._run(self._config(split, directory))
        assert report.checkpoint is not None
        encoder = load(report.checkpoint, engine="torch", device=self.base.device)
        classifier = ZeroShotClassifier(
            encoder,
            self.task.class_names,
            templates=self.options.templates,
            domain=self.options.domain,
        )
        alone = report.checkpoint / LORA_NAME
        kept = alone if alone.is_file() else report.checkpoint / SAFE_WEIGHTS
        return TrainedModel(
            report.checkpoint,
            encoder,
            np.asarray(classifier.class_embeddings),
            report.seconds,
            kept.stat().st_size,
        )

    def remove(self, model: TrainedModel) -> None:
        """Delete the run of a model."""
        shutil.rmtree(model.directory.parents[1], ignore_errors=True)

    def _run(self, config: RunConfig) -> TrainingReport:
        callbacks = replace(
            self.callbacks,
            say=lambda line: None,
            warn=lambda line: None,  # of few steps and small batches, which the recipe has chosen
            progress_for=lambda label: self.callbacks.progress_for(f"{self.name}: {label}"),
        )
        report = train(config, callbacks=callbacks)
        if not report.is_finished:
            raise KeyboardInterrupt
        return report

    def _config(self, split: Split, directory: Path) -> RunConfig:
        folder = TrainingFolder(directory)
        domain = self.options.domain
        templates = [
            fill_template(template, "{}", domain=domain)
            for template in resolve_templates(self.options.templates)
        ]
        settings: dict[str, Any] = {
            "output": str(directory / _RUN_NAME),
            "seed": split.seed,
            "model": {"base": self.base.spec.name},
            "data": {
                "train": str(folder.images),
                "format": "classes",
                "class_names": str(folder.class_names),
                "templates": templates,
            },
            "compute": {**_batches(len(split.train)), "device": self.base.device},
            "watch": {"retention_set": ""},  # the ladder measures what is kept
        }
        merge_settings(settings, self.recipe.settings)
        return RunConfig.from_dict(settings, self.options.training)

    def _directory(self, split: Split) -> Path:
        """Return where a run is kept, by all that decides what comes of it."""
        decided_by = (
            self.base.space_id,
            self._config(split, Path("/")).resolve(),
            self.task.class_names,
            str(self.options.retention_set),
            len(split.train),
        )
        rows = np.concatenate([split.train, split.test])
        digest = hashlib.sha256(repr(decided_by).encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(self.task.embeddings[rows]).tobytes())
        digest.update(self.task.labels[rows].tobytes())
        return cache_directory() / "adaptations" / digest.hexdigest()[:24]


def check_trainable(encoder: Encoder) -> None:
    """Raise unless rungs can train a model.

    Args:
        encoder: The base model.

    Raises:
        InputError: If it was not made by load(), or gives a part of its dimensions only.
    """
    if encoder.spec.truncate_dim is not None:
        raise InputError(
            f"steps 5 and 6 train a whole model, and this encoder gives the first "
            f"{encoder.embed_dim} dimensions of {encoder.name}: load it without truncate_dim"
        )


def trained_rungs(
    encoder: Encoder,
    images: AdaptationImages,
    task: AdaptationTask,
    options: AdaptationOptions,
    callbacks: Callbacks,
) -> list[TrainedRung]:
    """Return the rungs that train the model, cheapest first.

    Args:
        encoder: The base model, one that :func:`check_trainable` lets pass.
        images: Labelled images.
        task: The same as embeddings.
        options: Prompts, retention set and settings of training.
        callbacks: For messages, warnings and progress.

    Returns:
        One a recipe.
    """
    return [TrainedRung(one, encoder, images, task, options, callbacks) for one in RECIPES]


def _batches(num_images: int) -> dict[str, int]:
    """Return the batch size and the epochs for so many images, of which each is in every epoch."""
    num_batches = -(-num_images // _MOST_BATCH)
    epochs = max(_EPOCHS, -(-_LEAST_STEPS // num_batches))
    return {"batch_size": max(2, num_images // num_batches), "epochs": epochs}
