"""The settings of [model] in RUN.toml: which model is trained, and how much of it.

A comment at each field is its manual, as in :mod:`clipkit.training.config`.
"""

from dataclasses import dataclass
from typing import Annotated

from clipkit.errors import InputError
from clipkit.models.lora_info import LoraTarget, LoraTowers
from clipkit.training.config_errors import checked_settings
from clipkit.training.config_paths import Anchor, FilePath, ModelName, absolute_path
from clipkit.training.config_values import Count, Flag, NonNegative, PartialShare, Text

Architecture = Annotated[
    Text, Anchor(lambda name, at: absolute_path(name, at) if f"{name}".endswith(".json") else name)
]


@checked_settings("model")
@dataclass(frozen=True)
class ModelConfig:
    """Which model is trained, and how much of it."""

    base: ModelName = ""  # base model to fine-tune, any that clipkit loads; empty: from scratch
    architecture: Architecture = ""  # from scratch: an open_clip config by name, or a JSON file
    tokenizer: FilePath = ""  # from scratch: a folder with tokenizer.json; empty: the config's own
    lock_image: Flag = False  # freeze the image encoder (LiT)
    unlocked_image_groups: Count = 0  # its last so many groups are trained although it is locked
    lock_text: Flag = False  # freeze the text encoder
    unlocked_text_layers: Count = 0  # its last so many layers are trained although it is locked
    # Keep gains and running means; None: yes, unless from scratch. Several processes on CUDA share
    # the statistics of a batch, on a CPU each has its own.
    freeze_batch_norm: Flag | None = None
    patch_dropout: PartialShare = 0.0  # share of patches left out of each image, 0..1 (FLIP: .5)
    gradient_checkpointing: Flag = False  # a third slower or so, with much less memory
    # LoRA: matrices of this rank are added to weights and trained, nothing else; 0: no LoRA.
    lora_rank: Count = 0
    lora_alpha: NonNegative = 1.0  # they are multiplied by lora_alpha / sqrt(lora_rank)
    lora_towers: LoraTowers = "both"  # or "image", "text"
    # "q", "k", "v", "out" of attention, "linear" for other linear layers, "conv" for 1 x 1
    # convolutions; empty: q, k, v and conv, or of a tower that has none of these linear.
    lora_targets: tuple[LoraTarget, ...] = ()

    def __post_init__(self) -> None:
        """Check how the fields go together.

        Raises:
            InputError: If fields contradict each other.
        """
        if bool(self.base) == bool(self.architecture):
            got = "both" if self.base else "neither"
            raise InputError(
                "[model] needs either base (a model to fine-tune) or architecture (from scratch), "
                f"got {got}"
            )
        if self.tokenizer and self.base:
            raise InputError(
                "model.tokenizer is for training from scratch: a base model brings its own"
            )
        for name, lock in (
            ("unlocked_image_groups", "lock_image"),
            ("unlocked_text_layers", "lock_text"),
        ):
            if getattr(self, name) and not getattr(self, lock):
                raise InputError(f"model.{name} goes with {lock} = true, got {getattr(self, name)}")
        if self.lora_rank:
            self._check_lora()
        elif (self.lora_alpha, self.lora_towers, self.lora_targets) != (1.0, "both", ()):
            raise InputError(
                "model.lora_alpha, lora_towers and lora_targets go with a lora_rank above 0, as in "
                "lora_rank = 2"
            )

    def _check_lora(self) -> None:
        if not self.base:
            raise InputError(
                f"model.lora_rank = {self.lora_rank} adapts a base model, and random weights are "
                "none: name one by model.base, or set lora_rank = 0"
            )
        if not self.lora_alpha:
            raise InputError("model.lora_alpha must be above 0: with 0 adapters change nothing")
        for tower, lock in (("image", self.lock_image), ("text", self.lock_text)):
            if lock and tower in self.lora_of:
                raise InputError(
                    f"model.lock_{tower} keeps the {tower} encoder as it is, and lora_towers = "
                    f'"{self.lora_towers}" adapts it: LoRA leaves all weights of the base model as '
                    f"they are, so leave out lock_{tower}; to adapt the other one alone, set "
                    f'lora_towers = "{"text" if tower == "image" else "image"}"'
                )
        if self.unlocked_image_groups or self.unlocked_text_layers:
            raise InputError(
                "model.lora_rank trains adapters and no weight of the base model: set "
                "unlocked_image_groups and unlocked_text_layers to 0, or lora_rank = 0"
            )
        if self.freeze_batch_norm is False:
            raise InputError(
                "model.lora_rank keeps the batch norms of the base model: leave out "
                "freeze_batch_norm, or set lora_rank = 0"
            )

    @property
    def lora_of(self) -> tuple[str, ...]:
        """The towers that LoRA adapts: "image", "text", both or none."""
        if not self.lora_rank:
            return ()
        return ("image", "text") if self.lora_towers == "both" else (self.lora_towers,)

    @property
    def is_image_fixed(self) -> bool:
        """Whether nothing of the image encoder is trained."""
        if self.lora_rank:
            return "image" not in self.lora_of
        return self.lock_image and not self.unlocked_image_groups

    @property
    def is_text_fixed(self) -> bool:
        """Whether nothing of the text encoder is trained."""
        if self.lora_rank:
            return "text" not in self.lora_of
        return self.lock_text and not self.unlocked_text_layers
