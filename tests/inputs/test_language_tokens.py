"""The token that says a text's language: NLLB's class places it, whatever tokenizer.json says.

The published tokenizer.json puts it last. transformers has put it first since 4.30, where the text
tower of NLLB-CLIP pools, and so does open_clip with it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

open_clip = pytest.importorskip("open_clip")
pytest.importorskip("transformers")

from clipkit.errors import CheckpointError  # noqa: E402
from clipkit.inputs.tokenizer import Tokenizer  # noqa: E402

TEXTS = ["a cat", "two boats in a storm on the lake", ""]
TEXT_CFG = {"context_length": 8, "hf_tokenizer_name": "."}
LAST, FIRST = "$A </s> eng_Latn", "eng_Latn $A </s>"


def write_nllb(folder: Path, frame: str = LAST, **settings: Any) -> Path:
    """Write a small tokenizer with the parts of NLLB's."""
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models, pre_tokenizers, processors, trainers

    vocabulary = Vocabulary(models.BPE(unk_token="<unk>", fuse_unk=True))
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    vocabulary.pre_tokenizer = metaspace
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=marks, show_progress=False)
    vocabulary.train_from_iterator(TEXTS * 3, trainer)
    vocabulary.add_special_tokens(["eng_Latn", "fra_Latn", "<mask>"])
    named = ("</s>", "eng_Latn")
    vocabulary.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(token, vocabulary.token_to_id(token)) for token in named]
    )
    vocabulary.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "NllbTokenizer",
        "additional_special_tokens": ["eng_Latn", "fra_Latn"],
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("settings", "place", "token"),
    [
        ({}, 0, "eng_Latn"),
        ({"tokenizer_class": "NllbTokenizerFast"}, 0, "eng_Latn"),
        ({"src_lang": "fra_Latn"}, 0, "fra_Latn"),
        ({"legacy_behaviour": True}, 3, "eng_Latn"),
        ({"legacy_behaviour": True, "src_lang": "fra_Latn"}, 3, "fra_Latn"),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}, 3, "eng_Latn"),
    ],
)
def test_the_language_is_where_open_clip_has_it(
    settings: dict[str, Any], place: int, token: str, tmp_path: Path
) -> None:
    folder = write_nllb(tmp_path, **settings)
    tokenizer = Tokenizer.from_config(TEXT_CFG, folder)
    found = tokenizer.tokenize_quietly(TEXTS)
    upstream = open_clip.tokenizer.HFTokenizer(str(folder), context_length=8)
    np.testing.assert_array_equal(found.token_ids, upstream(TEXTS).numpy())
    assert found.token_ids[0, place] == upstream.tokenizer.convert_tokens_to_ids(token)
    assert found.is_cut.tolist() == [False, True, False]
    assert found.is_unknown.tolist() == [False, False, True]


def test_a_saved_vocabulary_says_where_the_language_is(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_config(TEXT_CFG, write_nllb(tmp_path))
    expected = tokenizer.tokenize_quietly(TEXTS).token_ids
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<pad>"}')
    found = Tokenizer.from_config(TEXT_CFG, tmp_path).tokenize_quietly(TEXTS).token_ids
    np.testing.assert_array_equal(found, expected)


def test_the_digest_tells_other_token_ids_apart(tmp_path: Path) -> None:
    file_alone = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    digests = {}
    for frame in (LAST, FIRST):
        for settings in (file_alone, {}, {"src_lang": "fra_Latn"}):
            folder = write_nllb(tmp_path, frame, **settings)
            digests[frame, *settings] = Tokenizer.from_config(TEXT_CFG, folder).digest()
    assert digests[FIRST,] == digests[FIRST, *file_alone]
    assert len({digests[LAST, *keys] for keys in (file_alone, {}, {"src_lang": ""})}) == 3


def test_a_language_that_the_vocabulary_lacks_is_refused(tmp_path: Path) -> None:
    folder = write_nllb(tmp_path, src_lang="xyz_Latn")
    with pytest.raises(CheckpointError, match=r"'xyz_Latn', which marks texts, is not in .*json"):
        Tokenizer.from_config(TEXT_CFG, folder)(["a cat"])
