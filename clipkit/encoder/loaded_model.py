"""A model on an engine: its space, its logit scale, where it runs, and its weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.arguments import check_path
from clipkit.errors import InputError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.runtime.base import Runtime, RuntimeWithTowers, Scoring
from clipkit.runtime.truncated import TruncatedRuntime

if TYPE_CHECKING:
    from clipkit.models.checkpoint import Layout
    from clipkit.models.open_clip_towers import OpenClipTowers


class LoadedModel:
    """The two towers on an engine, and what is known of them; :class:`Encoder` encodes with it.

    Args:
        runtime: The two towers on an engine.
        tokenizer: Text to token ids, as the checkpoint says.
        name: The model's name, as it was resolved.
    """

    def __init__(self, runtime: Runtime, tokenizer: Tokenizer, *, name: str) -> None:
        self.name = name
        self._runtime = runtime
        self._tokenizer = tokenizer

    def __repr__(self) -> str:
        return (
            f"Encoder({self.name!r}, embed_dim={self.embed_dim}, engine={self.engine!r}, "
            f"device={self.device!r}, precision={self.precision!r}, space_id={self.space_id!r})"
        )

    @property
    def space_id(self) -> str:
        """Identity of the space; embeddings compare only with those of the same space."""
        return self._runtime.space_id

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._runtime.embed_dim

    @property
    def context_length(self) -> int:
        """Tokens of a text that the text encoder reads, its marks included: 77 for most models."""
        return self._tokenizer.context_length

    @property
    def scoring(self) -> Scoring:
        """How the checkpoint turns cosines into logits: its logit scale and logit bias."""
        return self._runtime.scoring

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by, 1 / temperature: 100 for most CLIP models.

        It is exp of the checkpoint's learned parameter of this name.
        """
        return self.scoring.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """What is added to logits, about -10 for SigLIP; None for models trained with softmax."""
        return self.scoring.logit_bias

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx", "openvino" or "torch"."""
        return self._runtime.engine

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """Number format of the computation: "fp32", "bf16", "fp16" or "int8"."""
        return self._runtime.precision

    @property
    def towers(self) -> "OpenClipTowers":
        """open_clip's own modules, to build on: attention maps, LoRA, text for a diffusion model.

        The encoder itself computes with them. Changing their weights changes the encoder too, but
        not its space_id: save() what was trained, and load it again. From the first use of this on,
        the encoder, and those that are :meth:`truncated` from it, neither look up nor keep
        embeddings of texts on disk; once weights have changed, they are refused by a
        :class:`PhotoLibrary`, by an :class:`EncoderPool` and by pickle, which would mix what they
        compute with the embeddings of the original weights.

        Raises:
            InputError: If the encoder runs on an engine that does not hold the weights.
        """
        return self._runtime_with_towers("open_clip's modules").open_clip_towers()

    @property
    def may_weights_change(self) -> bool:
        """Whether :attr:`towers` was used: from then on space_id need not be the weights' own."""
        return self._runtime.may_weights_change

    def save(self, directory: str | Path, *, layout: "Layout" = "open_clip") -> None:
        """Write the model as a checkpoint directory, whole or not at all.

        In open_clip's layout :func:`load` opens it with the same embeddings and space_id. Plain
        open_clip opens it as "local-dir:directory" with equal embeddings, with these limits:

        - If the text tower is a Hugging Face one, open_clip looks for its config (hf_model_name is
          ".") from where the process runs: the working directory must be that directory, or the
          model be made with another text_cfg, as docs/checkpoints.md shows.
        - Of a model whose embeddings clipkit cuts off (kept_dims) it gives all coordinates, those
          past embed_dim zero: 1320 of the starter, of which 384 are kept.
        - It does not know "clipkit_cfg": what a checkpoint of transformers' has that open_clip has
          no word for, such as a crop that is rounded down.

        In transformers' layout its AutoModel, AutoTokenizer and AutoImageProcessor open it; their
        crop may begin one pixel earlier than open_clip's. :func:`load` opens that too, as a space
        of its own. As open_clip_train's the directory holds epoch_0.pt alone, for its
        ``--resume`` or ``--pretrained``.

        Args:
            directory: Where to. A checkpoint that is there is replaced; anything else is not.
            layout: "open_clip", "transformers" or "open_clip_train".

        Raises:
            InputError: If the encoder runs on an engine that does not hold the weights, they were
                rounded when they were loaded, or there is no such layout.
            CheckpointError: If something that is no checkpoint lies there, writing fails, or
                transformers has no such model.
        """
        if layout not in ("open_clip", "transformers", "open_clip_train"):
            raise InputError(
                f'layout must be "open_clip", "transformers" or "open_clip_train", got {layout!r}'
            )
        runtime = self._runtime_with_towers("weights to save")
        text = self._tokenizer.to_json()
        runtime.save(check_path(directory, "directory"), tokenizer_json=text, layout=layout)

    def check_weights(self) -> None:
        """Raise if the weights are no longer those of the space_id.

        Called before anything is stored or computed elsewhere under the space_id.

        Raises:
            InputError: If they were changed through :attr:`towers`.
        """
        if self._runtime.have_weights_changed():
            raise InputError(
                f"the weights of {self.name} were changed through encoder.towers, and its space_id "
                f"is that of the weights before: save them with encoder.save(DIRECTORY), and take "
                f"clipkit.load(DIRECTORY) instead of this encoder"
            )

    def _runtime_with_towers(self, what: str) -> RuntimeWithTowers:
        if isinstance(self._runtime, TruncatedRuntime):
            raise InputError(
                f"{what} belong to the whole model, and this encoder keeps {self.embed_dim} of its "
                f"{self._runtime.whole.embed_dim} dimensions: load it without truncate_dim"
            )
        if not isinstance(self._runtime, RuntimeWithTowers):
            raise InputError(
                f"{what} are not available on the {self.engine} engine; "
                f'load the model with engine="torch"'
            )
        return self._runtime
