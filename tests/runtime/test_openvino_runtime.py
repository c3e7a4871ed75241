"""The OpenVINO engine: its images are those of ONNX Runtime, its texts are ONNX Runtime's own."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason='needs  pip install "clipkit[openvino]"')

import clipkit  # noqa: E402
from clipkit.embeddings import normalize_rows  # noqa: E402
from clipkit.errors import CheckpointError, InputError, MissingExtraError  # noqa: E402
from clipkit.models.sources import resolve_source  # noqa: E402
from clipkit.runtime.autotune import Trial  # noqa: E402
from clipkit.runtime.bundle import Bundle, graph_name  # noqa: E402
from clipkit.runtime.compile import compile_bundle  # noqa: E402
from clipkit.runtime.compiled_autotune import (  # noqa: E402
    CompiledChoice,
    autotune_compiled,
    compiled_trial,
    installed_openvino,
)
from clipkit.runtime.onnx_runtime import OnnxRuntime  # noqa: E402
from clipkit.runtime.openvino_runtime import OpenVinoRuntime  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vit(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT, compiled."""
    folder = tmp_path_factory.mktemp("compiled") / "vit"
    compile_bundle(resolve_source(tiny_checkpoint), folder)
    return folder


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 1 - 1e-6), ("bf16", 0.999), ("int8", 0.998)]
)
def test_images_are_embedded_as_by_onnx_runtime(vit: Path, precision: str, least: float) -> None:
    runtime = OpenVinoRuntime(vit, precision)
    assert (runtime.engine, runtime.precision, runtime.device) == ("openvino", precision, "cpu")
    exact = OnnxRuntime(vit)
    assert runtime.space_id == exact.space_id
    for count in (1, 2, 7):
        mine, theirs = (
            normalize_rows(each.image_features(_pixels(count))) for each in (runtime, exact)
        )
        assert (mine * theirs).sum(axis=1).min() > least
        if precision != "fp32":
            assert not np.array_equal(mine, theirs)
    assert runtime.image_features(_pixels(0)).shape == (0, 24)


def test_texts_are_those_of_onnx_runtime_in_its_own_precision(vit: Path) -> None:
    token_ids = np.zeros((3, 16), np.int64)
    token_ids[:, :3] = [[49406, 320, 49407], [49406, 2368, 49407], [49406, 1929, 49407]]
    close = "int8" if Bundle.read(vit).precisions["int8"].is_close else "fp32"
    for precision, theirs in (("bf16", close), ("int8", "int8")):
        np.testing.assert_array_equal(
            OpenVinoRuntime(vit, precision).text_features(token_ids),
            OnnxRuntime(vit, theirs).text_features(token_ids),
        )


def test_an_embedding_depends_on_no_neighbour_and_threads_share_nothing(vit: Path) -> None:
    runtime = OpenVinoRuntime(vit, "int8")
    pixels = _pixels(24)
    together = runtime.image_features(pixels)
    with ThreadPoolExecutor(6) as pool:
        alone = np.concatenate(
            list(pool.map(lambda one: runtime.image_features(one[None]), pixels))
        )
    np.testing.assert_allclose(alone, together, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    "query",
    ["text_features(np.ones((1, 16), int))", "image_features(np.ones((1, 3, 32, 32), 'f'))"],
)
def test_a_query_does_not_import_openvino(vit: Path, query: str) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from clipkit.runtime.openvino_runtime import OpenVinoRuntime;"
        f"OpenVinoRuntime(Path({str(vit)!r}), 'int8').{query};"
        "print([name for name in sys.modules if name.startswith('openvino')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_one_image_is_embedded_by_onnx_runtime_until_there_were_more(vit: Path) -> None:
    pixels = _pixels(4)
    theirs = OnnxRuntime(vit, "int8").image_features(pixels[:1])
    runtime = OpenVinoRuntime(vit, "int8")
    np.testing.assert_array_equal(runtime.image_features(pixels[:1]), theirs)
    together = runtime.image_features(pixels)
    assert not np.array_equal(together[:1], theirs)
    np.testing.assert_allclose(runtime.image_features(pixels[:1]), together[:1], rtol=1e-3)


