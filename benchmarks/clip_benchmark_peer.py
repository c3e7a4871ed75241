"""clipkit evaluate against CLIP_benchmark's own code, on sets in CLIP_benchmark's layout.

Run as  python benchmarks/clip_benchmark_peer.py [MODEL …]  with clipkit[torch,evaluate] installed,
requests, and  pip install --no-deps clip-benchmark pycocoevalcap pycocotools;  a minute.

The sets are made of the sample photographs: one for classification, with their labels and three
templates, and one for retrieval, with two captions an image. Each is read by CLIP_benchmark's own
reader and measured by its own metrics on open_clip's modules, and by clipkit evaluate. The default
models are the starter and a small ViT with random weights. With real weights at hand, the command
for a published figure is  clipkit evaluate ADDRESS --model NAME  (docs/evaluation.md).
"""

import argparse
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clip_benchmark.cli import main_build
from clip_benchmark.datasets.builder import build_wds_dataset
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from labelled_photos import SAMPLES
from torch.utils.data import DataLoader
from verdicts import small_model

import clipkit
from clipkit import EvaluationOptions

# It makes a float of an array of one number, which NumPy does not do any more.
zeroshot_classification.float = lambda value: np.asarray(value).item()
TEMPLATES = ("a photo of a {c}.", "a drawing of a {c}.", "{c}")


def write_sets(root: Path) -> None:
    """Write both sets."""
    label_of: dict[str, str] = json.loads((SAMPLES / "labels.json").read_text())
    names = sorted(set(label_of.values()))
    classes: list[tuple[str, bytes]] = []
    pairs: list[tuple[str, bytes]] = []
    for file, label in label_of.items():
        key, content = Path(file).stem, (SAMPLES / file).read_bytes()
        classes += [(f"{key}.jpg", content), (f"{key}.cls", str(names.index(label)).encode())]
        caption = f"a photo of a {label}\nsomething like a {label}"
        pairs += [(f"{key}.jpg", content), (f"{key}.txt", caption.encode())]
    for name, members in (("classes", classes), ("captions", pairs)):
        (root / name / "test").mkdir(parents=True)
        (root / name / "test" / "nshards.txt").write_text("1")
        with tarfile.open(root / name / "test" / "0.tar", "w") as tar:
            for member, content in members:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (root / "classes" / "classnames.txt").write_text("\n".join(names))
    (root / "classes" / "zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES))
    (root / "captions" / "dataset_type.txt").write_text("retrieval")


def peer_metrics(encoder: clipkit.Encoder, root: Path, name: str) -> dict[str, float]:
    """Return what CLIP_benchmark measures."""
    towers = encoder.towers
    dataset: Any = build_wds_dataset(
        dataset_name=name, transform=towers.preprocess, split="test", data_dir=str(root / name)
    )
    loader = DataLoader(dataset.batched(16), batch_size=None, shuffle=False)
    if name == "classes":
        found = zeroshot_classification.evaluate(
            towers.model,
            loader,
            towers.tokenizer,
            dataset.classes,
            dataset.templates,
            device="cpu",
            amp=False,
        )
    else:
        found = zeroshot_retrieval.evaluate(
            towers.model,
            loader,
            towers.tokenizer,
            device="cpu",
            amp=False,
            recall_k_list=[1, 5, 10],
        )
    return {key: float(value) for key, value in found.items()}


def main() -> None:
    """Print the table, and let CLIP_benchmark read clipkit's JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    models = parser.parse_args().models
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        write_sets(root)
        files = []
        print("| model | set | metric | CLIP_benchmark | clipkit |\n|---|---|---|--:|--:|")
        for number, model in enumerate(models or ["starter", str(small_model(root / "small"))]):
            encoder = clipkit.load(model, engine="torch", precision="fp32", device="cpu")
            encoder.decode = "exact"
            for name in ("classes", "captions"):
                report = clipkit.evaluate(encoder, str(root / name), EvaluationOptions())
                with torch.no_grad():
                    expected = peer_metrics(encoder, root, name)
                for metric, value in expected.items():
                    own = report.metrics[metric]
                    shown = Path(encoder.name).name
                    print(f"| {shown} | {name} | {metric} | {value:.4f} | {own:.4f} |")
                files.append(root / f"{number}-{name}.json")
                files[-1].write_text(json.dumps(report.to_dict()))
        table = root / "table.csv"
        main_build(argparse.Namespace(files=list(map(str, files)), output=str(table)))
        rows = table.read_text().splitlines()
        print(f"\nclip_benchmark build made a table of {len(rows) - 1} rows of clipkit's JSON")


if __name__ == "__main__":
    main()
