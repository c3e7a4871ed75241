# mypy: ignore-errors
# ruff: noqa: I001
# It is checked with the code of another commit, if at all.
"""How the files beside this were made: by clipkit of one commit, which a later one must open.

Run with the code of the commit in files/made.json on PYTHONPATH, never with a later one:

    git worktree add /tmp/old 406d14a
    cd /tmp/old && PYTHONPATH=/tmp/old python …/tests/compatibility/make_files.py FILES

What it writes into the empty directory FILES is what lies in files/, but for the library. An index
of other weights is of another space: so that one was made, by the code of that commit, with the
starter's present weights in the place of those of then, compiled by its own compile.py. Where a
file names the directory that it was made in, that is replaced by ``@FOLDER@``: a test puts in where
it has put the files.
"""

import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import tomli_w
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import clipkit

COMMIT = "406d14a"
SAMPLES = Path(clipkit.__file__).parents[1] / "demo" / "samples"
PHOTOS = ("bee", "castle", "cat", "coffee_cup", "dog", "horses", "lightning", "rocket")
QUERIES = ("a cat", "a dog", "an animal outdoors", "a building", "something to drink")
MTIME = 1_700_000_000  # of every photograph, seconds since 1970
MARK = "@FOLDER@"
CAPTIONS = [
    "a",
    "photo",
    "of",
    "the",
    "cat",
    "dog",
    "bee",
    "castle",
    "horse",
    "cup",
    "sky",
    "rocket",
    "one",
    "two",
    "three",
]


def main(files: Path) -> None:
    """Write all files."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CLIPKIT_HOME"] = str(Path(scratch) / "home")
        make_library(files / "library", Path(scratch))
        make_training(files / "training", Path(scratch) / "training")
    make_every_key(files / "every_key")
    made = {
        "commit": COMMIT,
        "python": sys.version.split()[0],
        **{
            name: __import__(name).__version__
            for name in ("torch", "numpy", "PIL", "onnxruntime", "open_clip")
        },
    }
    (files / "made.json").write_text(json.dumps(made, indent=2) + "\n")


def make_library(files: Path, scratch: Path) -> None:
    """Write an index of eight sample photographs, a cache of texts, and what searches found."""
    photos = scratch / "photos"
    photos.mkdir()
    for name in PHOTOS:
        shutil.copyfile(SAMPLES / f"{name}.jpg", photos / f"{name}.jpg")
        os.utime(photos / f"{name}.jpg", (MTIME, MTIME))
    (photos / "broken.jpg").write_bytes(b"no image")
    os.utime(photos / "broken.jpg", (MTIME, MTIME))
    encoder = clipkit.load("starter", precision="fp32")
    library = clipkit.PhotoLibrary.open(photos, encoder, here=True)
    report = library.sync()
    assert (report.added, len(report.skipped)) == (len(PHOTOS), 1)
    cat = photos / "cat.jpg"

    def found(*query: object, **options: object) -> list[dict[str, object]]:
        return [
            {"name": hit.path.name, "similarity": hit.similarity, "relevance": hit.relevance}
            for hit in library.search(*query, k=len(PHOTOS), **options)
        ]

    expected = {
        "texts": {query: found(query) for query in QUERIES},
        "image": found(cat),
        "diverse": found("an animal outdoors", diversity=0.6),
        "relevant": found("an animal outdoors", min_relevance=0.5),
        "more_like": found("an animal outdoors", more_like=[cat]),
        "landscape": found("a cat", orientation="landscape"),
        "wide": found("a cat", min_width=500),
    }
    names = [path.name for path in library.embeddings().paths]
    rows = library.embeddings().embeddings
    status = library.status()
    expected["embeddings"] = {
        name: [float(value) for value in row[:6]] for name, row in zip(names, rows, strict=True)
    }
    expected["status"] = {
        name: getattr(status, name)
        for name in ("num_images", "num_skipped", "model", "space_id", "precision")
    }
    files.mkdir(parents=True)
    (files / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    index = photos / ".clipkit"
    catalog = sqlite3.connect(index / "catalog.sqlite", isolation_level=None)
    catalog.execute("UPDATE meta SET value = '\"/photos\"' WHERE key = 'folder'")
    _finish(catalog, index / "catalog.sqlite", files / "index")
    for path in index.iterdir():
        if path.name not in ("writer.lock", "catalog.sqlite"):
            shutil.copyfile(path, files / "index" / path.name)
    texts = sqlite3.connect(scratch / "home" / "cache" / "texts.sqlite", isolation_level=None)
    # Those of the searches came last; before them are the hundreds of the background.
    newest = f"SELECT rowid FROM texts ORDER BY rowid DESC LIMIT {len(QUERIES)}"
    texts.execute(f"DELETE FROM texts WHERE rowid NOT IN ({newest})")
    _finish(texts, scratch / "home" / "cache" / "texts.sqlite", files)


def _finish(connection: sqlite3.Connection, path: Path, folder: Path) -> None:
    """Close a database and keep it compressed: half of it are zeros at the ends of pages."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    folder.mkdir(parents=True, exist_ok=True)
    content = gzip.compress(path.read_bytes(), compresslevel=9, mtime=0)
    (folder / f"{path.name}.gz").write_bytes(content)


