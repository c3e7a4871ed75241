"""What a process imports and loads before it answers: as little as the answer needs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from clipkit.cli.main import COMMANDS
from tests.conftest import SAMPLES

pytestmark = pytest.mark.slow

# Each takes longer than a whole search, or belongs to training, compiling and the page.
HEAVY = {
    "torch",
    "torchvision",
    "open_clip",
    "timm",
    "transformers",
    "gradio",
    "onnx",
    "onnxscript",
}
HEAVY |= {"huggingface_hub", "safetensors", "scipy", "pandas", "sklearn"}
_REPORT = "imported:"


def run(words: Sequence[object], home: Path, **variables: str) -> tuple[str, frozenset[str]]:
    """Run ``clipkit WORDS…`` and return what it printed and the modules it imported."""
    # sys.modules at the end: -X importtime does not tell what extension modules import.
    code = f"""
import atexit, sys
atexit.register(lambda: print({_REPORT!r}, *sys.modules, file=sys.stderr))
from clipkit.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "CLIPKIT_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    notes, found, modules = done.stderr.partition(_REPORT)
    assert found, done.stderr
    assert done.returncode in (0, 1), done.stderr  # 1: probably nothing, which is an answer
    assert notes.count("\n") <= 1, notes  # the verdict of a search, and nothing else
    return done.stdout, frozenset(modules.split())


