"""Token ids against open_clip's own, and what is said when text is cut."""

import hashlib
import json
import random
import shutil
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clipkit.errors import CheckpointError, InputError
from clipkit.inputs import tokenizer as tokenizer_module
from clipkit.inputs.text_cleaning import clean_lower
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer

open_clip = pytest.importorskip("open_clip")

VOCABULARY = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
LONG = "a very long description of one red boat on a blue lake " * 40
CORPUS = (
    "a cat",
    "",
    "   ",
    "A Photo of a SIAMESE Cat!",
    "é à ñ Ünïcödé naïve café",
    "cafe\u0301 with a combining accent",
    "😀👍🏽 flags 🇩🇪 family 👨‍👩‍👧",
    "漢字 カタカナ 한국어 中文",
    "مرحبا नमस्ते שלום ภาษาไทย",
    "it's I'll DON'T we've they're I'd",
    "x" * 500,
    "&amp;lt; &eacute; &#65;",
    "<b> twice: &amp;lt;",  # with a bracket ftfy leaves entities to the two rounds after it
    "four times: &amp;amp;amp;lt;",
    "&EACUTE; is known to ftfy only",
    "schÃ¶n mojibake â€œquotesâ€\x9d",
    "“curly” — dash … ellipsis",
    "\n\t tabs\r\nand lines \x0b ",
    "null \u0000 escape \x1b[31m zero width \u200b soft\u00adhyphen",
    "123 4.5e6 ½ ² ٣ ①②",
    "ÅΩ ﬁ ﬀ ª º İstanbul ẞ ǅ",
    "under_score, punctuation!? (brackets) [x] {y} #tag @home",
    "<start_of_text> inside <end_of_text>",
    "lone surrogate \ud800",
    LONG,
)


def quietly(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)
        return tokenizer(texts)


def without_surrogates(texts: Sequence[str]) -> list[str]:
    # open_clip cannot take lone surrogates at all; clipkit reads them as question marks.
    return [text.encode("utf-8", "replace").decode() for text in texts]


@pytest.fixture(scope="module")
def clip_tokenizer() -> Tokenizer:
    return Tokenizer.from_config({"context_length": 77}, VOCABULARY)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
@pytest.mark.parametrize("context_length", [16, 77])
def test_clip_ids_equal_open_clips(clean: str, context_length: int) -> None:
    upstream = open_clip.tokenizer.SimpleTokenizer(context_length=context_length, clean=clean)
    tokenizer = Tokenizer.from_config(
        {"context_length": context_length, "tokenizer_kwargs": {"clean": clean}}, VOCABULARY
    )
    expected = upstream(without_surrogates(CORPUS)).numpy()
    np.testing.assert_array_equal(quietly(tokenizer, CORPUS), expected)


CLIP_TOKENIZER = Tokenizer.from_config({}, VOCABULARY)


# Whether a character that this Python does not know yet is a letter depends on the Unicode version
# of each regular expression engine.
KNOWN_LETTERS = st.characters(exclude_categories=["Cn", "Cs"])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(KNOWN_LETTERS, max_size=60), min_size=1, max_size=8))
def test_clip_ids_equal_open_clips_on_any_text(texts: list[str]) -> None:
    # Cleaning can make some out of others.
    cleaned = "".join(clean_lower(text) for text in texts)
    assume(all(unicodedata.category(character) != "Cn" for character in cleaned))
    tokenizer = CLIP_TOKENIZER
    upstream = open_clip.tokenizer._tokenizer
    expected = upstream(without_surrogates(texts)).numpy()
    np.testing.assert_array_equal(quietly(tokenizer, texts), expected)


