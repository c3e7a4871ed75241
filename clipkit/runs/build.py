"""Building the parts of a run from its config: towers, batches, step, optimizer."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.stored_images import StoredImages, embed_and_store, read_stored
from clipkit.errors import InputError, TrainingError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.building import build_towers, with_logit_bias
from clipkit.models.checkpoint import load_towers
from clipkit.models.freezing import (
    freeze_batch_norm,
    freeze_unreached,
    lock_image_tower,
    lock_text_tower,
    set_gradient_checkpointing,
    set_patch_dropout,
)
from clipkit.models.lora import LoraSettings, add_lora, read_lora
from clipkit.models.lora_info import LORA_NAME
from clipkit.models.sources import DirectorySource, resolve_source
from clipkit.models.towers import Towers
from clipkit.progress import Progress, usable_cores
from clipkit.runs.data import RunData, epoch_draws
from clipkit.runtime.torch_device import choose_device
from clipkit.runtime.torch_runtime import TorchRuntime
from clipkit.training.config import RunConfig
from clipkit.training.data_config import DataConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks
from clipkit.training.model_config import ModelConfig
from clipkit.training.pair_reading import BatchReader, PairReader, PairSampler
from clipkit.training.stream_loading import StreamReader, StreamSampler

FEATURES_NAME = "features"
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Inputs:
    """The preprocessing and the tokenizer of towers: pairs to pixel values and token ids."""

    preprocess: Preprocess
    tokenizer: Tokenizer

    @classmethod
    def of(cls, towers: Towers) -> "Inputs":
        """Return the preprocessing and the tokenizer of towers."""
        return cls(
            Preprocess.from_config(towers.preprocess_cfg, towers.image_size),
            Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source),
        )


def initial_towers(config: RunConfig) -> Towers:
    """Return the towers of the base model, or new ones, in float32 on the CPU.

    Args:
        config: The base model or the architecture, and the loss.

    Returns:
        Towers of which everything may be trained.

    Raises:
        InputError: If the loss needs what LoRA cannot train.
        CheckpointError: If they cannot be loaded or built.
        OfflineError: If they would have to be fetched and there is no network.
    """
    is_sigmoid = config.loss.kind == "sigmoid"
    if config.is_from_scratch:
        model = config.model
        return build_towers(
            model.architecture,
            tokenizer=model.tokenizer,
            seed=config.seed,
            is_sigmoid=is_sigmoid,
        )
    towers = load_towers(resolve_source(config.model.base))
    if is_sigmoid and config.model.lora_rank and towers.logit_bias is None:
        raise InputError(
            f'loss.kind = "sigmoid" needs a logit bias, {config.model.base} was trained without '
            'one, and LoRA trains nothing but adapters: set loss.kind = "infonce"'
        )
    return with_logit_bias(towers) if is_sigmoid else towers


def tokenizer_json(towers: Towers, inputs: Inputs) -> str | None:
    """Return the vocabulary, for towers whose own files bring none."""
    return None if towers.tokenizer_source.is_dir() else inputs.tokenizer.to_json()


def identify_towers(towers: Towers) -> str:
    """Return the space_id of towers: what identifies weights, preprocessing and vocabulary."""
    return towers.space_id(Inputs.of(towers).tokenizer.digest())


def prepare_towers(towers: Towers, config: ModelConfig, *, seed: int) -> None:
    """Lock what is not to be trained, and set what training does to towers.

    Args:
        towers: Changed in place.
        config: What is trained.
        seed: Of the adapters (LoRA).

    Raises:
        InputError: If the towers cannot do what is asked.
    """
    if config.lora_rank:
        add_adapters(towers, config, seed=seed)
    if config.lock_image:
        lock_image_tower(towers, unlocked_groups=config.unlocked_image_groups)
    if config.lock_text:
        lock_text_tower(towers, unlocked_layers=config.unlocked_text_layers)
    if config.freeze_batch_norm:
        freeze_batch_norm(towers)
    set_patch_dropout(towers, config.patch_dropout)
    set_gradient_checkpointing(towers, is_on=config.gradient_checkpointing)
    freeze_unreached(towers)


def add_adapters(towers: Towers, config: ModelConfig, *, seed: int) -> None:
    """Give a base model the adapters (LoRA) that a run trains, and freeze everything else.

    Args:
        towers: The base model, changed in place.
        config: What is trained.
        seed: Of the adapters.

    Raises:
        InputError: If the towers have nothing of what is to be adapted, or no room for the rank.
    """
    add_lora(
        towers,
        LoraSettings(config.lora_rank, config.lora_alpha, config.lora_towers, config.lora_targets),
        base=resolve_source(config.base),
        tokenizer_digest=Inputs.of(towers).tokenizer.digest(),
        seed=seed,
    )


def read_checkpoint(towers: Towers, directory: Path) -> None:
    """Give towers the weights of a checkpoint of their run, or its adapters if these are trained.

    Args:
        towers: As the run trains them, changed in place.
        directory: Of the checkpoint.

    Raises:
        CheckpointError: If it cannot be read, or is of other towers.
    """
    if towers.lora is not None:
        read_lora(towers, directory / LORA_NAME)
    else:
        saved = load_towers(DirectorySource(str(directory), directory))
        towers.model.load_state_dict(saved.model.state_dict())


def trained_towers(config: RunConfig, directory: Path) -> Towers:
    """Return the towers of a checkpoint; with LoRA, of the base model and the adapters.

    Args:
        config: Of the run.
        directory: Of the checkpoint.

    Returns:
        Towers in float32 on the CPU, in eval mode.

    Raises:
        CheckpointError: If they cannot be loaded.
    """
    if not config.model.lora_rank:
        return load_towers(DirectorySource(str(directory), directory))
    towers = initial_towers(config)
    add_adapters(towers, config.model, seed=config.seed)
    read_checkpoint(towers, directory)
    return towers.eval()


def live_encoder(towers: Towers, inputs: Inputs, device: str) -> Encoder:
    """Return an encoder of towers as they are now; after another step, ask for another.

    Args:
        towers: Towers that are being trained; they are put into eval mode and on the device.
        inputs: Theirs.
        device: Where they compute.

    Returns:
        An encoder with a space_id of its own, so that its embeddings never meet those of another
        step.
    """
    space_id = f"in-training-{uuid.uuid4().hex}"
    runtime = TorchRuntime(towers, device=device, precision="fp32", space_id=space_id)
    return Encoder(runtime, inputs.preprocess, inputs.tokenizer, name="in training")


def has_fixed_features(config: RunConfig) -> bool:
    """Return whether images give the same features in every epoch and are computed only once."""
    # Of a stream an epoch has other images, and they are not kept.
    return (
        config.model.is_image_fixed
        and config.data.augmentation_used.is_none
        and not config.data.stream
    )


def locked_features(
    config: RunConfig,
    data: RunData,
    towers: Towers,
    cache: Path,
    *,
    ranks: Ranks,
    progress: Progress | None = None,
) -> StoredImages | None:
    """Return the features of all images where they are the same in every epoch.

    Args:
        config: Which says whether they are.
        data: The pairs.
        towers: Before the first step.
        cache: The directory where they are kept.
        ranks: The processes: the first one computes them, the others wait.
        progress: Called with (done, total).

    Returns:
        The features; None where images have to be read each time.
    """
    if not has_fixed_features(config):
        return None
    key = f"{identify_towers(towers)} {data.train.fingerprint}"
    if ranks.rank == 0:
        encoder = live_encoder(towers, Inputs.of(towers), config.compute.device)
        try:
            embed_and_store(encoder, data.train, cache, key=key, progress=progress)
        except OSError as error:
            raise TrainingError(
                f"the features of {len(data.train)} images cannot be kept in {cache}: "
                f"{error.strerror or error}. Make room and give the same command to resume"
            ) from error
    ranks.barrier()  # nobody reads before all is written
    return read_stored(cache)


def build_batches(
    config: RunConfig,
    data: RunData,
    towers: Towers,
    *,
    ranks: Ranks,
    teacher: Teacher | None = None,
    features: StoredImages | None = None,
) -> PairBatches:
    """Return the batches of a run.

    Args:
        config: Of the run.
        data: The pairs; an epoch of them fills a batch.
        towers: What the batches are for.
        ranks: The processes that share each batch.
        teacher: Sees the same views of the images.
        features: Of the images, from a locked tower.

    Returns:
        The batches.

    Raises:
        InputError: If the processes cannot share a batch evenly.
    """
    size = config.compute.batch_size
    if size % ranks.world_size:
        raise InputError(
            f"compute.batch_size is {size}, which {ranks.world_size} processes cannot share "
            f"evenly: take {size // ranks.world_size * ranks.world_size or ranks.world_size}"
        )
    inputs = Inputs.of(towers)
    wanted = [] if features is not None else [inputs.preprocess]
    if teacher is not None and teacher.preprocess not in wanted:
        wanted.append(teacher.preprocess)
    augmentation = config.data.augmentation_used
    workers = choose_workers(config.data, config.compute.device)
    reader: BatchReader
    if data.stream is not None:
        places = StreamSampler(
            data.samples_per_epoch,
            config.seed,
            size,
            max(workers, 1),
            ranks.rank,
            ranks.world_size,
        )
        reader = StreamReader(data.stream, places, wanted, augmentation)
    else:
        known_bad = None if features is None else features.is_bad
        draws = data.draws
        if config.data.mixture == "tokens":
            draws = epoch_draws(config.data, data.train, inputs.tokenizer)
        sampler = PairSampler(
            draws,
            config.seed,
            size,
            ranks.rank,
            ranks.world_size,
            hard_negatives=config.data.hard_negatives,
        )
        reader = PairReader(data.train, sampler, wanted, augmentation, known_bad=known_bad)
    return PairBatches(
        reader,
        inputs.tokenizer,
        towers.padding_id,
        image_features=None if features is None else features.rows,
        teacher_view=None if teacher is None else wanted.index(teacher.preprocess),
        workers=workers,
    )


def load_teacher(config: RunConfig) -> Teacher | None:
    """Return the teacher that a run names, on the run's device; None if it names none."""
    if not config.loss.teacher:
        return None
    towers = load_towers(resolve_source(config.loss.teacher))
    tokenizer = Inputs.of(towers).tokenizer
    return Teacher(towers, tokenizer, choose_device(config.compute.device))


def choose_workers(config: DataConfig, device: str) -> int:
    """Return how many processes read images.

    On a CPU the towers need every core, and one thread keeps ahead of them; on a GPU reading is the
    bottleneck.

    Args:
        config: A number, or -1 to choose.
        device: Where the towers compute.

    Returns:
        0 for a thread of this process.
    """
    if config.workers >= 0:
        return config.workers
    return 0 if choose_device(device).type == "cpu" else min(usable_cores(), _MOST_WORKERS)
