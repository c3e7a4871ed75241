"""Scores and rankings by hand, on an encoder with known directions; then the embedded model."""

import io
import json
import math
import statistics
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.errors import (
    ClipkitWarning,
    ImageReadError,
    InputError,
    PromptError,
    SpaceMismatchError,
)
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.tokenizer import TokenizedTexts
from clipkit.progress import Progress
from clipkit.runtime.base import Scoring
from clipkit.word_evidence import LEAST_RICHNESS, RICHNESS
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.label_evidence import LABEL_CENTER, LABEL_SLOPE
from clipkit.zero_shot.labels import EqualLabelsWarning
from clipkit.zero_shot.own_labels import classify_each

DIRECTIONS = {
    "cat": (1.0, 0.0, 0.0),
    "dog": (0.0, 1.0, 0.0),
    "a photo of a cat": (0.8, 0.0, 0.6),
    "a photo of a dog": (0.0, 0.8, 0.6),
}
ELSEWHERE = (0.0, 0.0, 1.0)  # every other text


class DirectionEncoder:
    """Texts have the directions above; a "image" is its own direction."""

    embed_dim = 3
    unknown: tuple[str, ...] = ()  # words that are not in its vocabulary

    def __init__(self, scale: float = 10.0, bias: float | None = None, space_id: str = "x") -> None:
        self.scoring = Scoring(math.log(scale), bias)
        self.space_id = space_id
        self.texts: list[str] = []

    def encode_prompts(
        self, ensembles: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> EmbeddingArray:
        means = []
        for texts in ensembles:
            self.texts += texts
            rows = [DIRECTIONS.get(text, ELSEWHERE) for text in texts]
            means.append(np.mean(rows, axis=0))
        if progress:
            progress(len(self.texts), len(self.texts))
        return EmbeddingArray(normalize_rows(np.reshape(means, (-1, 3))), self.space_id)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Read lower-cased words; one that is unknown is -1, as is any other."""
        rows = []
        for text in texts:
            words = [word.strip(".") for word in text.lower().split()]
            ids = [-1 if word in self.unknown else zlib.crc32(word.encode()) for word in words]
            rows.append([*ids, *[0] * (16 - len(ids))])
        token_ids = np.array(rows, dtype=np.int64).reshape(-1, 16)
        is_unknown = ((token_ids == -1) | (token_ids == 0)).all(axis=1)
        return TokenizedTexts(
            token_ids, np.zeros(len(rows), dtype=bool), is_unknown, np.zeros(len(rows), dtype=int)
        )

    def unknown_texts(self, texts: Iterable[str]) -> list[str]:
        words = list(texts)
        return [
            word
            for word, is_it in zip(words, self.tokenize(words).is_unknown, strict=True)
            if is_it
        ]

    def encode_images(self, images: Iterable[Any], **_: object) -> EmbeddingArray:
        rows = normalize_rows(np.array(list(images), dtype=np.float32).reshape(-1, 3))
        return EmbeddingArray(rows, self.space_id)


def make(names: Sequence[str], encoder: DirectionEncoder | None = None, **options: object) -> Any:
    """Return a classifier; typed loosely, because its images here are directions."""
    if not isinstance(names, dict):
        options.setdefault("templates", "{}")
    return ZeroShotClassifier(encoder or DirectionEncoder(), names, **options)  # type: ignore[arg-type]


def test_softmax_by_hand() -> None:
    # cosines .8 and .6, scale 10: odds e^8 to e^6, so 1 / (1 + e^-2)
    scores = make(["cat", "dog"]).scores(np.array([[0.8, 0.6, 0.0]], dtype=np.float32))
    likely = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(scores, [[likely, 1 - likely]], atol=1e-6)


def test_softmax_survives_large_logits() -> None:
    classifier = make(["cat", "dog"], DirectionEncoder(scale=1e6))
    np.testing.assert_allclose(classifier.scores(np.eye(3, dtype=np.float32)[:2]), np.eye(2))


def test_sigmoid_checkpoints_score_each_label_alone() -> None:
    # logits 10 * .8 - 7 = 1 and 10 * .6 - 7 = -1
    classifier = make(["cat", "dog"], DirectionEncoder(bias=-7.0))
    scores = classifier.scores(np.array([[0.8, 0.6, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(scores, [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)]], atol=1e-6)
    assert classifier.multi_label


def test_multi_label_measures_each_label_by_the_background() -> None:
    # Of B background names "cat" and "dog" have their directions, all others point to (0, 0, 1).
    # On the image (.6, 0, .8) they score .6, 0 and .8.
    image = normalize_rows([[0.6, 0.0, 0.8]])
    scores = make(["cat", "piano thing"], multi_label=True).scores(image)
    count = len(BACKGROUND_NAMES)
    words = [*("cat", "dog"), *["elsewhere"] * (count - 2)]
    of_words = [{"cat": 0.6, "dog": 0.0, "elsewhere": 0.8}[word] for word in words]
    mean, spread = statistics.fmean(of_words), statistics.pstdev(of_words)
    # The words' mean is (1, 1, B - 2) / B. Its squared distance to cat or dog is that of
    # (B - 1, -1, -(B - 2)) / B, to all others that of (-1, -1, 2) / B.
    far = ((count - 1) ** 2 + 1 + (count - 2) ** 2) / count**2
    near = 6 / count**2
    usual = (2 * far + (count - 2) * near) / count
    expected = []
    for score, distance in ((0.6, far), (0.8, near)):
        richness = max(math.sqrt(distance / usual), LEAST_RICHNESS)
        evidence = (score - mean) / spread - RICHNESS * math.log(richness)
        expected.append(1 / (1 + math.exp(-LABEL_SLOPE * (evidence - LABEL_CENTER))))
    np.testing.assert_allclose(scores, [expected], rtol=1e-4)
    assert "cat" in BACKGROUND_NAMES
    assert "dog" in BACKGROUND_NAMES


def test_a_label_on_its_own_does_not_depend_on_the_others_or_the_logit_scale() -> None:
    image = normalize_rows([[0.9, 0.3, 0.3]])
    alone = make(["cat"], multi_label=True).scores(image)
    among = make(["dog", "cat", "bird"], DirectionEncoder(scale=50.0), multi_label=True)
    np.testing.assert_allclose(among.scores(image)[:, 1:2], alone, rtol=1e-6)


def test_what_is_prepared_is_not_embedded_again() -> None:
    encoder = DirectionEncoder()
    classifier = ZeroShotClassifier(encoder, ["cat"], templates="none")  # type: ignore[arg-type]
    told: list[int] = []
    classifier.prepare(lambda done, total: told.append(done))
    num_texts = len(encoder.texts)
    assert num_texts == 1 + len(BACKGROUND_NAMES)
    assert told == [num_texts]
    assert classifier.with_unknown().rank(normalize_rows([[0.6, 0.0, 0.8]]))
    assert len(encoder.texts) == num_texts


def test_multi_label_scores_grow_with_the_cosine() -> None:
    images = normalize_rows([[x, 0.2, 0.5] for x in (-0.5, 0.0, 0.5, 1.0, 3.0)])
    scores = make(["cat"], multi_label=True).scores(images)[:, 0]
    assert (np.diff(scores) > 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_background_is_read_by_the_templates_of_the_labels() -> None:
    encoder = DirectionEncoder()
    classifier = make(["cat"], encoder, templates=["a photo of a {}"], multi_label=True)
    classifier.scores(np.eye(3, dtype=np.float32))
    assert encoder.texts[1:] == [f"a photo of a {name}" for name in BACKGROUND_NAMES]


def test_sigmoid_checkpoints_need_no_background() -> None:
    encoder = DirectionEncoder(bias=-7.0)
    make(["cat"], encoder, multi_label=True).scores(np.eye(3, dtype=np.float32))
    assert encoder.texts == ["cat"]


def test_class_embeddings_are_the_normalised_mean_of_normalised_prompts() -> None:
    # cat: mean of (1, 0, 0) and (.8, 0, .6) = (.9, 0, .3), of norm sqrt(.9)
    classifier = make(["cat"], templates=["{}", "a photo of a {}"])
    expected = np.array([[0.9, 0.0, 0.3]]) / math.sqrt(0.9)
    np.testing.assert_allclose(classifier.class_embeddings, expected, atol=1e-6)


def test_results_print_as_users_of_pipelines_expect() -> None:
    ((best, other),) = make(["dog", "cat"]).classify([(1.0, 0.0, 0.0)])
    assert list(best) == ["score", "label"]
    assert best["label"] == "cat"
    assert other["label"] == "dog"
    assert isinstance(best["score"], float)
    assert best["score"] + other["score"] == pytest.approx(1.0)


def test_k_cuts_the_list() -> None:
    ranked = make(["cat", "dog", "bird"]).classify([(0.9, 0.3, 0.1), (0.0, 1.0, 0.0)], k=1)
    assert [[item["label"] for item in labels] for labels in ranked] == [["cat"], ["dog"]]
    with pytest.raises(InputError, match="k must be at least 1"):
        make(["cat"]).classify([(1.0, 0.0, 0.0)], k=0)


def test_one_label_has_all_the_probability() -> None:
    assert make(["cat"]).classify([(0.0, 1.0, 0.0)]) == [[{"score": 1.0, "label": "cat"}]]


def test_equal_names_are_classes_of_equal_score_that_are_embedded_once() -> None:
    encoder = DirectionEncoder()
    with pytest.warns(ClipkitWarning, match="than once are as many classes .*: 'cat'; give each"):
        classifier = make(["cat", " cat ", "dog", "cat"], encoder)
    assert classifier.class_names == classifier.labels == ["cat", "cat", "dog", "cat"]
    assert encoder.texts == ["cat", "dog"]
    assert classifier.class_embeddings.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    image = np.array([[0.8, 0.6, 0.0]], dtype=np.float32)
    # cosines .8 and .6, scale 10: odds e^8 to e^6, and the former thrice
    likely = 1 / (3 + math.exp(-2))
    expected = [[likely, likely, 1 - 3 * likely, likely]]
    np.testing.assert_allclose(classifier.scores(image), expected, atol=1e-6)
    (ranked,) = classifier.rank(image)
    assert [item["label"] for item in ranked] == ["cat", "cat", "cat", "dog"]
    assert ranked[0]["score"] == ranked[2]["score"] == pytest.approx(likely)


def test_names_that_are_repeated_in_a_short_list_are_told_where_it_was_given() -> None:
    encoder: Any = DirectionEncoder()
    with pytest.warns(ClipkitWarning, match="'a', 'b'; give each once") as told:
        ZeroShotClassifier(encoder, ["a", "b", "c", "b", "a"])
    assert [Path(each.filename).name for each in told] == [Path(__file__).name]
    with pytest.warns(EqualLabelsWarning) as told:
        ZeroShotClassifier(encoder, ["cat", "CAT"])
    assert [Path(each.filename).name for each in told] == [Path(__file__).name]


def test_the_standard_names_of_imagenet_are_a_thousand_classes() -> None:
    names = pytest.importorskip("open_clip.zero_shot_metadata").IMAGENET_CLASSNAMES
    encoder = DirectionEncoder()
    classifier = make(names, encoder)  # warnings are errors: nothing is told of them
    assert (classifier.class_names, classifier.labels) == (list(names), list(names))
    assert len(encoder.texts) == len(set(names)) == 998
    images = normalize_rows(np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32))
    scores = classifier.scores(images)
    assert scores.shape == (7, 1000)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    first, second = (place for place, name in enumerate(names) if name == "missile")
    np.testing.assert_array_equal(scores[:, first], scores[:, second])


def test_another_spelling_of_a_name_that_is_there_twice_is_no_third_class() -> None:
    with (
        pytest.warns(ClipkitWarning, match="given more than once"),
        pytest.warns(EqualLabelsWarning, match="scored as one: 'cat' = 'Cat'$"),
    ):
        classifier = make(["cat", "dog", "cat", "Cat"])
    assert classifier.labels == ["cat / Cat", "dog", "cat"]
    image = np.array([[0.8, 0.6, 0.0]], dtype=np.float32)
    likely = 1 / (2 + math.exp(-2))
    expected = [[likely, 1 - 2 * likely, likely, likely]]
    np.testing.assert_allclose(classifier.scores(image), expected, atol=1e-6)


def test_labels_of_equal_tokens_are_one_label() -> None:
    with pytest.warns(EqualLabelsWarning, match="scored as one: 'cat' = 'Cat' = 'CAT'$"):
        classifier = make(["cat", "dog", "Cat", "CAT"])
    assert classifier.labels == ["cat / Cat / CAT", "dog"]
    image = np.array([[0.8, 0.6, 0.0]], dtype=np.float32)
    likely = 1 / (1 + math.exp(-2))
    expected = [[likely, 1 - likely, likely, likely]]
    np.testing.assert_allclose(classifier.scores(image), expected, atol=1e-6)
    ((best,),) = classifier.rank(image, k=1)
    assert best == {"label": "cat / Cat / CAT", "score": pytest.approx(likely)}


def test_labels_that_a_template_cuts_to_the_same_are_one_label() -> None:
    class Short(DirectionEncoder):
        def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
            whole = super().tokenize(texts)
            return whole._replace(token_ids=whole.token_ids[:, :4])

    with pytest.warns(EqualLabelsWarning, match="'red cat' = 'red dog'"):
        classifier = make(["red cat", "red dog"], Short(), templates="a photo of {}")
    assert len(classifier.labels) == 1
    assert make(["red cat", "red dog"], Short()).labels == ["red cat", "red dog"]


@pytest.mark.parametrize("templates", ["{}", "a photo of a {}", "default"])
def test_labels_without_a_known_word_are_warned_of_by_name(templates: str) -> None:
    encoder = DirectionEncoder()
    encoder.unknown = ("xyzzy", "plugh")
    with pytest.warns(UnknownTextWarning, match=r"these labels .*: 'xyzzy_plugh'; use other"):
        make(["cat", "xyzzy_plugh", "xyzzy cat"], encoder, templates=templates)


def test_two_labels_without_a_known_word_are_one(recwarn: pytest.WarningsRecorder) -> None:
    encoder = DirectionEncoder()
    encoder.unknown = ("xyzzy", "plugh")
    classifier = make(["cat", "xyzzy", "plugh"], encoder)
    assert {warning.category for warning in recwarn} == {UnknownTextWarning, EqualLabelsWarning}
    assert all(issubclass(warning.category, ClipkitWarning) for warning in recwarn)
    assert classifier.labels == ["cat", "xyzzy / plugh"]
    # cosines 1 and 0, scale 10, for two labels and not three
    likely = 1 / (1 + math.exp(-10))
    scores = classifier.scores(np.array([[1.0, 0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(scores, [[likely, 1 - likely, 1 - likely]], atol=1e-6)


def test_equal_labels_score_alike_with_multi_label() -> None:
    image = normalize_rows([[0.6, 0.0, 0.8]])
    with pytest.warns(EqualLabelsWarning):
        classifier = make(["cat", "CAT"], multi_label=True)
    alone = make(["cat"], multi_label=True).scores(image)
    np.testing.assert_allclose(classifier.scores(image), np.repeat(alone, 2, axis=1), rtol=1e-6)
    assert len(classifier.rank(image)[0]) == 1


@pytest.mark.parametrize(
    "names",
    [
        np.array(["cat", "dog"]),
        np.array(["cat", "dog"], dtype=object),
        pandas.Series(["cat", "dog"], index=[7, 3]),
        pandas.Index(["cat", "dog"]),
        pandas.Series(["cat", "dog"]).astype("category"),
        ("cat", "dog"),
        (name for name in ["cat", "dog"]),
        {"cat": None, "dog": None}.keys(),
    ],
    ids=lambda names: type(names).__name__,
)
def test_labels_come_in_anything_that_can_be_gone_through(names: Any) -> None:
    classifier = make(names)
    assert classifier.class_names == ["cat", "dog"]
    assert {type(name) for name in classifier.class_names} == {str}


def test_labels_may_bring_prompts_of_their_own() -> None:
    # cat: mean of (1, 0, 0) and (.8, 0, .6); the other one prompt, which is the dog's
    prompts = {"my pet": ["cat", "a photo of a cat"], "theirs": "dog"}
    classifier = ZeroShotClassifier(DirectionEncoder(), prompts)  # type: ignore[arg-type]
    assert classifier.class_names == ["my pet", "theirs"]
    expected = [[0.9 / math.sqrt(0.9), 0.0, 0.3 / math.sqrt(0.9)], [0.0, 1.0, 0.0]]
    np.testing.assert_allclose(classifier.class_embeddings, expected, atol=1e-6)


def test_a_label_has_its_place_in_its_own_prompts() -> None:
    encoder = DirectionEncoder()
    prompts = {"cat": ["a photo of a {}", "cat"]}
    ZeroShotClassifier(encoder, prompts)  # type: ignore[arg-type]
    assert encoder.texts == ["a photo of a cat", "cat"]


@pytest.mark.parametrize("place", ["{}", "{c}"])
def test_prompts_may_mark_the_place_as_clip_benchmark_does(place: str) -> None:
    encoder = DirectionEncoder()
    prompts = {"sea_lion": [f"a photo of a {place}, {place}", "it barks"]}
    ZeroShotClassifier(encoder, prompts)  # type: ignore[arg-type]
    assert encoder.texts == ["a photo of a sea lion, sea lion", "it barks"]


def test_templates_may_be_the_prompts_of_each_name_of_a_list() -> None:
    encoder = DirectionEncoder()
    prompts = {" dog ": "dog", "cat": ["cat", "a photo of a {c}"], "bird": ["a bird"]}
    classifier = make(["cat", "dog", "cat"], encoder, templates=prompts)
    assert classifier.class_names == ["cat", "dog", "cat"]
    assert encoder.texts == ["cat", "a photo of a cat", "dog"]
    cat, dog = [0.9 / math.sqrt(0.9), 0.0, 0.3 / math.sqrt(0.9)], [0.0, 1.0, 0.0]
    np.testing.assert_allclose(classifier.class_embeddings, [cat, dog, cat], atol=1e-6)


def test_names_that_the_prompts_lack_are_told() -> None:
    encoder = DirectionEncoder()
    with pytest.raises(InputError, match=r"no prompts for 2 of 3 class names: 'dog', 'cow'$"):
        make(["cat", "dog", "cow"], encoder, templates={"cat": "a cat"})
    with pytest.raises(InputError, match="need no templates and no domain"):
        make(["cat"], encoder, templates={"cat": "a cat"}, domain="pet")
    assert encoder.texts == []


def test_the_background_of_prompts_of_their_own_is_read_by_the_usual_templates() -> None:
    encoder = DirectionEncoder()
    classifier = make(["cat"], encoder, templates={"cat": "a cat"}, multi_label=True)
    classifier.scores(np.eye(3, dtype=np.float32))
    assert encoder.texts[1] == BACKGROUND_NAMES[0]
    assert len(encoder.texts) == 1 + 4 * len(BACKGROUND_NAMES)


def test_a_label_is_unknown_if_all_its_own_prompts_are() -> None:
    encoder = DirectionEncoder()
    encoder.unknown = ("xyzzy",)
    prompts = {"one": ["xyzzy"], "two": ["xyzzy", "cat"], "xyzzy": ["dog"]}
    with pytest.warns(UnknownTextWarning, match="'one'; use"):
        ZeroShotClassifier(encoder, prompts)  # type: ignore[arg-type]


def test_ten_thousand_labels_are_ranked() -> None:
    names = ["dog", *(f"thing {number}" for number in range(9_998)), "cat"]
    encoder = DirectionEncoder(scale=100.0)
    ((best,),) = make(names, encoder).classify([(0.8, 0.6, 0.0)], k=1)
    assert best["label"] == "cat"
    assert len(encoder.texts) == 10_000


def test_no_images_give_no_results() -> None:
    assert make(["cat"]).classify([]) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one class name"),
        (np.array([]), "at least one class name"),
        ({}, "at least one class name"),
        (None, "class names must be in a list, got NoneType"),
        (3, "class names must be in a list, got int"),
        (b"cat", "class names must be in a list, got the single bytes b'cat'"),
        ([1, 2], "class name 1 of 2 must be a string, got int 1"),
        (["cat", None], "class name 2 of 2 must be a string, got NoneType None"),
        (pandas.Series(["cat", float("nan")]), "class name 2 of 2 must be a string, got float nan"),
        ({"cat": []}, "at least one prompt for 'cat' is needed"),
        ({"cat": ["a cat", 3]}, "prompt 2 of 2 for 'cat' must be a string, got int 3"),
        ({"cat": 3}, "prompts for 'cat' must be in a list, got int"),
        ("cat,dog", "class names must be in a list"),
        (["cat", "  "], "class name 2 of 2 is empty"),
    ],
)
def test_wrong_class_names_are_refused_before_anything_is_embedded(
    names: Any, message: str
) -> None:
    encoder = DirectionEncoder()
    with pytest.raises(InputError, match=message):
        make(names, encoder)
    assert encoder.texts == []


@pytest.mark.parametrize("options", [{"templates": "photo"}, {"domain": "pet"}])
def test_prompts_of_their_own_need_no_templates(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="need no templates and no domain"):
        ZeroShotClassifier(DirectionEncoder(), {"cat": "a cat"}, **options)  # type: ignore[arg-type]


def test_a_wrong_template_raises() -> None:
    with pytest.raises(PromptError):
        make(["cat"], templates=["a photo"])


def test_progress_counts_the_prompts() -> None:
    calls: list[tuple[int, int | None]] = []
    make(["cat", "dog"], templates=["{}", "a {}"], progress=lambda *call: calls.append(call))
    assert calls == [(4, 4)]


def test_each_image_may_have_labels_of_its_own() -> None:
    encoder = DirectionEncoder()
    ranked = classify_each(
        encoder,  # type: ignore[arg-type]
        [(0.9, 0.1, 0.0), (0.9, 0.1, 0.0)],  # type: ignore[list-item]
        [["cat", "dog"], ["dog"]],
        templates="{}",
    )
    assert [[item["label"] for item in labels] for labels in ranked] == [["cat", "dog"], ["dog"]]
    assert sorted(encoder.texts) == ["cat", "dog"]


def test_lists_of_labels_must_fit_the_images() -> None:
    with pytest.raises(InputError, match="one list of labels an image is needed, got 1 for 2"):
        classify_each(DirectionEncoder(), [b"", b""], [["cat"]])  # type: ignore[arg-type]


def test_equal_names_of_a_list_of_its_own_count_once() -> None:
    encoder: Any = DirectionEncoder()
    image: Any = (0.8, 0.6, 0.0)
    with pytest.warns(EqualLabelsWarning):
        ranked = classify_each(
            encoder, [image] * 2, [["dog", "cat", "CAT"], ["dog", "cat"]], templates="{}"
        )
    likely = pytest.approx(1 / (1 + math.exp(-2)))
    assert ranked[0][0] == {"label": "cat / CAT", "score": likely}
    assert ranked[1][0] == {"label": "cat", "score": likely}


# --- what may be scored ---------------------------------------------------------------------------


def test_rows_that_are_no_embeddings_are_refused() -> None:
    image = np.array([[0.8, 0.6, 0.0]], dtype=np.float32)
    classifier = make(["cat", "dog"])
    for method in (classifier.scores, classifier.rank):
        with pytest.raises(InputError, match=r"norm 3 in row 0.*normalize_rows does that"):
            method(image * 3)
        with pytest.raises(InputError, match=r"got \(1, 2\) and \(2, 3\)"):
            method(np.array([[0.8, 0.6]], dtype=np.float32))


def test_embeddings_of_another_model_are_refused() -> None:
    classifier = make(["cat", "dog"], DirectionEncoder(space_id="x"))
    fine_tuned = DirectionEncoder(space_id="y").encode_images([(0.8, 0.6, 0.0)])
    for method in (classifier.scores, classifier.rank):
        with pytest.raises(SpaceMismatchError, match="two spaces, y and x"):
            method(fine_tuned)
        method(np.asarray(fine_tuned))  # whose space nobody knows


@pytest.mark.parametrize("k", [0, -1])
def test_a_wrong_k_is_told_before_any_work(k: int) -> None:
    classifier = make(["cat"])
    with pytest.raises(InputError, match=f"k must be at least 1, got {k}"):
        classifier.classify(iter(lambda: 1 / 0, None), k=k)
    with pytest.raises(InputError, match=f"k must be at least 1, got {k}"):
        next(classifier.stream(iter(lambda: 1 / 0, None), k=k))


# The embedded model, on real images.


@pytest.mark.slow
def test_starter_names_most_sample_images(
    starter: Encoder, samples: list[Path], sample_labels: dict[str, str]
) -> None:
    classifier = ZeroShotClassifier(starter, sorted(set(sample_labels.values())))
    ranked = classifier.classify(samples, k=1)
    right = sum(
        labels[0]["label"] == sample_labels[path.name]
        for path, labels in zip(samples, ranked, strict=True)
    )
    assert right >= 0.7 * len(samples), f"{right} of {len(samples)}"


def test_starter_cannot_tell_apart_what_it_does_not_know(
    starter: Encoder, samples: list[Path], recwarn: pytest.WarningsRecorder
) -> None:
    classifier = ZeroShotClassifier(starter, ["猫", "犬", "🐱", "Cat", "cat", "CAT", "dog"])
    told = {warning.category: str(warning.message) for warning in recwarn}
    assert "'猫', '犬', '🐱';" in told[UnknownTextWarning]
    assert "'猫' = '犬' = '🐱'; 'Cat' = 'cat' = 'CAT'" in told[EqualLabelsWarning]
    assert classifier.labels == ["猫 / 犬 / 🐱", "Cat / cat / CAT", "dog"]
    cat = starter.encode_images([path for path in samples if path.name == "cat.jpg"])
    (scores,) = classifier.scores(cat)
    # Each thing counts once: the columns 猫, Cat and dog sum to 1.
    assert scores[[0, 3, 6]].sum() == pytest.approx(1, abs=1e-6)
    assert len(set(scores[:3])) == len(set(scores[3:6])) == 1
    alone = ZeroShotClassifier(starter, ["cat", "dog"]).scores(cat)[0]
    assert scores[3] / scores[6] == pytest.approx(alone[0] / alone[1], rel=1e-3)


def test_images_of_every_kind_are_classified_and_no_bad_one_is_lost(
    starter: Encoder, samples: list[Path], tmp_path: Path
) -> None:
    path = next(path for path in samples if path.name == "cat.jpg")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    images: list[ImageInput] = [
        path,
        str(path),
        path.read_bytes(),
        empty,
        io.BytesIO(path.read_bytes()),
        pixels,
    ]
    images += [Image.fromarray(pixels), b"no image"]
    classifier = ZeroShotClassifier(starter, ["dog", "cat", "owl"])
    batches = list(classifier.stream(iter(images), k=1, batch_size=2))
    assert [place for batch in batches for place in batch.positions] == [0, 1, 2, 4, 5, 6]
    labels = [labels for batch in batches for labels in batch.labels]
    assert [[item["label"] for item in some] for some in labels] == [["cat"]] * 6
    skipped = [item for batch in batches for item in batch.skipped]
    assert [place for place, _ in skipped] == [3, 7]
    assert "is empty" in str(skipped[0][1])
    second = json.loads(json.dumps(batches[1].to_dict()))
    assert second == {
        "positions": [2, 4],
        "labels": [[{"label": "cat", "score": some[0]["score"]}] for some in labels[2:4]],
        "skipped": [{"position": 3, "path": str(empty), "reason": skipped[0][1].reason}],
    }
    with pytest.raises(ImageReadError, match="is empty"):
        classifier.classify(images)
