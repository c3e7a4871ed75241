"""How close embeddings are to the originals: open_clip in float32, images decoded in full.

Run as  python benchmarks/fidelity.py  with clipkit[torch] installed. Everything on clipkit's side
is as it comes: scaled decoding, the compiled engine, the precision it chooses. The starter has
real weights, in which outliers make rounding costly; ViT-B-32 has random ones.

Shapes: N inputs, D dimensions.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clipkit_worker import start_clipkit
from made_models import compiled_model, random_weights
from made_photos import LARGE, make_photos
from made_texts import LABELS, made_captions
from numpy.typing import NDArray
from PIL import Image
from report import Figure, Report, system_load
from torch_environment import ARCHITECTURE
from workplace import ROOT, SAMPLES, Workplace, apart

from clipkit.models.sources import CONFIG_NAME

STARTER = "starter"
_STARTER = ROOT / "weights" / "starter"
_TEXT_TOWER = {"hf_model_name": str(_STARTER), "hf_model_pretrained": False}
_LARGE_SIZE = LARGE.width, LARGE.height
_BATCH = 16

Rows = NDArray[np.float32]


def main() -> None:
    """Embed with both, compare, report."""
    workplace = Workplace.from_command_line(__doc__)
    samples = sorted(SAMPLES.glob("*.jpg"))
    folder = workplace.directory / "photos"
    num = workplace.size(12, 2)
    made = make_photos(LARGE, num, folder / LARGE.name)
    images = [*samples, *enlarge(samples[:num], folder / "enlarged"), *made]
    texts = [*LABELS, *made_captions(workplace.size(100, 10), 0)]
    load = system_load()
    checkpoint = random_weights(workplace, ARCHITECTURE)
    text_cfg = json.loads((_STARTER / CONFIG_NAME).read_text())["model_cfg"]["text_cfg"]
    originals: dict[str, tuple[str, dict[str, object]]] = {
        # As its card says.
        STARTER: (f"local-dir:{_STARTER}", {"text_cfg": text_cfg | _TEXT_TOWER}),
        ARCHITECTURE: (ARCHITECTURE, {"pretrained": str(checkpoint)}),
    }
    figures: list[Figure] = []
    found: dict[str, object] = {}
    for name, original in originals.items():
        model = STARTER if name == STARTER else compiled_model(workplace, name)
        with start_clipkit(workplace, model) as worker:
            settings = worker.ask("settings").result
            ours = {
                "images": worker.ask("images", paths=[str(path) for path in images]).result,
                "texts": worker.ask("texts", texts=texts).result,
            }
        theirs = dict(zip(ours, apart(embed_original, *original, images, texts), strict=True))
        for kind, rows in ours.items():
            cosines = cosines_to(np.array(rows), theirs[kind])
            how = f"{name}, {settings['precision']}, {kind}"
            mean, first = float(cosines.mean()), float(np.percentile(cosines, 1))
            what = "embeddings against full decode + fp32 torch"
            figures += [
                Figure(f"{what}, {how}: mean cosine", [mean], at_least=0.999),
                Figure(f"{what}, {how}: 1st percentile", [first], at_least=0.99),
            ]
            found[how] = cosines.tolist()
    settings = {"images": len(images), "texts": len(texts)}
    Report("fidelity", found, figures, settings).save(workplace, load)


def enlarge(samples: Sequence[Path], folder: Path) -> list[Path]:
    """Write samples with 12 megapixels, unless they are there."""
    folder.mkdir(exist_ok=True)
    paths = []
    for path in samples:
        paths.append(folder / path.name)
        if not paths[-1].exists():
            with Image.open(path) as image:
                large = image.convert("RGB").resize(_LARGE_SIZE, Image.Resampling.BICUBIC)
            large.save(paths[-1], "JPEG", quality=90)
    return paths


def cosines_to(ours: Rows, theirs: Rows) -> Rows:
    """Return the cosine of each embedding to its original, of which only the first D are kept.

    The starter keeps 384 of 1120 dimensions: in the others all texts are 0 (its card).
    """
    kept = theirs[:, : ours.shape[1]]
    return np.asarray((ours * kept).sum(axis=1) / np.linalg.norm(kept, axis=1))


def embed_original(
    name: str, options: dict[str, Any], images: Sequence[Path], texts: Sequence[str]
) -> tuple[Rows, Rows]:
    """Return features of images and texts by open_clip alone, a row each."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(name, **options)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    rows: tuple[list[Rows], list[Rows]] = ([], [])
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            batch = [preprocess(Image.open(path)) for path in images[start : start + _BATCH]]
            rows[0].append(model.encode_image(torch.stack(batch)).numpy())
        for start in range(0, len(texts), _BATCH):
            token_ids = tokenizer(texts[start : start + _BATCH])
            rows[1].append(model.encode_text(token_ids).numpy())
    return np.concatenate(rows[0]), np.concatenate(rows[1])


if __name__ == "__main__":
    main()