def packages(modules: frozenset[str]) -> frozenset[str]:
    return frozenset(module.partition(".")[0] for module in modules)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def photos(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, copied and indexed."""
    folder = tmp_path_factory.mktemp("photos") / "samples"
    folder.mkdir()
    for path in SAMPLES.glob("*.jpg"):
        shutil.copy2(path, folder)  # with their times: what was just written is looked at twice
    subprocess.run(
        [sys.executable, "-m", "clipkit", "index", str(folder)],
        env={**os.environ, "CLIPKIT_HOME": str(home)},
        check=True,
        capture_output=True,
    )
    return folder


def test_importing_clipkit_imports_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import clipkit; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {module for module in done if module.startswith("clipkit")}
    assert ours == {"clipkit"}
    assert not packages(frozenset(done)) & (HEAVY | {"numpy", "PIL", "onnxruntime", "sqlite3"})


def test_a_search_imports_nothing_heavy(photos: Path, home: Path) -> None:
    out, modules = run(["search", "a cat", photos], home, CLIPKIT_NO_CACHE="1")
    assert "cat.jpg" in out.splitlines()[1]
    assert "onnxruntime" in packages(modules)  # it did compute
    assert packages(modules) & HEAVY == set()


def test_a_search_imports_no_other_command_and_no_drawing(photos: Path, home: Path) -> None:
    _, modules = run(["search", "a cat", photos], home)
    others = {f"clipkit.cli.{command}" for command in COMMANDS if command != "search"}
    assert {"clipkit.cli.search", *others} & modules == {"clipkit.cli.search"}
    drawing = {"clipkit.cli.preview", "clipkit.cli.contact_sheet", "clipkit.inputs.thumbnails"}
    seldom = {"tqdm", "importlib.metadata", "numpy.ma", "watchfiles", "ftfy"}
    seldom |= {"clipkit.search.duplicates", "clipkit.search.status", "clipkit.search.lookup"}
    seldom |= {"shtab", "difflib", "clipkit.cli.outputs"}
    assert modules & (drawing | seldom) == set()


def test_a_search_by_words_imports_nothing_that_reads_images(photos: Path, home: Path) -> None:
    _, modules = run(["search", "a cat", photos], home, CLIPKIT_NO_CACHE="1")
    decoding = {"PIL.Image", "clipkit.inputs.decoder", "clipkit.inputs.images"}
    decoding |= {"clipkit.inputs.metadata", "clipkit.inputs.raw"}
    others = {"concurrent.futures", "logging", "socket"}  # for many images, and for the hub
    assert modules & (decoding | others) == set()


def test_a_query_asked_before_needs_no_tokenizer(photos: Path, home: Path) -> None:
    first, _ = run(["search", "a parrot", photos], home)
    again, modules = run(["search", "a parrot", photos], home)
    assert again == first
    assert "parrot.jpg" in again.splitlines()[1]
    assert packages(modules) & {"tokenizers", "onnxruntime"} == set()


def test_a_query_asked_before_needs_no_text_tower(
    photos: Path, home: Path, starter_folder: Path, tmp_path: Path
) -> None:
    model = copy_model(starter_folder, tmp_path / "model")
    first, _ = run(["search", "a hedgehog", photos, "--model", f"local-dir:{model}"], home)
    spoil(model, "text")
    again, _ = run(["search", "a hedgehog", photos, "--model", f"local-dir:{model}"], home)
    assert again == first


def test_a_search_by_words_does_not_load_the_image_tower(
    photos: Path, home: Path, starter_folder: Path, tmp_path: Path
) -> None:
    model = copy_model(starter_folder, tmp_path / "model")
    words = ["search", "a cat", photos, "--model", f"local-dir:{model}"]
    run(words, home)  # verifies the files, and indexes
    spoil(model, "image")
    out, _ = run(words, home, CLIPKIT_NO_CACHE="1")
    assert "cat.jpg" in out.splitlines()[1]


def test_a_search_by_words_does_not_read_the_whole_vocabulary(
    photos: Path, home: Path, starter_folder: Path, tmp_path: Path
) -> None:
    model = copy_model(starter_folder, tmp_path / "model")
    words = ["search", "a cat", photos, "--model", f"local-dir:{model}"]
    expected, _ = run(words, home, CLIPKIT_NO_CACHE="1")
    content = (model / "tokenizer.json").read_bytes()
    spoilt = content[:100_000] + bytes(len(content) - 200_000) + content[-100_000:]
    (model / "tokenizer.json").write_bytes(spoilt)  # its ends, by which it is known, are as before
    out, _ = run(words, home, CLIPKIT_NO_CACHE="1")
    assert out == expected
    assert "cat.jpg" in out.splitlines()[1]


def test_classifying_imports_nothing_heavy(home: Path) -> None:
    words = ["classify", SAMPLES / "cat.jpg", "--labels", "cat,dog", "--top", "1"]
    out, modules = run(words, home, CLIPKIT_NO_CACHE="1")
    assert "\tcat " in out
    assert packages(modules) & (HEAVY | {"tqdm"}) == set()
    assert "clipkit.search.library" not in modules  # files that are named need no index


def test_a_status_needs_no_model(photos: Path, home: Path) -> None:
    out, modules = run(["index", "--status", photos], home)
    assert "num_images      45" in out
    assert packages(modules) & (HEAVY | {"onnxruntime", "tokenizers", "tqdm"}) == set()


_MAIN = """
import atexit, sys
from clipkit.__main__ import main
sys.argv = ["clipkit", *sys.argv[1:]]
status = main()
atexit.register(lambda: print("at exit"))
import threadpoolctl
print([each["num_threads"] for each in threadpoolctl.threadpool_info()
       if each["internal_api"] == "openblas"])
sys.exit(status)
"""


def test_a_search_starts_no_threads_for_numpy_and_ends_as_any_program(
    photos: Path, home: Path
) -> None:
    """What is to happen at exit happens, and what was printed arrives before the process ends."""
    environment = {**os.environ, "CLIPKIT_HOME": str(home), "OMP_NUM_THREADS": "2"}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    for query, status in (("a parrot", 0), ("zzqx", 1)):
        words = ["search", query, str(photos), "--json"]
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        *_, threads, last = done.stdout.splitlines()
        assert last == "at exit"
        assert set(json.loads(threads)) <= {1}
    assert done.stdout.count("\n") == 2 + done.stdout.count('"path"')


def copy_model(source: Path, place: Path) -> Path:
    place.mkdir()
    for path in files_of(source):
        shutil.copyfile(path, place / path.name)
    return place


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def spoil(model: Path, tower: str) -> None:
    """Make the graphs of a tower, in whatever precisions there are, unreadable as graphs.

    They keep their size and time, so that nobody who has verified them before looks again.
    """
    graphs = list(model.glob(f"{tower}_tower*.onnx"))
    assert graphs
    for graph in graphs:
        status = graph.stat()
        graph.write_bytes(b"\xff" * status.st_size)
        os.utime(graph, ns=(status.st_atime_ns, status.st_mtime_ns))
