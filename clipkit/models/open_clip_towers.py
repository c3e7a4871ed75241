"""open_clip's own modules of a checkpoint, for those who build on them.

Shapes: N inputs, S image size, L context length, E features of open_clip's config.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from clipkit.errors import MissingExtraError
from clipkit.models.own_settings import split_own
from clipkit.models.towers import Towers

try:
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("torch", "Running a model in torch") from error

# What open_clip's CLIP class holds of its text encoder; its other classes have a module for it.
_TEXT_PARTS = (
    "token_embedding",
    "positional_embedding",
    "transformer",
    "ln_final",
    "text_projection",
    "text_pool_type",
    "text_eos_id",
)


@dataclass(frozen=True)
class OpenClipTowers:
    """A checkpoint in open_clip's own objects, on one device and in one number format.

    Example:
        >>> towers = clipkit.load("ViT-B-32/openai", engine="torch").towers  # doctest: +SKIP
        >>> tokens = towers.tokenizer(["a photo of a cat"])  # doctest: +SKIP
        >>> hidden = towers.text_encoder.token_embedding(tokens)  # doctest: +SKIP
    """

    model: nn.Module  # CLIP, CustomTextCLIP or CoCa: encode_image, encode_text, logit_scale
    image_encoder: nn.Module  # pixel values (N, 3, S, S) -> image features (N, E)
    text_encoder: nn.Module  # token ids (N, L) -> text features (N, E); parameters of model
    tokenizer: Callable[[str | list[str]], Tensor]  # texts -> token ids (N, L), on the CPU
    preprocess: Callable[[Any], Tensor]  # a PIL image -> pixel values (3, S, S), on the CPU


class Inputs(NamedTuple):
    """What makes tensors of texts and images."""

    tokenizer: Callable[[str | list[str]], Tensor]
    preprocess: Callable[[Any], Tensor]


class ClipTextEncoder(nn.Module):
    """The text encoder of open_clip's CLIP class as a module, sharing its parts and parameters.

    Args:
        model: An open_clip.CLIP.
    """

    attn_mask: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name in _TEXT_PARTS:
            setattr(self, name, getattr(model, name, None))
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return text features of any norm, shape (N, E), for token ids (N, L)."""
        from open_clip import CLIP

        # open_clip's own arithmetic, which reads nothing of the model but these parts.
        features: Tensor = CLIP.encode_text(self, token_ids)
        return features


def open_clip_towers(towers: Towers, inputs: Inputs | None = None) -> OpenClipTowers:
    """Return open_clip's modules of towers; nothing is copied.

    Args:
        towers: The towers.
        inputs: Of a checkpoint that asks for what open_clip has no word for; None: open_clip's own.

    Returns:
        Their modules. Where a checkpoint keeps fewer dimensions than its config has, features are
        zero beyond those.
    """
    model = towers.model
    has_text_module = hasattr(model, "text")
    inputs = inputs or _open_clips_inputs(towers)
    return OpenClipTowers(
        model=model,
        image_encoder=model.visual,
        text_encoder=model.text if has_text_module else ClipTextEncoder(model).eval(),
        tokenizer=inputs.tokenizer,
        preprocess=inputs.preprocess,
    )


def _open_clips_inputs(towers: Towers) -> Inputs:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    plain, _ = split_own(towers.config)
    return Inputs(
        _tokenizer(towers),
        image_transform_v2(PreprocessCfg(**plain["preprocess_cfg"]), is_train=False),
    )


def _tokenizer(towers: Towers) -> Callable[[str | list[str]], Tensor]:
    """Return open_clip's tokenizer, as its get_tokenizer makes it of a checkpoint directory."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text_cfg = towers.model_cfg["text_cfg"]
    options = {"context_length": towers.context_length, **(text_cfg.get("tokenizer_kwargs") or {})}
    tokenizer: Callable[[str | list[str]], Tensor]
    if text_cfg.get("hf_tokenizer_name"):
        tokenizer = HFTokenizer(str(towers.tokenizer_source), **options)
    else:
        tokenizer = SimpleTokenizer(**options)
    return tokenizer
