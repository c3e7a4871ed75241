"""The two towers of a checkpoint: open_clip's model with its config, and the features it gives.

Shapes: N inputs, S image size, L context length, D dimensions of the shared space, P patches of
the image tower's grid, W width of a tower.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.lora_info import LoraInfo
from clipkit.models.low_rank import plain_state
from clipkit.models.space_id import space_id

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtraError("torch", "Running a model in torch") from error


# Text towers of transformers that mask their padding and count positions from the start or from
# the mask. Each was compared with itself at the full length; another one has to be before it joins.
MASKING_TOWERS = ("bert", "m2m_100", "mt5", "roberta", "xlm-roberta")
# Their poolers that never look at padding. open_clip's max_pooler looks at nothing else.
MASKING_POOLERS = ("ClsLastHiddenStatePooler", "ClsPooler", "MeanPooler")


class Towers(nn.Module):
    """Image tower and text tower of one checkpoint, with open_clip's model inside.

    Args:
        model: A model of open_clip's: CLIP, CustomTextCLIP or CoCa.
        model_cfg: The config it was built from.
        preprocess_cfg: How images become pixel values: size, mean, std, interpolation,
            resize_mode, fill_color, mode.
        tokenizer_source: A directory with a tokenizer.json, or CLIP's vocabulary file.
        kept_dims: D, where the checkpoint's other coordinates are zero; None keeps all.

    Raises:
        CheckpointError: If kept_dims is not between 1 and the config's embed_dim.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        model_cfg: Mapping[str, Any],
        preprocess_cfg: Mapping[str, Any],
        tokenizer_source: Path,
        kept_dims: int | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model  # open_clip's classes bring no types
        self.model_cfg = dict(model_cfg)
        self.preprocess_cfg = dict(preprocess_cfg)
        self.tokenizer_source = tokenizer_source
        self.kept_dims = kept_dims
        self.lora: LoraInfo | None = None  # of adapters that the model has
        if kept_dims is not None and not 1 <= kept_dims <= self.model_cfg["embed_dim"]:
            raise CheckpointError(
                f"kept_dims must be between 1 and {self.model_cfg['embed_dim']}, got {kept_dims}"
            )

    @property
    def config(self) -> dict[str, Any]:
        """The "model_cfg" and "preprocess_cfg", with clipkit's own settings among open_clip's."""
        return {"model_cfg": self.model_cfg, "preprocess_cfg": self.preprocess_cfg}

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self.kept_dims or int(self.model_cfg["embed_dim"])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pixel values, in pixels."""
        size = self.preprocess_cfg["size"]
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def context_length(self) -> int:
        """L, tokens in a row of token ids."""
        return int(self.model_cfg["text_cfg"].get("context_length") or 77)

    @property
    def padding_id(self) -> int | None:
        """Token id whose last columns may be cut off token ids; None where rows stay whole.

        A column may go if it, and every one after it, holds this id in every row. Features are
        then the same but for rounding.
        """
        text_cfg = self.model_cfg["text_cfg"]
        if text_cfg.get("hf_model_name"):
            tower = self.model.text
            is_masked = tower.config.model_type in MASKING_TOWERS
            is_ignored = type(tower.pooler).__name__ in MASKING_POOLERS
            # The tower masks the id of its own config, whatever the tokenizer pads with.
            return int(tower.config.pad_token_id) if is_masked and is_ignored else None
        # Without a causal mask (SigLIP, CLIPA, MobileCLIP-S) every token attends to the padding:
        # open_clip has a mask for it, but no config switches it on. And a class token (CoCa)
        # comes after the padding, at a position with an embedding of its own.
        if text_cfg.get("no_causal_mask") or text_cfg.get("embed_cls"):
            return None
        # Behind a causal mask a token sees none that follow, so what follows the end may go.
        pool_type = text_cfg.get("pool_type", "argmax")
        if pool_type == "argmax":  # the end has the highest id; 0 can never be it, others can
            return 0
        padding_id = int(text_cfg.get("pad_id", 0))
        if pool_type == "eos" and padding_id != self._eos_id:
            return padding_id
        return None  # "last" pools the padding itself

    @property
    def logit_scale(self) -> float:
        """Natural log of the multiplier of cosines."""
        return float(self.model.logit_scale.detach())

    @property
    def logit_bias(self) -> float | None:
        """What is added to logits; None where the checkpoint was trained with softmax."""
        bias = self.model.logit_bias
        return None if bias is None else float(bias.detach())

    def space_id(self, tokenizer_digest: str) -> str:
        """Return the identity of the space, from the weights as they are now.

        Args:
            tokenizer_digest: What identifies the vocabulary.

        Returns:
            16 hex digits.
        """
        config = {**self.config, "kept_dims": self.kept_dims}
        return space_id(config, self._arrays(), tokenizer_digest)

    def checksums(self) -> dict[str, list[int]]:
        """Return a checksum of every tensor by name: whether weights change is seen by them.

        They are sums of the tensors' bits, which takes a twentieth of the time of a hash.
        """
        return {name: _checksum(tensor) for name, tensor in plain_state(self.model).items()}

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Return image features of any norm, shape (N, D), for pixel values (N, 3, S, S)."""
        return self._kept(self.model.encode_image(pixel_values, normalize=False), "image")

    def text_features(self, token_ids: Tensor) -> Tensor:
        """Return text features of any norm, shape (N, D), for token ids (N, L).

        L may be shorter than the context length where the cut is as ``padding_id`` says.
        """
        is_native = not self.model_cfg["text_cfg"].get("hf_model_name")
        if is_native and self.padding_id is not None:
            features = self._causal_text_features(token_ids)
        else:
            features = self.model.encode_text(token_ids, normalize=False)
        return self._kept(features, "text")

    def _kept(self, features: Tensor, side: str) -> Tensor:
        """Return the dimensions of the shared space, shape (N, D), of what an encoder has given."""
        expected = self.model_cfg["embed_dim"]
        if features.shape[1] != expected:
            raise CheckpointError(
                f"the {side} encoder gives {features.shape[1]} numbers, and embed_dim of its "
                f"config is {expected}: embed_dim is wrong, or the encoder lacks a projection"
            )
        return features[:, : self.kept_dims]

    def token_features(self, token_ids: Tensor) -> Tensor:
        """Return one feature vector a token, as image generators take them from CLIP.

        Args:
            token_ids: Shape (N, L).

        Returns:
            The text tower's last layer after its final layer norm, before pooling and projection,
            shape (N, L, W): transformers' ``last_hidden_state``. L includes padding.
        """
        text = getattr(self.model, "text", None)
        if text is None:  # open_clip's CLIP class holds the parts of its text tower itself
            outputs = self.model.forward_intermediates(
                text=token_ids,
                text_indices=1,
                normalize_intermediates=True,
                intermediates_only=True,
            )
        elif hasattr(text, "forward_intermediates"):
            outputs = text.forward_intermediates(
                token_ids,
                indices=1,
                normalize_intermediates=True,
                intermediates_only=True,
                output_fmt="NLC",
            )
        else:
            attention_mask = (token_ids != text.config.pad_token_id).long()
            hidden: Tensor = text.transformer(
                input_ids=token_ids, attention_mask=attention_mask
            ).last_hidden_state
            return hidden
        last: Tensor = outputs["text_intermediates"][-1]
        return last

    def patch_features(self, pixel_values: Tensor) -> Tensor:
        """Return one feature vector a patch, in reading order.

        Args:
            pixel_values: Shape (N, 3, S, S).

        Returns:
            The image tower's last layer without class tokens, before pooling and projection,
            shape (N, P, W). It is after the final layer norm where that comes before pooling.
            For a ResNet or another convolutional tower, P are the positions of the last stage.
        """
        visual = self.model.visual
        if hasattr(visual, "trunk"):
            return _trunk_patches(visual.trunk, pixel_values)
        if not hasattr(visual, "conv1") or not hasattr(visual, "ln_post"):
            outputs = visual.forward_intermediates(pixel_values, indices=1, intermediates_only=True)
            stage: Tensor = outputs["image_intermediates"][-1]  # (N, W, height, width)
            return stage.flatten(2).transpose(1, 2)
        is_norm_before_pool = visual.attn_pool is None and not visual.final_ln_after_pool
        outputs = visual.forward_intermediates(
            pixel_values,
            indices=1,
            normalize_intermediates=is_norm_before_pool,
            intermediates_only=True,
            output_fmt="NLC",
        )
        patches: Tensor = outputs["image_intermediates"][-1]
        return patches

    @property
    def _eos_id(self) -> int:
        return int(self.model_cfg["text_cfg"].get("eos_id", 2))  # open_clip's own default

    def _causal_text_features(self, token_ids: Tensor) -> Tensor:
        """Return what ``encode_text`` does, at any length: open_clip's takes the full one only."""
        # open_clip's CLIP class holds the parts of its text tower itself.
        text = getattr(self.model, "text", self.model)
        length = token_ids.shape[1]
        dtype = text.transformer.get_cast_dtype()
        embedded = text.token_embedding(token_ids).to(dtype)
        positions = text.positional_embedding[:length].to(dtype)
        tokens = text.transformer(embedded + positions, attn_mask=text.attn_mask[:length, :length])
        if self.model_cfg["text_cfg"].get("pool_type") == "eos":
            ends = (token_ids == self._eos_id).int().argmax(dim=-1)
        else:
            ends = token_ids.argmax(dim=-1)
        rows = torch.arange(token_ids.shape[0], device=token_ids.device)  # len() has no symbol
        pooled: Tensor = text.ln_final(tokens)[rows, ends]
        projection = text.text_projection
        if isinstance(projection, nn.Linear):
            pooled = projection(pooled)
        elif projection is not None:
            pooled = pooled @ projection
        return pooled

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, tensor in plain_state(self.model).items():
            # NumPy has no bfloat16; float32 holds every value of it.
            value = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            yield name, np.asarray(value.detach().cpu().numpy())


def _checksum(tensor: Tensor) -> list[int]:
    """Return the shape of a tensor and the sum of its bits, read as whole numbers of 64."""
    flat = tensor.detach().contiguous().view(-1)
    if flat.storage_offset():
        flat = flat.clone()  # bits are read from a multiple of 64 on
    bits = flat.view(torch.uint8)
    end = len(bits) // 8 * 8
    return [*tensor.shape, int(bits[:end].view(torch.int64).sum()), int(bits[end:].sum())]


def _trunk_patches(trunk: Any, pixel_values: Tensor) -> Tensor:
    features: Tensor = trunk.forward_features(pixel_values)
    if features.ndim == 3:  # (N, class tokens and patches, W)
        return features[:, getattr(trunk, "num_prefix_tokens", 0) :]
    if getattr(trunk, "output_fmt", "NCHW") == "NHWC":
        return features.flatten(1, 2)
    return features.flatten(2).transpose(1, 2)  # (N, W, height, width) -> (N, P, W)