def test_clip_ids_survive_a_tokenizer_file(clip_tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(clip_tokenizer.to_json(), encoding="utf-8")
    from_file = Tokenizer.from_config({"context_length": 77}, tmp_path)
    np.testing.assert_array_equal(quietly(from_file, CORPUS), quietly(clip_tokenizer, CORPUS))


def write_checkpoint(folder: Path, text_cfg: dict[str, Any]) -> Path:
    config = {
        "model_cfg": {"embed_dim": 4, "vision_cfg": {}, "text_cfg": text_cfg},
        "preprocess_cfg": {},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with a small T5 vocabulary, made as SigLIP's are."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    vocabulary = Vocabulary(models.Unigram())
    vocabulary.normalizer = normalizers.NFKC()
    vocabulary.pre_tokenizer = pre_tokenizers.Metaspace()
    vocabulary.decoder = decoders.Metaspace()
    words = random.Random(0).choices(
        ["cat", "dog", "boat", "red", "blue", "lake", "photo", "of", "a"], k=4000
    )
    lines = [" ".join(words[start : start + 8]) for start in range(0, len(words), 8)]
    vocabulary.train_from_iterator(
        [*lines, *without_surrogates(CORPUS)],
        trainers.UnigramTrainer(
            vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
        ),
    )
    vocabulary.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder = tmp_path_factory.mktemp("siglip")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    text_cfg = {
        "context_length": 64,
        "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    return write_checkpoint(folder, text_cfg)


def test_siglip_ids_equal_open_clips(siglip_folder: Path) -> None:
    upstream = open_clip.get_tokenizer(f"local-dir:{siglip_folder}")
    text_cfg = json.loads((siglip_folder / "open_clip_config.json").read_text())["model_cfg"][
        "text_cfg"
    ]
    ids = quietly(Tokenizer.from_config(text_cfg, siglip_folder), CORPUS)
    np.testing.assert_array_equal(ids, upstream(without_surrogates(CORPUS)).numpy())
    # SigLIP's towers see the padding: every row is full. Case and punctuation are gone.
    assert ids.shape == (len(CORPUS), 64)
    assert (ids[1] == 1).all()
    np.testing.assert_array_equal(
        ids[3],
        quietly(Tokenizer.from_config(text_cfg, siglip_folder), ["a photo of a siamese cat"])[0],
    )


def test_wordpiece_ids_equal_open_clips(starter_folder: Path) -> None:
    upstream = open_clip.get_tokenizer(f"local-dir:{starter_folder}")
    config = json.loads((starter_folder / "open_clip_config.json").read_text())
    tokenizer = Tokenizer.from_config(config["model_cfg"]["text_cfg"], starter_folder)
    expected = upstream(without_surrogates(CORPUS)).numpy()
    np.testing.assert_array_equal(quietly(tokenizer, CORPUS), expected)


def test_erased_separator_equals_open_clips(starter_folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (starter_folder / name).exists():
            (tmp_path / name).write_bytes((starter_folder / name).read_bytes())
    text_cfg = {
        "context_length": 20,
        "hf_tokenizer_name": "bert",
        "tokenizer_kwargs": {"strip_sep_token": True},
    }
    write_checkpoint(tmp_path, text_cfg)
    upstream = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    tokenizer = Tokenizer.from_config(text_cfg, tmp_path)
    expected = upstream(without_surrogates(CORPUS)).numpy()
    np.testing.assert_array_equal(quietly(tokenizer, CORPUS), expected)


TEXTS_AND_UNKNOWN = {
    "clip": {"猫": False, "🐱": False, "cat": False, "!": False, "": True, " \n": True},
    "clip, canonicalized": {"猫": False, "cat!": False, "!?": True, "_": True, "": True},
    "wordpiece": {"猫": True, "猫 犬": True, "🐱": True, "a 猫": False, "Cat": False, "": True},
    "unigram": {"犬": True, "犬 犬": True, "a 犬": False, "cat": False, "!": True, "": True},
}


@pytest.mark.parametrize("kind", TEXTS_AND_UNKNOWN)
def test_a_text_without_a_word_of_the_vocabulary_is_unknown(
    kind: str, siglip_folder: Path, starter_folder: Path
) -> None:
    """By hand: bytes are in CLIP's vocabulary, Japanese is in neither of the other two."""
    source = {"wordpiece": starter_folder, "unigram": siglip_folder}.get(kind, VOCABULARY)
    text_cfg: dict[str, Any] = {}
    if source is not VOCABULARY:
        config = json.loads((source / "open_clip_config.json").read_text())
        text_cfg = config["model_cfg"]["text_cfg"]
    elif kind != "clip":
        text_cfg = {"tokenizer_kwargs": {"clean": "canonicalize"}}
    tokenizer = Tokenizer.from_config(text_cfg, source)
    expected = TEXTS_AND_UNKNOWN[kind]
    tokens = tokenizer.tokenize_quietly(expected)
    assert dict(zip(expected, tokens.is_unknown.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(tokens.token_ids, tokenizer(expected))


def test_quiet_tokenization_does_not_warn_of_cuts(clip_tokenizer: Tokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clip_tokenizer.tokenize_quietly([LONG, "a cat"]).is_cut.tolist() == [True, False]


def test_tokens_are_counted_without_padding(
    clip_tokenizer: Tokenizer, siglip_folder: Path, starter_folder: Path
) -> None:
    """By hand: CLIP has a mark at both ends, and reads 77."""
    counts = clip_tokenizer.tokenize_quietly(["", "a cat", LONG]).num_tokens
    assert counts.tolist() == [2, 4, 77]
    for folder in (siglip_folder, starter_folder):
        text_cfg = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"][
            "text_cfg"
        ]
        tokens = Tokenizer.from_config(text_cfg, folder).tokenize_quietly(["a cat", "a"])
        first, second = tokens.num_tokens
        assert first > second
        # Beyond them there is nothing but what fills a row.
        assert len(set(tokens.token_ids[0, first:].tolist())) == 1


def test_long_text_keeps_its_end_token_and_shows_what_was_cut(clip_tokenizer: Tokenizer) -> None:
    # word0 to word9 are 2 tokens each and word10 to word31 are 3: of the 75 places between the
    # marks 20 go to the first ten and 54 to the next 18; the last holds the "word" of word28.
    text = " ".join(f"word{number}" for number in range(32))
    with pytest.warns(TextCutWarning) as caught:
        ids = clip_tokenizer([text, "short", text])
    assert ids[0, -1] == 49407 == ids[0].max()
    assert [str(warning.message) for warning in caught] == [
        "a text is longer than the 77 tokens the model reads; left out: "
        "'28 word29 word30 word31' (1 more texts were cut)"
    ]


def test_short_text_does_not_warn(clip_tokenizer: Tokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip_tokenizer(["a cat", ""])


def test_no_texts_give_an_empty_matrix(clip_tokenizer: Tokenizer) -> None:
    assert clip_tokenizer([]).shape == (0, 77)


@pytest.mark.parametrize(
    ("texts", "message"),
    [("a cat", "must be a list of strings"), ([1], "every text must be a string, got int")],
)
def test_what_is_not_a_list_of_texts_raises(
    clip_tokenizer: Tokenizer, texts: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        clip_tokenizer(texts)


def test_missing_vocabulary_raises(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        Tokenizer.from_config({"hf_tokenizer_name": "x"}, tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "BPE"}}'])
def test_damaged_vocabulary_raises(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="is not a tokenizer file"):
        Tokenizer.from_config({"hf_tokenizer_name": "x"}, tmp_path)(["a cat"])


def test_damaged_clip_vocabulary_raises(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(CheckpointError, match="is not CLIP's vocabulary file"):
        Tokenizer.from_config({}, tmp_path / "vocabulary.txt.gz")(["a cat"])


@pytest.mark.parametrize(
    ("text_cfg", "message"),
    [
        ({"tokenizer_kwargs": {"clean": "upper"}}, "unknown text cleaning 'upper'"),
        ({"tokenizer_mode": "clips"}, "tokenizer mode 'clips'"),
    ],
)
def test_unknown_ways_of_tokenizing_raise(text_cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_config(text_cfg, VOCABULARY)


def test_digest_follows_the_vocabulary(siglip_folder: Path, starter_folder: Path) -> None:
    assert digest_of(VOCABULARY, {}) == "clip"
    assert digest_of(siglip_folder) != digest_of(starter_folder)


def test_the_vocabulary_is_read_once_for_the_digest_and_all_texts(
    siglip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def count(path: Path) -> Any:
        read.append(path)
        return read_vocabulary(path)

    read_vocabulary = tokenizer_module._read_vocabulary
    monkeypatch.setattr(tokenizer_module, "_read_vocabulary", count)
    tokenizer = Tokenizer.from_config(HF_CFG, siglip_folder)
    assert read == []
    ids = quietly(tokenizer, WORDS)
    assert tokenizer.digest() == digest_of(siglip_folder)
    np.testing.assert_array_equal(quietly(tokenizer, WORDS), ids)
    assert read == [siglip_folder / "tokenizer.json"] * 2, "once for each of the two tokenizers"


# --- settings beside a tokenizer.json -------------------------------------------------------------

WORDS = ("a cat on a red boat", "dog", "", "red blue lake photo of a cat", "boat [PAD] </s> w")


def write_words(folder: Path, **settings: Any) -> Path:
    """Write a small tokenizer with two tokens that could fill a text, and settings beside it."""
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models, pre_tokenizers, processors

    words = ["[UNK]", "<s>", "</s>", "[FILL]", "<pad>", *" ".join(WORDS[:4]).split()]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    vocabulary = Vocabulary(models.WordLevel(numbers, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    vocabulary.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    vocabulary.add_special_tokens(["<s>", "</s>", "[FILL]", "<pad>", "[UNK]"])
    stored = settings.pop("stored", {})
    if "padding" in stored:
        vocabulary.enable_padding(**stored["padding"])
    if "truncation" in stored:
        vocabulary.enable_truncation(**stored["truncation"])
    vocabulary.save(str(folder / "tokenizer.json"))
    special = settings.pop("special", None)
    if special is not None:
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
    settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


HF_CFG = {"context_length": 6, "hf_tokenizer_name": "."}
FILL = {"content": "[FILL]", "lstrip": False, "normalized": False, "rstrip": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "usual": {"pad_token": "<pad>"},
    "padding left": {"pad_token": "<pad>", "padding_side": "left"},
    "cut left": {"pad_token": "<pad>", "truncation_side": "left"},
    "both left": {"pad_token": "<pad>", "padding_side": "left", "truncation_side": "left"},
    "other pad": {"pad_token": "[FILL]"},
    "other pad as a dict": {"pad_token": {"__type": "AddedToken", **FILL, "special": True}},
    "pad in the map": {"special": {"pad_token": FILL}},
    "the map wins": {"pad_token": "<pad>", "special": {"pad_token": "[FILL]"}},
    "the settings win": {
        "pad_token": "<pad>",
        "special": {"pad_token": "[FILL]"},
        "added_tokens_decoder": {"4": {"content": "<pad>", "special": True}},
    },
    "side in the map": {"pad_token": "<pad>", "special": {"padding_side": "left"}},
    "all in the vocabulary's file": {
        "stored": {
            "padding": {"direction": "left", "pad_id": 3, "pad_token": "[FILL]"},
            "truncation": {"max_length": 4, "direction": "left"},
        },
    },
    "the file's and others": {
        "pad_token": "<pad>",
        "padding_side": "right",
        "truncation_side": "right",
        "stored": {
            "padding": {"direction": "left", "pad_id": 3, "pad_token": "[FILL]"},
            "truncation": {"max_length": 4, "direction": "left"},
        },
    },
}


def of_transformers(folder: Path) -> np.ndarray:
    """Return the token ids that transformers gives, in the way of open_clip."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    options = {"max_length": 6, "padding": "max_length", "truncation": True}
    return np.array(theirs(list(WORDS), **options)["input_ids"])


@pytest.mark.parametrize("name", SETTINGS)
def test_ids_follow_the_settings_as_in_transformers(name: str, tmp_path: Path) -> None:
    folder = write_words(tmp_path, **SETTINGS[name])
    found = quietly(Tokenizer.from_config(HF_CFG, folder), WORDS)
    np.testing.assert_array_equal(found, of_transformers(folder))
    upstream = open_clip.tokenizer.HFTokenizer(str(folder), context_length=6)
    np.testing.assert_array_equal(found, upstream(list(WORDS)).numpy())


def test_a_class_that_pads_left_by_itself_does_so(tmp_path: Path) -> None:
    folder = write_words(tmp_path, pad_token="<pad>", tokenizer_class="GemmaTokenizerFast")
    (ids,) = Tokenizer.from_config(HF_CFG, folder)(["dog"])
    assert ids[:3].tolist() == [4, 4, 4]
    assert ids[-1] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding_side": "middle"}, "padding_side must be left or right, got 'middle'"),
        ({"truncation_side": 3}, "truncation_side must be left or right, got 3"),
        ({"pad_token": "[NEW]"}, r"'\[NEW\]', which fills texts, is not in .*tokenizer\.json"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write_words(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_config(HF_CFG, folder)(["dog"])


@pytest.mark.parametrize(
    ("tokens", "text_cfg", "expected"),
    [
        (["[PAD]", "[CLS]"], {}, "[PAD]"),  # BERT's
        (["<s>", "<pad>", "</s>"], {}, "<pad>"),  # XLM-RoBERTa's
        (["<pad>", "</s>"], {}, "<pad>"),  # T5's
        (["<pad>", "</s>"], {"tokenizer_kwargs": {"clean": "canonicalize"}}, "</s>"),  # SigLIP's
        (["<pad>", "</s>"], {"no_causal_mask": True}, "</s>"),
        (["<pad>", "<eos>", "</s>"], {"no_causal_mask": True}, "<pad>"),  # SigLIP 2's: Gemma's
        (["<|startoftext|>", "<|endoftext|>"], {}, "<|endoftext|>"),  # CLIP's
        (["one", "two"], {}, "two"),  # number 0, as before
    ],
)
def test_without_a_word_of_it_the_vocabulary_says_what_fills_a_text(
    tokens: list[str], text_cfg: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models

    numbers = {word: number for number, word in enumerate(reversed(["[UNK]", *tokens]))}
    vocabulary = Vocabulary(models.WordLevel(numbers, unk_token="[UNK]"))
    vocabulary.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    tokenizer = Tokenizer.from_config({**HF_CFG, **text_cfg}, tmp_path)
    assert tokenizer(["unknown"])[0, -1] == tokenizer.pad_id == numbers[expected]


def test_what_is_cut_off_the_start_is_shown(tmp_path: Path) -> None:
    folder = write_words(tmp_path, pad_token="<pad>", truncation_side="left")
    tokenizer = Tokenizer.from_config(HF_CFG, folder)
    with pytest.warns(TextCutWarning) as caught:
        tokens = tokenizer.tokenize(["a cat on a red boat", "dog", "of " * 9])
    assert [str(warning.message) for warning in caught] == [
        "a text is longer than the 6 tokens the model reads; left out: 'a cat ' "
        "(1 more texts were cut)"
    ]
    assert tokens.is_cut.tolist() == [True, False, True]
    with pytest.warns(TextCutWarning, match=r"left out: '…f (of ){66}'$"):
        tokenizer(["of " * 90])


def digest_of(folder: Path, text_cfg: dict[str, Any] = HF_CFG) -> str:
    return Tokenizer.from_config(text_cfg, folder).digest()


def test_settings_that_make_other_ids_make_another_digest(tmp_path: Path) -> None:
    by_ids: dict[tuple[bytes, bytes], set[str]] = {}
    for number, named in enumerate(SETTINGS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_words(folder, **named)
        ids = quietly(Tokenizer.from_config(HF_CFG, folder), WORDS)
        vocabulary = (folder / "tokenizer.json").read_bytes()
        by_ids.setdefault((ids.tobytes(), vocabulary), set()).add(digest_of(folder))
    digests = [digest for group in by_ids.values() for digest in group]
    assert all(len(group) == 1 for group in by_ids.values())
    # Right, left, cut left, both left, another pad; and the file that names its own, in two ways.
    assert len(set(digests)) == len(digests) == 7


@pytest.mark.parametrize("name", ["usual", "all in the vocabulary's file"])
def test_the_digest_of_usual_settings_is_that_of_the_vocabulary_alone(
    name: str, tmp_path: Path
) -> None:
    folder = write_words(tmp_path, **SETTINGS[name])
    alone = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert digest_of(folder) == alone


def test_siglips_usual_token_is_its_end(siglip_folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(siglip_folder / name, tmp_path / name)
    text_cfg = {**HF_CFG, "tokenizer_kwargs": {"clean": "canonicalize"}}
    alone = hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest()
    assert digest_of(tmp_path, text_cfg) == alone
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "<pad>"}))
    assert digest_of(tmp_path, text_cfg) != alone


def test_the_starters_digest_is_that_of_its_vocabulary(starter_folder: Path) -> None:
    config = json.loads((starter_folder / "open_clip_config.json").read_text())
    text_cfg = config["model_cfg"]["text_cfg"]
    alone = hashlib.sha256((starter_folder / "tokenizer.json").read_bytes()).hexdigest()
    assert digest_of(starter_folder, text_cfg) == alone


def test_another_erased_token_makes_another_digest(tmp_path: Path) -> None:
    erasing = {**HF_CFG, "tokenizer_kwargs": {"strip_sep_token": True}}
    digests = set()
    for number, sep_token in enumerate(["</s>", "<s>", "[FILL]"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_words(folder, pad_token="<pad>", sep_token=sep_token)
        digests.add(digest_of(folder, erasing))
    assert len(digests) == 3
    assert digest_of(tmp_path / "0", erasing) == digest_of(tmp_path / "1")