def make_training(files: Path, folder: Path) -> None:
    """Write pairs, a run that ended, two that were interrupted, and how those end otherwise."""
    folder.mkdir()
    _write_images(folder)
    _write_architecture(folder / "small", embed_dim=16, seed_words=CAPTIONS)
    _write_architecture(folder / "wide", embed_dim=12, seed_words=CAPTIONS)
    common = {
        "data": {"train": "pairs", "validation_fraction": 0.25, "workers": 0},
        "compute": {"batch_size": 5, "epochs": 2, "precision": "fp32", "device": "cpu"},
    }
    watch = {"log_steps": 1, "keep": 1, "checkpoint_minutes": 10.0}
    scratch_run = {
        **common,
        "seed": 1,
        "model": {"architecture": "small/architecture.json", "tokenizer": "small"},
        "optimizer": {"lr": 0.001},
        "watch": {**watch, "tripwire": "retention"},
    }
    fine_tuning = {
        **common,
        "seed": 2,
        "model": {"start": "ended/final", "patch_dropout": 0.5},
        "data": {**common["data"], "horizontal_flip": 0.5},
        "loss": {"teacher": "saved", "feature_weight": 1.0},
        "optimizer": {"lr": 0.001},
        "compute": {**common["compute"], "epochs": 3, "chunk_size": 3},
        "watch": {**watch, "tripwire": "retention", "max_forgetting": 1.0},
    }
    locked = {
        **common,
        "seed": 3,
        "model": {"start": "ended/final", "lock_image": True},
        "data": {**common["data"], "crop_scale": [1.0, 1.0]},
        "loss": {"kind": "sigmoid", "matryoshka_dims": [8]},
        "optimizer": {"lr": 0.001},
        "compute": {**common["compute"], "epochs": 3},
        "watch": {**watch, "tripwire": "", "average_with_start": False},
    }
    _write(folder / "ended.toml", scratch_run)
    teacher = {**scratch_run, "seed": 4, "watch": watch}
    teacher["model"] = {"architecture": "wide/architecture.json", "tokenizer": "wide"}
    _write(folder / "teacher.toml", teacher)
    _write(folder / "fine_tuning.toml", fine_tuning)
    _write(folder / "locked.toml", locked)
    for name in ("ended", "teacher"):
        assert clipkit.train(clipkit.read_config(folder / f"{name}.toml")).is_finished
    clipkit.load(folder / "teacher" / "final", engine="torch").save(folder / "saved")
    shutil.rmtree(folder / "teacher")
    for name, step in (("fine_tuning", 5), ("locked", 2)):
        config = clipkit.read_config(folder / f"{name}.toml", ["output=" + str(folder / "whole")])
        assert clipkit.train(config).is_finished
        _keep_whole(folder / "whole", folder / "whole_runs" / name)
        config = clipkit.read_config(folder / f"{name}.toml")
        report = clipkit.train(config, listener=clipkit.Listener(progress_for=_stopping(step)))
        assert (report.is_finished, report.step) == (False, step)
    _compile(folder)
    _write_embeddings(folder)
    for useless in (
        *folder.glob("*/tensorboard"),
        *folder.glob("ended/checkpoints"),
        *folder.glob("*/curves.png"),
        *folder.glob("*/.lock"),
        folder / "wide",
        folder / "teacher.toml",
    ):
        shutil.rmtree(useless) if useless.is_dir() else useless.unlink()
    _put_marks(folder)
    shutil.copytree(folder, files)


