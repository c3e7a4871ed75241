"""Training towers on batches: device, optimizer and loop put together, saved and resumed.

Everything here runs on each rank alike.
"""

import math
from collections.abc import Callable, Mapping, Set
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, contiguous_format

from clipkit.errors import TrainingError
from clipkit.models.batch_norm import sync_batch_norms
from clipkit.models.freezing import no_decay_names
from clipkit.models.towers import Towers
from clipkit.progress import Progress
from clipkit.runtime.torch_device import image_layout
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import LoadedBatch, PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks, copy_full_weights, wrap
from clipkit.training.key_names import RENAMED_SETTINGS, rename
from clipkit.training.loop import Batches, Hooks, TrainingLoop, Validation
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.mined_batches import MinedBatches
from clipkit.training.mixed_precision import DTYPES
from clipkit.training.near_misses import NearMisses
from clipkit.training.optimizer import MAX_LOGIT_SCALE, build_optimizer, clamp_logit_scale
from clipkit.training.resume import (
    TrainerState,
    capture_state,
    kept_random_state,
    random_state,
    restore_random_state,
    restore_state,
    seed_everything,
)
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import TrainedTowers


class Trainer:
    """Trains towers: their optimizer, step and loop, and the state that checkpoints hold.

    Args:
        config: The run, resolved, with a precision chosen.
        towers: The base model, frozen where it is to be. It is moved to the device.
        batches: What they are trained on.
        ranks: The ranks of the run.
        teacher: Of a distillation; None: there is none.
        fingerprints: Of the other inputs of the run (base model, teacher, retention set), by the
            setting that names each.
    """

    def __init__(
        self,
        config: RunConfig,
        towers: Towers,
        batches: PairBatches,
        *,
        ranks: Ranks,
        teacher: Teacher | None = None,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._config = config
        self._fingerprints = {"data.train": batches.fingerprint, **fingerprints}
        self._ranks = ranks
        self._batches = batches
        self._teacher = teacher
        self.towers = towers
        # The sigmoid loss may need a larger logit scale than softmax: SigLIP's models exceed 100.
        self._max_logit_scale = MAX_LOGIT_SCALE if config.loss.kind == "infonce" else math.inf
        self.state = TrainerState()
        self._sample: Batch | None = None  # some pairs of the newest batch
        self._near_misses: NearMisses | None = None  # of the epoch that a resumed run is in
        self._mined: MinedBatches | None = None
        is_sharded = config.compute.sharding == "fsdp" and ranks.world_size > 1
        self._unsharded = deepcopy(towers) if is_sharded else None
        seed_everything(config.seed, ranks.rank)
        self._device = ranks.choose_device(config.compute.device)
        # Channels last: a step of the starter, 16 images of 260 pixels on one core, takes 2.5 s
        # instead of 4.4. FSDP only takes weights that are contiguous.
        visual = towers.model.visual
        self._layout = contiguous_format if is_sharded else image_layout(visual, self._device)
        visual.to(memory_format=self._layout)
        if ranks.syncs_batch_norms(self._device):
            sync_batch_norms(towers)
        if config.compute.compile:
            _compile(towers)
        trained = TrainedTowers(towers, teacher_dim=teacher.embed_dim if teacher else None)
        # Before FSDP changes the shapes, which decide what gets no weight decay.
        no_decay = {f"towers.{name}" for name in no_decay_names(towers)}
        self._module = wrap(trained, config.compute.sharding, self._device)
        self._optimizer = build_optimizer(trained, config.optimizer, no_decay)
        scale = None if teacher is None else teacher.logit_scale
        self._step = ContrastiveStep(
            self._module,
            ContrastiveLoss(config.loss, ranks, teacher_logit_scale=scale),
            chunk_size=config.compute.chunk_size,
            autocast_dtype=DTYPES[config.compute.precision],
        )

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        assert self._config.compute.epochs is not None  # the config is resolved
        return self._config.compute.epochs * self._batches.steps_per_epoch

    @property
    def measured_towers(self) -> Towers:
        """Towers to validate: those that are trained or, if these are sharded, an unsharded copy.

        The copy is up to date while the trainer validates or saves.
        """
        return self.towers if self._unsharded is None else self._unsharded

    def restore(self, saved: dict[str, Any]) -> None:
        """Resume from the training state of a checkpoint; the towers have its weights already.

        Args:
            saved: As the checkpoint holds it.

        Raises:
            TrainingError: If it is of another run, or of other pairs or models.
        """
        before = rename(saved.get("sources", {}), RENAMED_SETTINGS)
        for setting in sorted(before.keys() | self._fingerprints.keys()):
            if before.get(setting) != self._fingerprints.get(setting):
                raise TrainingError(
                    f"what {setting} names has changed since this run was trained with it: put it "
                    "back to resume, or choose another output"
                )
        self.state = restore_state(saved, self._module, self._optimizer)
        if "near_misses" in saved:
            kept = saved["near_misses"]
            self._near_misses = NearMisses(kept["epoch"], kept["rows"].numpy())
        random_states = saved["random"]
        if len(random_states) == self._ranks.world_size:
            restore_random_state(random_states[self._ranks.rank])
        else:  # only dropout differs: pairs and augmentations do not depend on these generators
            seed_everything(self._config.seed + self.state.step, self._ranks.rank)

    def run(
        self,
        checkpoints: RunCheckpoints,
        *,
        measure: Callable[[], Validation],
        mine: Callable[[int], NDArray[np.int32]] | None = None,
        log: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
        log_validation: Callable[[int, Validation], None] = lambda step, validation: None,
        progress: Progress = lambda done, total: None,
    ) -> bool:
        """Train to the end.

        Args:
            checkpoints: Where they are written.
            measure: Validates :attr:`measured_towers`; called on rank 0 as often as the config
                says.
            mine: Returns the near misses of all pairs before an epoch, by
                :attr:`measured_towers`; called on rank 0. None: there are no hard negatives.
            log: Called with (step, metrics) every few steps, means of those since the last call.
            log_validation: Called with (step, what was measured).
            progress: Called after every step with (done, total).

        Returns:
            False if someone asked to stop before; a checkpoint is written then.

        Raises:
            TrainingError: If training diverges, too many pairs are bad, or a checkpoint cannot be
                written.
        """
        assert self._config.compute.epochs is not None  # the config is resolved
        hooks = Hooks(
            log=log,
            log_validation=log_validation,
            validate=lambda: self._validate(measure),
            save=lambda: self._save(checkpoints),
            after_step=lambda: clamp_logit_scale(self.towers, most=self._max_logit_scale),
            all_reduce_max=self._ranks.all_reduce_max,
            progress=progress,
            note_batch=lambda batch: self._note_batch(batch, checkpoints),
            has_finite_features=self._has_finite_features,
            newest_checkpoint=checkpoints.newest_path,
        )
        batches: Batches[LoadedBatch] = self._batches
        if mine is not None:
            batches = self._mined = MinedBatches(
                self._batches, partial(self._mine, mine), self._near_misses
            )
        loop: TrainingLoop[LoadedBatch] = TrainingLoop(
            self._module, self._backward, batches, self._optimizer, hooks
        )
        return loop.run(
            self.state,
            epochs=self._config.compute.epochs,
            config=self._config.optimizer,
            watch=self._config.watch,
        )

    def try_step(self, batch: LoadedBatch) -> None:
        """Compute a step's gradient and discard it, to time the step."""
        self._module.train()
        losses = self._backward(batch)
        float(losses["loss"])  # waits for a GPU
        self._optimizer.zero_grad(set_to_none=True)

    def _backward(self, loaded: LoadedBatch) -> Mapping[str, Tensor]:
        """Add the gradient of a batch's loss to the parameters; return the loss and its parts."""
        batch = loaded.batch
        if self._teacher is not None:
            assert loaded.teacher_images is not None  # batches have the teacher's view
            features = self._teacher.features(
                loaded.teacher_images, loaded.captions, chunk_size=self._config.compute.chunk_size
            )
            batch = replace(batch, teacher=features)
        return self._step.backward(batch.to(self._device, self._layout))

    def _note_batch(self, batch: LoadedBatch, checkpoints: RunCheckpoints) -> None:
        new = batch.bad.keys() - self.state.bad.keys()
        self.state.bad = batch.bad | self.state.bad
        self._check_bad(new, checkpoints)
        self._sample = batch.batch.chunks(2)[0]

    def _check_bad(self, new: Set[str], checkpoints: RunCheckpoints) -> None:
        """Raise if pairs that were just found to be bad are more than the run may lose."""
        bad = self.state.bad
        most = int(self._config.data.max_bad_fraction * self._batches.num_pairs)
        if new and len(bad) > most:
            examples = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:3])
            raise TrainingError(
                f"{len(bad)} pairs could not be read, data.max_bad_fraction allows "
                f"{most}: {examples}. Mend them, or raise the limit; {checkpoints.outlook()}"
            )

    def _mine(self, mine: Callable[[int], NDArray[np.int32]], epoch: int) -> NearMisses:
        """Find the near misses of an epoch; all ranks call this, rank 0 looks for them."""
        self._update_unsharded()
        rows = None
        if self._ranks.rank == 0:
            with kept_random_state():
                rows = mine(epoch)
        self._module.train()
        return NearMisses(epoch, self._ranks.all_gather_objects(rows)[0])

    def _validate(self, measure: Callable[[], Validation]) -> Validation | None:
        self._update_unsharded()
        return measure() if self._ranks.rank == 0 else None

    def _has_finite_features(self) -> bool:
        """Return whether pairs have embeddings: weights that are finite and huge give none."""
        if self._sample is None:
            return True
        self._module.eval()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            found = self._module(self._sample.to(self._device, self._layout))
        for features in (found.image_features, found.text_features):
            norms = features.cpu().double().norm(dim=1)
            if not bool((norms.isfinite() & (norms > 0)).all()):
                return False
        return True

    def _save(self, checkpoints: RunCheckpoints) -> None:
        """Write a checkpoint; all ranks call this, rank 0 writes."""
        known = self.state.bad.keys()
        for bad in self._ranks.all_gather_objects(self.state.bad):
            self.state.bad = bad | self.state.bad
        self._check_bad(self.state.bad.keys() - known, checkpoints)
        random_states = self._ranks.all_gather_objects(random_state())
        saved = capture_state(self.state, self._module, self._optimizer, random_states)
        saved["sources"] = self._fingerprints
        if self._mined is not None and self._mined.newest is not None:
            newest = self._mined.newest
            saved["near_misses"] = {"epoch": newest.epoch, "rows": torch.from_numpy(newest.rows)}
        self._update_unsharded()
        if self._ranks.rank == 0:
            checkpoints.save(self.state.step, self.measured_towers, saved)
            checkpoints.prune(keep=self._config.watch.keep, best=self.state.best_step)
        self._ranks.barrier()  # no rank trains on before the checkpoint is there

    def _update_unsharded(self) -> None:
        """Copy the weights of sharded towers to their unsharded copy; all ranks call this."""
        if self._unsharded is not None:
            copy_full_weights(self._module, self._unsharded)


def _compile(towers: Towers) -> None:
    """Let torch.compile make both towers faster, in place: names of weights stay."""
    towers.model.visual.compile()
    # Captions differ in length from batch to batch; open_clip's CLIP class holds the parts itself.
    getattr(towers.model, "text", towers.model).transformer.compile(dynamic=True)
