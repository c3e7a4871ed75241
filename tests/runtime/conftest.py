"""A small checkpoint with the starter's parts: a timm trunk with batch norms, a BERT text tower."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipkit.runtime import parity

CONTEXT_LENGTH = 12
KEPT_DIMS = 5


@pytest.fixture(scope="package", autouse=True)
def few_inputs(
    samples: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Path], list[str]]]:
    """Models are measured on six photographs and eleven texts, so that compiling takes seconds."""
    folder = tmp_path_factory.mktemp("samples")
    for path in samples[:6]:
        shutil.copyfile(path, folder / path.name)
    queries = ["a cat", "the red boat on the lake", "a", "of a boat", "a cat on the boat"] * 2
    (folder / "queries.json").write_text(json.dumps([{"query": query} for query in queries]))
    (folder / "labels.txt").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "reference_directory", lambda: folder)
        yield sorted(folder.glob("*.jpg")), [*queries, ""]


@pytest.fixture(scope="package")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory in open_clip's layout, half precision, random weights."""
    open_clip = pytest.importorskip("open_clip")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("small")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "cat", "of", "red", "boat", "on", "the"]
    vocabulary = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
    )
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    vocabulary.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    bert = {
        "model_type": "bert",
        "vocab_size": 120,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(bert))
    text_cfg = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": ".",
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "context_length": CONTEXT_LENGTH,
    }
    vision_cfg = {
        "timm_model_name": "test_efficientnet",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "mlp",
        "image_size": 64,
    }
    model_cfg = {"embed_dim": 8, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        embed_dim=8,
        vision_cfg=dict(vision_cfg),
        text_cfg={**text_cfg, "hf_model_pretrained": False},
    )
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(0, 0.3)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
        model.visual.head.mlp.fc2.weight[KEPT_DIMS:] = 0
        if model.visual.head.mlp.fc2.bias is not None:
            model.visual.head.mlp.fc2.bias[KEPT_DIMS:] = 0
        model.text.proj.weight[KEPT_DIMS:] = 0
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(half, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": {**model_cfg, "text_cfg": {**text_cfg, "hf_model_name": "."}},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "clipkit_cfg": {"kept_dims": KEPT_DIMS},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may change."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "small"))


@pytest.fixture(scope="package")
def bundle(
    small_checkpoint: Path,
    few_inputs: tuple[list[Path], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The small checkpoint, compiled."""
    from clipkit.runtime.compile import compile_in_place

    folder = Path(shutil.copytree(small_checkpoint, tmp_path_factory.mktemp("bundle") / "small"))
    compile_in_place(folder, name="small")
    return folder