def make_every_key(files: Path) -> None:
    """Write two RUN.toml that have every key between them, each with a value that is allowed."""
    from clipkit.training.config import RunConfig
    from clipkit.training.config_keys import field_types

    common = {
        "output": "run",
        "seed": 5,
        "loss": {
            "kind": "infonce",
            "teacher": "saved",
            "contrastive_weight": 0.5,
            "feature_weight": 3.0,
            "logit_weight": 2.0,
            "matryoshka_dims": [4, 8],
            "row_chunk": 2,
        },
        "optimizer": {
            "lr": 0.0001,
            "beta1": 0.8,
            "beta2": 0.9,
            "eps": 1e-7,
            "weight_decay": 0.1,
            "clip_norm": 0.5,
            "schedule": "constant",
            "warmup_fraction": 0.2,
        },
        "compute": {
            "batch_size": 4,
            "chunk_size": 2,
            "epochs": 3,
            "device": "cpu",
            "precision": "fp32",
            "sharding": "fsdp",
            "compile": False,
        },
        "watch": {
            "every_epochs": 0.5,
            "patience": 2,
            "tripwire": "retention",
            "tripwire_class_names": "class_names.json",
            "max_forgetting": 0.1,
            "average_with_start": True,
            "checkpoint_minutes": 3.0,
            "keep": 3,
            "log_steps": 7,
        },
    }
    data = {
        "format": "table",
        "image_column": "file",
        "caption_column": "words",
        "caption_ending": "txt",
        "class_names": "class_names.json",
        "templates": ["a photo of a {}.", "{}"],
        "max_bad_fraction": 0.2,
        "workers": 0,
        "crop_scale": [0.5, 1.0],
        "crop_ratio": [0.9, 1.1],
        "horizontal_flip": 0.1,
        "color_jitter": 0.2,
        "grayscale": 0.3,
        "random_erasing": 0.4,
    }
    source = {"path": "pairs.csv", "weight": 2.0, "split": "train"}
    runs = {
        "from_base_model": {
            **common,
            "model": {
                "start": "ended/final",
                "lock_image": True,
                "unlocked_image_groups": 1,
                "lock_text": True,
                "unlocked_text_layers": 1,
                "freeze_batch_norm": True,
                "patch_dropout": 0.25,
                "gradient_checkpointing": True,
            },
            "data": {**data, "train": [source], "validation_fraction": 0.25},
        },
        "from_scratch": {
            **common,
            "watch": {**common["watch"], "tripwire": "samples", "average_with_start": False},
            "model": {"architecture": "small/architecture.json", "tokenizer": "small"},
            "data": {**data, "train": "pairs.csv", "validation": "pairs.csv"},
        },
    }
    hints = field_types(RunConfig)
    for name, kind in hints.items():
        used = [run[name] for run in runs.values() if name in run]
        if is_dataclass(kind):
            missing = {item.name for item in fields(kind)} - {key for run in used for key in run}
            assert not missing, (name, missing)
        else:
            assert used, name
    files.mkdir(parents=True)
    for name, run in runs.items():
        _write(files / f"{name}.toml", run)
    (files / "class_names.json").write_text(json.dumps({"bee": "bee", "cat": "cat", "dog": "dog"}))
    rows = [f"pairs/{number:02}.png,{_caption(number)}" for number in range(20)]
    (files / "pairs.csv").write_text("\n".join(["file,words", *rows]) + "\n")


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(tomli_w.dumps(content))


