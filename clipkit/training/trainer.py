"""Towers that learn: on a device, with an optimizer, saved and gone on with.

What a run is made of once its config has been read; everything here is the same on each process.
"""

import math
from collections.abc import Callable, Mapping, Set
from copy import deepcopy
from types import MappingProxyType
from typing import Any

from torch import contiguous_format

from clipkit.errors import TrainingError
from clipkit.models.freezing import no_decay_names
from clipkit.models.towers import Towers
from clipkit.progress import Progress
from clipkit.runtime.torch_device import image_layout
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import LoadedBatch, PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks, copy_weights, wrap
from clipkit.training.key_names import RENAMED_SETTINGS, rename
from clipkit.training.loop import Hooks, TrainingLoop, Validation
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.mixed_precision import DTYPES
from clipkit.training.optimizer import MAX_LOGIT_SCALE, build_optimizer, clamp_logit_scale
from clipkit.training.resume import (
    Progression,
    capture_state,
    random_state,
    restore_random_state,
    restore_state,
    seed_everything,
)
from clipkit.training.step import ContrastiveStep, LoadedStep
from clipkit.training.trained_towers import TrainedTowers


class Learning:
    """Towers, their optimizer, and how far they are.

    Args:
        config: The run, resolved, with a precision chosen.
        towers: Where to start; locked as they are to be. They are moved to the device.
        batches: What they learn from.
        ranks: The processes.
        teacher: What they learn from as well.
        sources: What identifies the rest that a run is made of, by the setting that names it.
    """

    def __init__(
        self,
        config: RunConfig,
        towers: Towers,
        batches: PairBatches,
        *,
        ranks: Ranks,
        teacher: Teacher | None = None,
        sources: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._config = config
        self._sources = {"data.train": batches.fingerprint, **sources}
        self._ranks = ranks
        self._batches = batches
        self.towers = towers
        # A sigmoid may need more than softmax ever does: SigLIP's own models end above 100.
        self._most_scale = MAX_LOGIT_SCALE if config.loss.kind == "infonce" else math.inf
        self.progression = Progression()
        is_split = config.compute.sharding == "fsdp" and ranks.world_size > 1
        self._spare = deepcopy(towers) if is_split else None
        seed_everything(config.seed, ranks.rank)
        device = ranks.choose_device(config.compute.device)
        # A step of the starter, 16 images of 260 pixels on one core: 2.5 s instead of 4.4.
        # FSDP takes no weights that do not lie row by row.
        layout = contiguous_format if is_split else image_layout(towers.model.visual, device)
        towers.model.visual.to(memory_format=layout)
        if config.compute.compile:
            _compile(towers)
        trained = TrainedTowers(towers, teacher_dim=teacher.embed_dim if teacher else None)
        names = {f"towers.{name}" for name in no_decay_names(towers)}  # while they are whole
        self._module = wrap(trained, config.compute.sharding, device)
        self._optimizer = build_optimizer(trained, config.optimizer, names)
        scale = None if teacher is None else teacher.logit_scale
        loss = ContrastiveLoss(config.loss, ranks, teacher_logit_scale=scale)
        step = ContrastiveStep(
            self._module,
            loss,
            chunk_size=config.compute.chunk_size,
            autocast_dtype=DTYPES[config.compute.precision],
        )
        self._step = LoadedStep(step, device, layout, teacher, config.compute.chunk_size)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        assert self._config.compute.epochs is not None  # the config is resolved
        return self._config.compute.epochs * self._batches.steps_per_epoch

    @property
    def measured_towers(self) -> Towers:
        """Towers to measure: those that learn, or with split weights a copy that follows them."""
        return self.towers if self._spare is None else self._spare

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the towers have its weights already.

        Args:
            state: Of :meth:`capture`.

        Raises:
            TrainingError: If it is of another run, or of other pairs or models.
        """
        before = rename(state.get("sources", {}), RENAMED_SETTINGS)
        for setting in sorted(before.keys() | self._sources.keys()):
            if before.get(setting) != self._sources.get(setting):
                raise TrainingError(
                    f"what {setting} names has changed since this run was trained with it: put it "
                    "back to go on, or choose another output"
                )
        self.progression = restore_state(state, self._module, self._optimizer)
        states = state["random"]
        if len(states) == self._ranks.world_size:
            restore_random_state(states[self._ranks.rank])
        else:  # dropout goes other ways; pairs and their views do not depend on it
            seed_everything(self._config.seed + self.progression.step, self._ranks.rank)

    def run(
        self,
        checkpoints: RunCheckpoints,
        *,
        measure: Callable[[], Validation],
        log: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
        log_validation: Callable[[int, Validation], None] = lambda step, validation: None,
        progress: Progress = lambda done, total: None,
    ) -> bool:
        """Train to the end.

        Args:
            checkpoints: Where they are written.
            measure: Called now and then on the first process, with the towers of
                :attr:`measured_towers` up to date.
            log: Called with (step, metrics) now and then.
            log_validation: Called with (step, what was measured).
            progress: Called after every step with (done, total).

        Returns:
            False if someone asked to stop before; a checkpoint is written then.

        Raises:
            TrainingError: If the run cannot go on.
        """
        assert self._config.compute.epochs is not None  # the config is resolved
        hooks = Hooks(
            log=log,
            log_validation=log_validation,
            validate=lambda: self._validate(measure),
            save=lambda: self._save(checkpoints),
            after_step=lambda: clamp_logit_scale(self.towers, most=self._most_scale),
            agree=self._ranks.maximum,
            progress=progress,
            note_batch=self._note_batch,
        )
        loop: TrainingLoop[LoadedBatch] = TrainingLoop(
            self._module, self._step, self._batches, self._optimizer, hooks
        )
        return loop.run(
            self.progression,
            epochs=self._config.compute.epochs,
            config=self._config.optimizer,
            watch=self._config.watch,
        )

    def try_step(self, batch: LoadedBatch) -> None:
        """Compute a step's gradient and forget it: to see how long it takes."""
        self._module.train()
        losses = self._step.backward(batch)
        float(losses["loss"])  # waits for a GPU
        self._optimizer.zero_grad(set_to_none=True)

    def _note_batch(self, batch: LoadedBatch) -> None:
        new = batch.bad.keys() - self.progression.bad.keys()
        self.progression.bad = batch.bad | self.progression.bad
        self._refuse_bad(new)

    def _refuse_bad(self, new: Set[str]) -> None:
        """Raise if pairs that were just found to be bad are more than the run may lose."""
        bad = self.progression.bad
        most = int(self._config.data.max_bad_fraction * self._batches.num_pairs)
        if new and len(bad) > most:
            examples = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:3])
            raise TrainingError(
                f"{len(bad)} pairs could not be read, data.max_bad_fraction allows "
                f"{most}: {examples}. Mend them, or raise the limit; the same command "
                "goes on from the last checkpoint"
            )

    def _validate(self, measure: Callable[[], Validation]) -> Validation | None:
        self._follow()
        return measure() if self._ranks.rank == 0 else None

    def _save(self, checkpoints: RunCheckpoints) -> None:
        """Write a checkpoint; all processes call this, the first one writes."""
        known = self.progression.bad.keys()
        for bad in self._ranks.collect(self.progression.bad):
            self.progression.bad = bad | self.progression.bad
        self._refuse_bad(self.progression.bad.keys() - known)
        states = self._ranks.collect(random_state())
        state = capture_state(self.progression, self._module, self._optimizer, states)
        state["sources"] = self._sources
        self._follow()
        if self._ranks.rank == 0:
            checkpoints.save(self.progression.step, self.measured_towers, state)
            checkpoints.prune(keep=self._config.watch.keep, best=self.progression.best_step)
        self._ranks.maximum(0.0)  # nobody goes on before it is there

    def _follow(self) -> None:
        """Bring the copy of split towers up to date; all processes call this."""
        if self._spare is not None:
            copy_weights(self._module, self._spare)


def _compile(towers: Towers) -> None:
    """Let torch.compile make both towers faster, in place: names of weights stay."""
    towers.model.visual.compile()
    # Captions differ in length from batch to batch; open_clip's CLIP class holds the parts itself.
    getattr(towers.model, "text", towers.model).transformer.compile(dynamic=True)