def test_openvino_reports_to_nobody(vit: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from clipkit.runtime.openvino_runtime import OpenVinoRuntime;"
        f"OpenVinoRuntime(Path({str(vit)!r}), 'bf16').image_features(np.ones((2, 3, 32, 32), 'f'));"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    # As at a user's: its reports are off where CI is set, and begin with a file at home.
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()


def test_what_it_does_not_have_is_refused(vit: Path, bundle: Path) -> None:
    with pytest.raises(InputError, match="computes in fp32, bf16, int8, got 'fp16'"):
        OpenVinoRuntime(vit, "fp16")
    with pytest.raises(InputError, match="is not compiled for int8, only for fp32: most of the"):
        OpenVinoRuntime(bundle, "int8")


def test_a_damaged_graph_is_named(vit: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(vit, tmp_path / "copy"))
    graph = copy / graph_name("image", "fp32")
    graph.write_bytes(bytes(graph.stat().st_size))
    runtime = OpenVinoRuntime(copy, "bf16")
    with pytest.raises(CheckpointError, match="OpenVINO cannot load"):
        runtime.image_features(_pixels(1))


def test_without_openvino_it_says_what_to_install(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"clipkit\[openvino\]"):
        OpenVinoRuntime(vit, "bf16").image_features(_pixels(1))
    # As all tests but some are told that it is not there, so is the trial:
    with pytest.raises(MissingExtraError, match="The openvino engine needs"):
        autotune_compiled(vit, "openvino")


def test_a_trial_takes_it_if_it_is_fast_and_close(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipkit.runtime import compiled_autotune

    monkeypatch.setattr(compiled_autotune, "installed_openvino", lambda: ["openvino-1.dist-info"])
    tried: dict[str, object] = {}

    def fastest(candidates: dict[str, object], *, key: str, check: object) -> object:
        tried.update(candidates)
        reasons = {name: check(name) for name in candidates}  # type: ignore[operator]
        assert reasons == dict.fromkeys(candidates)
        return Trial("int8 on openvino", {})

    monkeypatch.setattr(compiled_autotune, "choose_fastest", fastest)
    assert autotune_compiled(vit) == CompiledChoice("openvino", "int8")
    assert list(tried) == ["fp32 on onnx", "int8 on onnx", "bf16 on openvino", "int8 on openvino"]


def test_a_trial_passes_over_what_is_too_far(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipkit.runtime import compiled_autotune

    monkeypatch.setattr(compiled_autotune, "installed_openvino", lambda: ["openvino-1.dist-info"])
    real = OpenVinoRuntime.image_features

    def spoilt(self: OpenVinoRuntime, pixel_values: np.ndarray) -> np.ndarray:
        features = real(self, pixel_values)
        return np.abs(features) if self.precision == "int8" else features

    monkeypatch.setattr(OpenVinoRuntime, "image_features", spoilt)
    # Whatever is how fast here: a clock by which OpenVINO is, and its 8 bits most of all.
    seconds = {"onnx": {"fp32": 9, "int8": 8}, "openvino": {"bf16": 2, "int8": 1}}

    def times(candidates: dict[str, object], *_: object) -> tuple[dict[str, float], dict[str, str]]:
        found = {}
        for name in candidates:
            precision, engine = name.split(" on ")
            found[name] = float(seconds[engine][precision])
        return found, {}

    monkeypatch.setattr("clipkit.runtime.autotune._time", times)
    assert autotune_compiled(vit) == CompiledChoice("openvino", "bf16")
    trial = compiled_trial(Bundle.read(vit))
    assert trial is not None
    assert trial.refused["int8 on openvino"].startswith("too far from the original: cosine mean")


def test_the_installed_one_is_told_by_its_metadata() -> None:
    from importlib import metadata

    assert installed_openvino() == [f"openvino-{metadata.version('openvino')}.dist-info"]


def test_load_runs_it(vit: Path, tiny_checkpoint: Path, samples: list[Path]) -> None:
    encoder = clipkit.load(vit, engine="openvino", precision="bf16")
    assert (encoder.engine, encoder.precision) == ("openvino", "bf16")
    exact = clipkit.load(vit, engine="onnx", precision="fp32")
    cosines = encoder.encode_images(samples[:9]) * exact.encode_images(samples[:9])
    assert cosines.sum(axis=1).min() > 0.999
    again = encoder.spec.load()
    assert (again.engine, again.precision) == ("openvino", "bf16")
    with pytest.raises(InputError, match="openvino engine runs on the CPU in fp32 or bf16 or int8"):
        clipkit.load(vit, engine="openvino", precision="fp16")
    with pytest.raises(InputError, match="is not compiled, which engine openvino needs"):
        clipkit.load(tiny_checkpoint, engine="openvino")


def test_the_first_call_of_all_is_alone(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two threads that make OpenVINO's first calls at once may wait for each other for ever.
    real = openvino.InferRequest.infer
    others = threading.Event()
    came: list[bool] = []

    def infer(self: object, *arguments: object) -> object:
        if came:
            others.set()
        else:
            came.append(True)
            came.append(others.wait(0.3))  # time for another thread to come meanwhile
        return real(self, *arguments)

    monkeypatch.setattr(openvino.InferRequest, "infer", infer)
    runtime = OpenVinoRuntime(vit, "bf16")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runtime.image_features, [_pixels(4)] * 4))
    assert came[:2] == [True, False]