def _caption(number: int) -> str:
    return f"a photo of the {CAPTIONS[4 + number % 8]} {CAPTIONS[12 + number % 3]}"


def _write_images(folder: Path) -> None:
    (folder / "pairs").mkdir()
    names = sorted(json.loads((SAMPLES / "labels.json").read_text()))
    for number in range(20):
        path = folder / "pairs" / f"{number:02}.png"
        _shrink(SAMPLES / names[number], path)
        path.with_suffix(".txt").write_text(f"{_caption(number)}\nthe {CAPTIONS[4 + number % 8]}\n")
    for number, label in enumerate(("bee", "cat", "dog")):
        (folder / "retention" / label).mkdir(parents=True)
        for place in range(2):
            _shrink(
                SAMPLES / names[20 + 2 * number + place],
                folder / "retention" / label / f"{place}.png",
            )
    for path in folder.rglob("*.*"):
        os.utime(path, (MTIME, MTIME))


def _shrink(source: Path, path: Path) -> None:
    Image.open(source).convert("RGB").resize((20, 20)).save(path)


def _write_architecture(folder: Path, *, embed_dim: int, seed_words: list[str]) -> None:
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", *seed_words, ".", "[SEP]"]  # the end has the highest number
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    config = {
        "embed_dim": embed_dim,
        "vision_cfg": {
            "image_size": 16,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 4,
        },
        "text_cfg": {
            "context_length": 12,
            "vocab_size": len(words),
            "hf_tokenizer_name": ".",
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    (folder / "architecture.json").write_text(json.dumps(config, indent=1))


def _stopping(step: int):
    """Return what sends this process a signal after a training step, as Ctrl-C does."""

    @contextmanager
    def progress_for(label: str) -> Iterator[object]:
        def progress(done: int, total: int | None) -> None:
            if label == "training" and done == step:
                os.kill(os.getpid(), signal.SIGINT)

        yield progress

    return progress_for


def _keep_whole(run: Path, place: Path) -> None:
    """Keep of a run that nobody interrupted what it came to."""
    place.mkdir(parents=True)
    shutil.copyfile(run / "final" / "open_clip_model.safetensors", place / "weights.safetensors")
    shutil.copyfile(run / "metrics.jsonl", place / "metrics.jsonl")
    shutil.copyfile(run / "report.json", place / "report.json")
    shutil.rmtree(run)


def _compile(folder: Path) -> None:
    """Compile a copy of the final checkpoint for ONNX Runtime."""
    from clipkit.runtime.compile import compile_directory

    shutil.copytree(folder / "ended" / "final", folder / "compiled")
    compile_directory(folder / "compiled", name="compiled")


def _write_embeddings(folder: Path) -> None:
    """Write what checkpoints make of images and texts."""
    texts = [_caption(number) for number in range(6)]
    images = [folder / "pairs" / f"{number:02}.png" for number in range(6)]
    found = {}
    for name, place, engine in (
        ("final", folder / "ended" / "final", "torch"),
        ("saved", folder / "saved", "torch"),
        ("compiled", folder / "compiled", "onnx"),
    ):
        encoder = clipkit.load(place, engine=engine, precision="fp32", is_caching_texts=False)
        found[name] = {
            "space_id": encoder.space_id,
            "logit_scale": encoder.scoring.logit_scale,
            "images": np.round(encoder.encode_images(images), 7).tolist(),
            "texts": np.round(encoder.encode_texts(texts), 7).tolist(),
        }
    (folder / "embeddings.json").write_text(json.dumps({"captions": texts, **found}))


def _put_marks(folder: Path) -> None:
    """Replace the directory in every text file that names it."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".toml", ".json", ".jsonl", ".md") and path.is_file():
            text = path.read_text()
            path.write_text(text.replace(str(folder), MARK))
            if str(folder) in text:
                sys.stdout.write(f"{path.relative_to(folder)} names its directory\n")
    words = ["grep", "-rl", str(folder.parent), str(folder)]
    left = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    assert not left, left


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
