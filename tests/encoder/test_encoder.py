"""The encoder's own work (batches, threads, failures) on a runtime that can be computed by hand."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, ImageReadError, InputError
from clipkit.inputs.images import ImageInput
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import usable_cores
from clipkit.runtime.base import Scoring

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (51, 102, 204)]


class MeanColorRuntime:
    """Image features are the mean colour; text features count letters a, b and c."""

    engine, device, precision = "fake", "cpu", "fp32"
    space_id, embed_dim, scoring = "fake", 3, Scoring(0.0)

    def __init__(self, image_workers: int = 1) -> None:
        self.image_workers = image_workers
        self.image_batch = 8
        self.image_batches: list[int] = []
        self.text_batches: list[int] = []

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        self.image_batches.append(len(pixel_values))
        colors: NDArray[np.float32] = pixel_values.mean(axis=(2, 3))
        return colors

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.text_batches.append(len(token_ids))
        counts = [(token_ids == token).sum(axis=1) for token in (1, 2, 3)]
        return np.stack(counts, axis=1).astype(np.float32)


def letters_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models, pre_tokenizers

    vocabulary = Vocabulary(models.WordLevel({"?": 0, "a": 1, "b": 2, "c": 3}, unk_token="?"))
    vocabulary.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return Tokenizer(lambda: vocabulary, clean=str.strip, context_length=8)


@pytest.fixture
def runtime() -> MeanColorRuntime:
    return MeanColorRuntime()


@pytest.fixture
def encoder(runtime: MeanColorRuntime) -> Encoder:
    preprocess = Preprocess(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(runtime, preprocess, letters_tokenizer(), name="fake")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = []
    for number, color in enumerate(COLORS):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 6), color).save(paths[-1])
    return paths


def expected_embeddings(colors: list[tuple[int, int, int]]) -> NDArray[np.float64]:
    rows = np.array(colors, dtype=np.float64)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_images_become_unit_rows_in_order(
    encoder: Encoder, images: list[Path], batch_size: int
) -> None:
    embeddings = encoder.encode_images(images, batch_size=batch_size)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected_embeddings(COLORS), atol=1e-6)


def test_every_kind_of_image_gives_the_same(encoder: Encoder, images: list[Path]) -> None:
    array = np.zeros((5, 5, 3), dtype=np.uint8)
    array[..., 0] = 255
    with images[0].open("rb") as file:
        kinds: list[ImageInput] = [images[0], str(images[0]), images[0].read_bytes(), file]
        kinds += [array, Image.new("RGB", (3, 3), COLORS[0])]
        embeddings = encoder.encode_images(kinds)
    np.testing.assert_allclose(embeddings, [[1.0, 0.0, 0.0]] * 6, atol=1e-6)


def test_what_is_no_list_of_images_is_told(encoder: Encoder, images: list[Path]) -> None:
    some: Any
    for some, message in ((None, "got NoneType"), (3, "got int")):
        with pytest.raises(InputError, match=f"images must be a list of images, {message}"):
            encoder.encode_images(some)
    with images[0].open("rb") as some, pytest.raises(InputError, match=r"got one: .*0\.png"):
        encoder.encode_images(some)
    array: Any = np.array([*images[:2]], dtype=object)  # of paths, not of pixels
    assert encoder.encode_images(array).shape == (2, 3)


def test_what_is_encoded_knows_its_space(encoder: Encoder, images: list[Path]) -> None:
    batches = list(encoder.stream_images([*images, b"no image"], batch_size=1))
    report = encoder.encode_readable_images([b"no image"])
    rows = [*(batch.embeddings for batch in batches), report.embeddings]
    rows += [encoder.encode_images(images), encoder.encode_images([])]
    rows += [encoder.encode_texts(["a"]), encoder.encode_texts([])]
    rows += [encoder.encode_prompts([["a", "b"]]), encoder.encode_prompts([])]
    assert {embeddings.space_id for embeddings in rows} == {"fake"}


def test_texts_become_unit_rows(encoder: Encoder) -> None:
    # "aab" counts (2, 1, 0); "cccc" counts (0, 0, 4)
    embeddings = encoder.encode_texts(["aab", "cccc"])
    np.testing.assert_allclose(embeddings, [[0.894427, 0.447214, 0.0], [0.0, 0.0, 1.0]], atol=1e-6)


def test_texts_go_through_the_tower_in_batches(encoder: Encoder, runtime: MeanColorRuntime) -> None:
    calls: list[tuple[int, int | None]] = []
    encoder.encode_texts(
        ["a", "b", "c", "ab", "ac"], batch_size=2, progress=lambda *call: calls.append(call)
    )
    assert runtime.text_batches == [2, 2, 1]
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_nothing_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_images([]).shape == (0, 3)
    assert encoder.encode_texts([]).shape == (0, 3)
    report = encoder.encode_readable_images([])
    assert report.embeddings.shape == (0, 3)
    assert report.skipped == []


def test_an_unreadable_image_stops_encode_images(
    encoder: Encoder, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"empty\.jpg: is empty"):
        encoder.encode_images([images[0], tmp_path / "empty.jpg", images[1]])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_unreadable_images_are_reported_with_their_places(
    encoder: Encoder, images: list[Path], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    mixed = [tmp_path / "empty.jpg", images[2], tmp_path / "none.jpg", images[0]]
    report = encoder.encode_readable_images(mixed, batch_size=batch_size)
    assert report.positions.tolist() == [1, 3]
    np.testing.assert_allclose(report.embeddings, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], atol=1e-6)
    assert [place for place, _ in report.skipped] == [0, 2]
    assert [error.path for _, error in report.skipped] == [str(mixed[0]), str(mixed[2])]


def test_only_unreadable_images_give_reasons_and_no_rows(encoder: Encoder, tmp_path: Path) -> None:
    report = encoder.encode_readable_images([tmp_path / f"{n}.jpg" for n in range(5)], batch_size=2)
    assert report.embeddings.shape == (0, 3)
    assert [place for place, _ in report.skipped] == [0, 1, 2, 3, 4]


def test_stream_is_lazy_and_bounded(encoder: Encoder, images: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % len(images)]

    stream = encoder.stream_images(endless(), batch_size=2)
    batches = [next(stream) for _ in range(3)]
    stream.close()
    assert [batch.positions for batch in batches] == [[0, 1], [2, 3], [4, 5]]
    assert taken <= 6 + 2 * (1 + 3) + 2 * usable_cores() + 1  # as the docstring says


def test_stopping_early_leaves_no_threads(encoder: Encoder, images: list[Path]) -> None:
    before = threading.active_count()
    stream = encoder.stream_images(images * 10, batch_size=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_progress_of_a_stream_counts_every_image(
    encoder: Encoder, images: list[Path], tmp_path: Path
) -> None:
    calls: list[tuple[int, int | None]] = []
    mixed = [*images[:3], tmp_path / "none.jpg"]
    list(encoder.stream_images(mixed, batch_size=2, progress=lambda *call: calls.append(call)))
    assert calls == [(2, 4), (4, 4)]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_of_nothing_raise(encoder: Encoder, batch_size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        encoder.encode_texts(["a"], batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        list(encoder.stream_images([], batch_size=batch_size))


@pytest.mark.parametrize(
    ("one", "name"),
    [
        ("cat.jpg", "cat.jpg"),
        (Path("cat.jpg"), "cat.jpg"),
        (b"\xff\xd8", "<bytes>"),
        (np.zeros((4, 4, 3), dtype=np.uint8), "<array>"),
        (Image.new("RGB", (2, 2)), "<PIL image>"),
    ],
)
def test_one_image_is_not_a_list(encoder: Encoder, one: Any, name: str) -> None:
    with pytest.raises(InputError, match=rf"a list of images, got one: {name}; .*\[image\]"):
        encoder.encode_images(one)


def test_a_stack_of_arrays_is_several_images(encoder: Encoder) -> None:
    stack = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    stack[0, ..., 1] = stack[1, ..., 2] = 255
    expected = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(encoder.encode_images(stack), expected, atol=1e-6)


def test_a_url_is_refused_unless_asked_for(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="allow_urls"):
        encoder.encode_images(["http://localhost:9/cat.jpg"])


def test_token_features_need_an_engine_that_has_them(encoder: Encoder, images: list[Path]) -> None:
    with pytest.raises(InputError, match=r'token features .* engine="torch"'):
        encoder.token_features(["a"])
    with pytest.raises(InputError, match=r'patch features .* engine="torch"'):
        encoder.patch_features(images)


def test_an_encoder_says_what_it_is(encoder: Encoder) -> None:
    assert "embed_dim=3" in repr(encoder)
    assert "space_id='fake'" in repr(encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorflow"}, 'engine must be "auto", "onnx" or "torch"'),
        ({"engine": "onnx", "device": "cuda"}, "onnx engine runs on the CPU"),
        ({"engine": "onnx", "precision": "bf16"}, "onnx engine runs on the CPU"),
    ],
)
def test_load_refuses_what_does_not_fit(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        clipkit.load("starter", **options)  # type: ignore[arg-type]


def test_load_of_an_unknown_name_raises() -> None:
    with pytest.raises(CheckpointError, match="startr"):
        clipkit.load("startr")


# The pipeline: threads decode, others embed, the caller takes.

PATIENCE = 60  # seconds until a deadlock is called one


class HookedPreprocess(Preprocess):
    """Calls something before it decodes an image."""

    def pixel_values(self, source: Any, **options: Any) -> NDArray[np.float32]:
        HookedPreprocess.before(source)
        return super().pixel_values(source, **options)

    @staticmethod
    def before(source: Any) -> None:
        """Called with each image."""


class HookedRuntime(MeanColorRuntime):
    """Calls something with the number of each batch before and after it is embedded."""

    def __init__(self, image_workers: int) -> None:
        super().__init__(image_workers)
        self.before: Callable[[int], object] = lambda number: None
        self.after: Callable[[int], object] = lambda size: None
        self._lock = threading.Lock()

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            number = len(self.image_batches)
            features = super().image_features(pixel_values)
        self.before(number)
        self.after(len(pixel_values))
        return features


def hooked(workers: int) -> tuple[Encoder, HookedRuntime]:
    runtime = HookedRuntime(workers)
    preprocess = HookedPreprocess(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(runtime, preprocess, letters_tokenizer(), name="hooked"), runtime


def arrays(count: int) -> list[ImageInput]:
    """Images of one colour each, all different."""
    return [np.full((4, 4, 3), (n, 255 - n, 7 * n % 256), np.uint8) for n in range(1, count + 1)]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_threads_and_batches_change_no_bit_and_no_place(workers: int, batch_size: int) -> None:
    encoder, _ = hooked(workers)
    images = arrays(41)
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_array_equal(encoder.encode_images(images, batch_size=batch_size), alone)


def test_batches_stay_in_order_whichever_is_ready_first() -> None:
    encoder, runtime = hooked(2)
    second_is_here = threading.Event()

    def before(number: int) -> None:
        if number == 0:
            assert second_is_here.wait(PATIENCE)
        else:
            second_is_here.set()

    runtime.before = before
    batches = list(encoder.stream_images(arrays(6), batch_size=2))
    assert [batch.positions for batch in batches] == [[0, 1], [2, 3], [4, 5]]


def test_the_tower_computes_while_images_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, runtime = hooked(1)
    images = arrays(30)
    both = threading.Barrier(2)

    def before(source: object) -> None:
        if source is images[-1]:
            both.wait(PATIENCE)

    monkeypatch.setattr(HookedPreprocess, "before", before)
    last_but_one = 13
    runtime.before = lambda number: number == last_but_one and both.wait(PATIENCE)
    assert encoder.encode_images(images, batch_size=2).shape == (30, 3)


def test_work_goes_on_while_the_caller_holds_a_batch() -> None:
    encoder, runtime = hooked(2)
    three_are_done = threading.Semaphore(0)
    runtime.after = lambda size: three_are_done.release()
    with closing(encoder.stream_images(arrays(50), batch_size=2)) as stream:
        next(stream)
        for _ in range(3):
            assert three_are_done.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_no_more_images_are_in_memory_than_stated(
    workers: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, runtime = hooked(workers)
    stated = batch_size * (workers + 3) + 2 * usable_cores() + 1
    lock = threading.Lock()
    in_memory, most = 0, 0
    is_full = threading.Event()

    def count(change: int) -> None:
        nonlocal in_memory, most
        with lock:
            in_memory += change
            most = max(most, in_memory)
            if in_memory >= stated - 1:
                is_full.set()

    monkeypatch.setattr(HookedPreprocess, "before", lambda source: count(1))
    runtime.before = lambda number: is_full.wait(PATIENCE)  # the tower is what all wait for
    runtime.after = lambda size: count(-size)
    endless = itertools.cycle(arrays(10))
    with closing(encoder.stream_images(endless, batch_size=batch_size)) as stream:
        for _ in range(20):
            next(stream)
    assert is_full.is_set()
    assert most <= stated


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_tower_gives_what_came_before_and_ends(workers: int) -> None:
    encoder, runtime = hooked(workers)
    before = threading.active_count()
    yielded = []

    def image_features(pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        if pixel_values[0, 0, 0, 0] == np.float32(5 / 255):  # of the third batch
            raise MemoryError("out of memory")
        return MeanColorRuntime.image_features(runtime, pixel_values)

    runtime.image_features = image_features  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="out of memory"):
        for batch in encoder.stream_images(arrays(20), batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_decoder_gives_what_came_before_and_ends(workers: int) -> None:
    encoder, _ = hooked(workers)
    before = threading.active_count()
    yielded = []
    items: list[Any] = [*arrays(5), 42, *arrays(5)]
    with pytest.raises(InputError, match="got int"):
        for batch in encoder.stream_images(items, batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


def test_an_error_of_the_list_of_images_gives_what_came_before_and_ends() -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()
    yielded = []

    def listed() -> Iterator[ImageInput]:
        yield from arrays(4)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        for batch in encoder.stream_images(listed(), batch_size=2):
            yielded.append(batch.positions)
    assert yielded == [[0, 1], [2, 3]]
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_caller_that_fails_leaves_no_threads(error: type[BaseException]) -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()
    with (
        pytest.raises(error),
        closing(encoder.stream_images(itertools.cycle(arrays(10)), batch_size=2)) as stream,
    ):
        next(stream)
        raise error
    assert threading.active_count() == before


def test_an_interrupt_while_images_are_listed_leaves_no_threads() -> None:
    encoder, _ = hooked(2)
    before = threading.active_count()

    def listed() -> Iterator[ImageInput]:
        yield from arrays(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode_images(listed(), batch_size=2)
    assert threading.active_count() == before


# The embedded model, on real images.


def test_starter_gives_unit_rows(starter: Encoder, samples: list[Path]) -> None:
    embeddings = starter.encode_images(samples[:5])
    assert embeddings.shape == (5, starter.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)


def test_starter_does_not_depend_on_the_batch(starter: Encoder, samples: list[Path]) -> None:
    one = starter.encode_images(samples[:9], batch_size=1)
    np.testing.assert_allclose(starter.encode_images(samples[:9], batch_size=4), one, atol=1e-5)
    texts = ["a cat", "", "a long description of a small red boat on a blue lake at dawn", "dog"]
    alone = np.concatenate([starter.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(starter.encode_texts(texts), alone, atol=1e-5)


@pytest.mark.slow
def test_starter_is_the_same_on_both_engines(
    starter: Encoder, samples: list[Path], sample_labels: dict[str, str]
) -> None:
    pytest.importorskip("open_clip")
    original = clipkit.load("starter", engine="torch", device="cpu", precision="fp32")
    assert original.engine == "torch"
    assert original.space_id == starter.space_id
    assert original.scoring == starter.scoring
    texts = sorted(set(sample_labels.values()))
    pairs = [
        (starter.encode_images(samples), original.encode_images(samples)),
        (starter.encode_texts(texts), original.encode_texts(texts)),
    ]
    for compiled, reference in pairs:
        cosines = np.einsum("nd,nd->n", compiled, reference)
        assert cosines.mean() >= 0.999
        assert cosines.min() >= 0.99


@pytest.mark.slow
def test_starter_on_torch_gives_fine_features(samples: list[Path]) -> None:
    pytest.importorskip("open_clip")
    encoder = clipkit.load("starter", engine="torch", device="cpu")
    tokens = encoder.token_features(["a cat", "dog"])
    assert tokens.shape[:2] == (2, 32)
    patches = encoder.patch_features(samples[:2])
    assert patches.ndim == 3
    assert len(patches) == 2
    with pytest.raises(InputError, match="at least one image"):
        encoder.patch_features([])
