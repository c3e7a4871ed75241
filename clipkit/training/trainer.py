"""Training towers on batches: device, optimizer and loop put together, saved and resumed.

Everything here runs on each rank alike.
"""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, contiguous_format, nn

from clipkit.errors import TrainingError
from clipkit.models.batch_norm import sync_batch_norms
from clipkit.models.freezing import no_decay_names
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks, Progress
from clipkit.runtime.torch_device import image_layout
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import BatchGroups, LoadedBatch, PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks, copy_full_weights, wrap
from clipkit.training.extension import extend_state
from clipkit.training.input_fingerprints import InputFingerprints
from clipkit.training.loop import Hooks, TrainingLoop, Validation
from clipkit.training.loss_function import LossFunction
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.mined_batches import MinedBatches
from clipkit.training.mixed_precision import DTYPES, loss_scaler
from clipkit.training.near_misses import NearMisses
from clipkit.training.optimizer import (
    MAX_LOGIT_SCALE,
    build_optimizer,
    clamp_logit_scale,
    rate_factors,
    warmup_steps,
)
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
from clipkit.training.step_calls import StepCalls
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.weight_average import WeightAverage


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
        loss: A contrastive loss of one's own; None: the config's.
    """

    def __init__(  # noqa: PLR0913 - it joins these
        self,
        config: RunConfig,
        towers: Towers,
        batches: PairBatches,
        *,
        ranks: Ranks,
        teacher: Teacher | None = None,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
        loss: LossFunction | None = None,
    ) -> None:
        self._config = config
        self.inputs = InputFingerprints(config, {"data.train": batches.fingerprint, **fingerprints})
        self._ranks = ranks
        self._batches = batches
        self._steps = BatchGroups(batches, config.compute.accumulate_batches)
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
        self._average: WeightAverage | None = None
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
        factors = rate_factors(towers, config.optimizer)
        factors = {f"towers.{name}": factor for name, factor in factors.items()}
        self._module = wrap(trained, config.compute.sharding, self._device)
        self._optimizer = build_optimizer(trained, config.optimizer, no_decay, factors)
        if config.optimizer.ema_decay:
            self._average = WeightAverage(towers, config.optimizer.ema_decay)
        self._measured = self._towers_to_measure()
        self._scaler = loss_scaler(config.compute.precision, self._device)
        scale = None if teacher is None else teacher.logit_scale
        if isinstance(loss, nn.Module):
            loss = loss.to(self._device)  # its constants
        self._step = ContrastiveStep(
            self._module,
            ContrastiveLoss(config.loss, ranks, teacher_logit_scale=scale, function=loss),
            chunk_size=config.compute.chunk_size,
            autocast_dtype=DTYPES[config.compute.precision],
            scale_loss=self._scaler.scale,
        )

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self._config.compute.num_steps(
            self._steps.steps_per_epoch, data_offset=self.state.data_offset
        )

    @property
    def measured_towers(self) -> Towers:
        """Towers to validate and save: those that are trained, or their moving average.

        If weights are sharded, an unsharded copy, up to date while the trainer validates or saves.
        """
        return self._measured

    def restore(self, saved: dict[str, Any], *, extends: bool = False) -> None:
        """Resume from the training state of a checkpoint, whose weights the towers came with.

        Args:
            saved: As the checkpoint holds it.
            extends: Whether the run is extended there, so that its schedule begins again and its
                pairs may be others.

        Raises:
            TrainingError: If it is of another run, or of other pairs or models.
        """
        changed = self.inputs.changed(saved)
        self.inputs.refuse(changed, extends=extends)
        self.state = restore_state(saved, self._module, self._optimizer)
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(saved["scaler"])
        if "near_misses" in saved:
            kept = saved["near_misses"]
            self._near_misses = NearMisses(kept["epoch"], kept["rows"].numpy())
        if extends:
            extend_state(
                self.state,
                schedule=self._config.optimizer.schedule,
                former_steps_per_epoch=saved.get("steps_per_epoch", 0),
                steps_per_epoch=self._steps.steps_per_epoch,
                has_other_pairs="data.train" in changed,
                has_other_measurements=changed not in ([], ["data.train"]),
            )
        random_states = saved["random"]
        if len(random_states) == self._ranks.world_size:
            restore_random_state(random_states[self._ranks.rank])
        else:  # only dropout differs: pairs and augmentations do not depend on these generators
            seed_everything(self._config.seed + self.state.step, self._ranks.rank)

    def mine_hard_negatives(self, mine: Callable[[int], NDArray[np.int32]]) -> None:
        """Let batches hold near misses of each other, found anew before each epoch.

        Args:
            mine: Returns those of all pairs before an epoch, counted from 0, by
                :attr:`measured_towers`; called on rank 0.
        """
        self._mined = MinedBatches(self._batches, partial(self._mine, mine), self._near_misses)
        self._steps = BatchGroups(self._mined, self._config.compute.accumulate_batches)

    def run(
        self,
        checkpoints: RunCheckpoints,
        *,
        measure: Callable[[], Validation],
        log: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
        log_validation: Callable[[int, Validation], None] = lambda step, validation: None,
        progress: Progress = lambda done, total: None,
        calls: StepCalls | None = None,
    ) -> bool:
        """Train to the end.

        Args:
            checkpoints: Where they are written.
            measure: Validates :attr:`measured_towers`; called on rank 0 as often as the config
                says.
            log: Called with (step, metrics) every few steps, means of those since the last call.
            log_validation: Called with (step, what was measured).
            progress: Called after every step with (done, total).
            calls: The callbacks of the caller, on rank 0; None: there are none.

        Returns:
            False if someone asked to stop before; a checkpoint is written then.

        Raises:
            TrainingError: If training diverges, too many pairs are bad, or a checkpoint cannot be
                written.
        """
        begin, config = self.state.schedule_begin, self._config.optimizer
        if self.state.warmup is None:
            self.state.warmup = (begin, warmup_steps(self.num_steps - begin, config))
        calls = calls or StepCalls(Callbacks())
        hooks = Hooks(
            log=log,
            log_validation=log_validation,
            validate=lambda: self._validate(measure),
            save=lambda: self._save(checkpoints, calls),
            after_step=self._after_step,
            all_reduce_max=self._ranks.all_reduce_max,
            progress=progress,
            on_step=calls.on_step,
            is_stop_asked=lambda: calls.is_stop_asked,
            note_batch=lambda batches: self._note_batches(batches, checkpoints),
            has_finite_features=self._has_finite_features,
            newest_checkpoint=checkpoints.newest_path,
        )
        loop: TrainingLoop[tuple[LoadedBatch, ...]] = TrainingLoop(
            self._module,
            self._backward,
            self._steps,
            self._optimizer,
            hooks,
            scaler=self._scaler,
        )
        return loop.run(
            self.state,
            num_steps=self.num_steps,
            config=self._config.optimizer,
            watch=self._config.watch,
        )

    def try_step(self, batch: LoadedBatch) -> None:
        """Compute a step's gradient and discard it, to time the step."""
        self._module.train()
        losses = self._backward([batch] * self._config.compute.accumulate_batches)
        if self._average is not None:
            self._average.update(1)  # of weights that have not moved
        float(losses["loss"])  # waits for a GPU
        self._optimizer.zero_grad(set_to_none=True)

    def _after_step(self) -> None:
        clamp_logit_scale(self.towers, most=self._max_logit_scale)
        if self._average is not None:
            self._average.update(self.state.step - self.state.skipped_steps + 1)

    def _backward(self, group: Sequence[LoadedBatch]) -> Mapping[str, Tensor]:
        """Add the mean gradient of batches to the parameters; return means of loss and parts."""
        losses = [
            self._step.backward(
                self._on_device(loaded), share=1 / len(group), is_last=number == len(group)
            )
            for number, loaded in enumerate(group, start=1)
        ]
        return {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}

    def _on_device(self, loaded: LoadedBatch) -> Batch:
        """Return a batch on this rank's device, with a teacher's features if there is one."""
        batch = loaded.batch
        if self._teacher is not None:
            assert loaded.teacher_images is not None  # batches have the teacher's view
            features = self._teacher.features(
                loaded.teacher_images, loaded.captions, chunk_size=self._config.compute.chunk_size
            )
            batch = replace(batch, teacher=features)
        return batch.to(self._device, self._layout)

    def _note_batches(self, batches: Sequence[LoadedBatch], checkpoints: RunCheckpoints) -> None:
        known = self.state.bad.keys()
        for batch in batches:
            self.state.bad = batch.bad | self.state.bad
        self._check_bad(self.state.bad.keys() - known, checkpoints)
        self._sample = batches[-1].batch.chunks(2)[0]

    def _check_bad(self, new: Set[str], checkpoints: RunCheckpoints) -> None:
        """Raise if pairs that were just found to be bad are more than the run may lose."""
        bad = self.state.bad
        most = int(self._config.data.max_bad_fraction * self._batches.num_pairs)
        num_bad = len(bad) - self.state.num_former_bad
        if new and num_bad > most:
            examples = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:3])
            raise TrainingError(
                f"{num_bad} pairs could not be read, data.max_bad_fraction allows "
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

    def _save(self, checkpoints: RunCheckpoints, calls: StepCalls) -> None:
        """Write a checkpoint; all ranks call this, rank 0 writes."""
        known = self.state.bad.keys()
        for bad in self._ranks.all_gather_objects(self.state.bad):
            self.state.bad = bad | self.state.bad
        self._check_bad(self.state.bad.keys() - known, checkpoints)
        random_states = self._ranks.all_gather_objects(random_state())
        averaged = () if self._average is None else self._average.tensors
        saved = capture_state(
            self.state, self._module, self._optimizer, random_states, averaged=averaged
        )
        saved |= {
            "sources": self.inputs.by_setting,
            "scaler": self._scaler.state_dict(),
            "steps_per_epoch": self._steps.steps_per_epoch,
        }
        if self._mined is not None and self._mined.newest is not None:
            newest = self._mined.newest
            saved["near_misses"] = {"epoch": newest.epoch, "rows": torch.from_numpy(newest.rows)}
        self._update_unsharded()
        if self._ranks.rank == 0:
            checkpoints.save(self.state.step, self.measured_towers, saved)
            checkpoints.prune(keep=self._config.watch.keep, best=self.state.best_step)
            calls.on_checkpoint(self.state.step, checkpoints.path(self.state.step))
        self._ranks.barrier()  # no rank trains on before the checkpoint is there

    def _update_unsharded(self) -> None:
        """Copy what is measured of sharded towers to their unsharded copy; all ranks call this."""
        if self._unsharded is not None:
            averages = {} if self._average is None else self._average.tensors
            copy_full_weights(self._module, self._unsharded, averages)

    def _towers_to_measure(self) -> Towers:
        if self._unsharded is not None:
            return self._unsharded
        return self.towers if self._average is None else self._average.averaged_towers()


def _compile(towers: Towers) -> None:
    """Let torch.compile make both towers faster, in place: names of weights stay."""
    towers.model.visual.compile()
    # Captions differ in length from batch to batch; open_clip's CLIP class holds the parts itself.
    getattr(towers.model, "text", towers.model).transformer.compile(dynamic=True)
