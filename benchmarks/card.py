"""How often the probes of a model card find an ability in a model that has none: false alarms.

Run as  python benchmarks/card.py  with clipkit[torch] installed. It prints the tables of
docs/card.md.

Three kinds of models without any ability. Random weights of an architecture, one card a seed. A
real model whose text side is turned by a random rotation, after the mean was taken from both sides:
it keeps apart whatever the real model keeps apart. And made embeddings, the hardest: a random
direction for each value, which all of its images have, and another one, which all of its prompts
have, so that all images of a value get the same name, and by luck the right one.

Images alike get embeddings alike also from random weights, so that such a model may by luck take
all images of a colour for it: that is what the tests have to withstand. Convolutional towers get
the statistics of their batch norms from the sample photographs, since with those of initialisation
they hardly tell images apart.
"""

import argparse
import functools
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ortho_group

import clipkit
from clipkit.evaluation.card.measure import (
    battery,
    embed_prompts,
    embed_scenes,
    judge_probes,
)
from clipkit.evaluation.card.probe import Probe
from clipkit.evaluation.card.report import ProbeResult
from clipkit.inputs.scene import Scene, draw_scene
from clipkit.metrics.significance import chance_of_as_many, holm

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
SMALL: dict[str, dict[str, Any]] = {
    "small ViT": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 3, "width": 128, "patch_size": 16},
        "text_cfg": TEXT,
    },
    "small RN50": {  # its depth, and half of its width and pixels
        "embed_dim": 256,
        "vision_cfg": {"image_size": 112, "layers": [3, 4, 6, 3], "width": 32, "patch_size": None},
        "text_cfg": TEXT,
    },
}
PREPROCESS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
_DIM = 256
Card = tuple[ProbeResult, ...]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="*", default=list(SMALL))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="starter", help="which is turned at random")
    parser.add_argument("--rotations", type=int, default=300)
    arguments = parser.parse_args()
    header = (
        *("model without abilities", "cards", "chance in the interval", "accuracy within chance"),
        *("p below .05", "cards with a false better", "with a false worse"),
        "with a false better by a binomial test of images",
    )
    print(f"| {' | '.join(header)} |\n|---|{'--:|' * (len(header) - 1)}")
    print_row("one direction a value", list(made_cards(arguments.rotations)))
    everything = list(rotated_cards(arguments.model, arguments.rotations))
    print_row(f"{arguments.model}, turned", everything)
    print_probes(everything)
    everything = []
    for architecture in arguments.architectures:
        cards = [measure(random_model(architecture, seed)) for seed in range(arguments.seeds)]
        print_row(architecture, cards)
        everything += cards
    if everything:
        print_row("all random weights", everything)
        print_probes(everything)


def random_model(architecture: str, seed: int) -> clipkit.Encoder:
    """Return a model with the weights of open_clip's initialisation."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = SMALL.get(architecture) or open_clip.get_model_config(architecture)
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    with tempfile.TemporaryDirectory() as folder:
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, f"{folder}/open_clip_model.safetensors")
        side = config["vision_cfg"]["image_size"]
        described = {"model_cfg": config, "preprocess_cfg": {**PREPROCESS, "size": [side, side]}}
        Path(folder, "open_clip_config.json").write_text(json.dumps(described))
        encoder = clipkit.load(folder, engine="torch", precision="fp32", cache_texts=False)
    fit_batch_norms(encoder)
    return encoder


def fit_batch_norms(encoder: clipkit.Encoder) -> None:
    """Give batch norms the statistics of the sample photographs."""
    import torch

    visual: Any = encoder.towers.image_encoder
    norms = [m for m in visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the mean of all that passes
        torch.nn.init.ones_(norm.weight)  # of some open_clip's initialisation is zero
        norm.train()
    batch = np.stack([encoder.preprocess(path) for path in sorted(SAMPLES.glob("*.jpg"))])
    with torch.no_grad():
        visual(torch.from_numpy(batch))
    for norm in norms:
        norm.eval()


def measure(encoder: clipkit.Encoder) -> Card:
    """Return the results of all probes."""
    probes, scenes = drawn_scenes()
    rows = np.asarray(encoder.encode_images(scenes.values()))
    images = dict(zip(scenes, rows, strict=True))
    return judge_probes(probes, images, embed_prompts(encoder, probes, clipkit.Callbacks()))


@functools.cache
def drawn_scenes() -> tuple[list[Probe], dict[Scene, NDArray[np.uint8]]]:
    """Return the probes, and their images: 0.5 GB, drawn once for all models."""
    probes = battery()
    return probes, {
        scene: draw_scene(scene) for scene in {t.scene: 0 for p in probes for t in p.trials}
    }


def rotated_cards(model: str, count: int) -> Iterator[Card]:
    """Yield cards of a model whose texts have nothing to do with its images any more."""
    probes = battery()
    encoder = clipkit.load(model)
    images = centred(embed_scenes(encoder, probes, clipkit.Callbacks()))
    prompts = centred(embed_prompts(encoder, probes, clipkit.Callbacks()))
    rng = np.random.default_rng(0)
    for _ in range(count):
        rotation = ortho_group.rvs(encoder.embed_dim, random_state=rng).astype(np.float32)
        turned = dict(zip(prompts, np.stack([*prompts.values()]) @ rotation, strict=True))
        yield judge_probes(probes, images, turned)


def made_cards(count: int) -> Iterator[Card]:
    """Yield cards of embeddings made of one random direction a value, another one for its words."""
    probes = battery()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        images: dict[Scene, NDArray[np.float32]] = defaultdict(lambda: np.zeros(_DIM, np.float32))
        prompts: dict[str, NDArray[np.float32]] = defaultdict(lambda: np.zeros(_DIM, np.float32))
        for probe in probes:
            shape = len(probe.groups), max(map(len, probe.groups)), _DIM
            shown, named = rng.normal(size=(2, *shape)).astype(np.float32)
            for scene, group, value in {
                (trial.scene, trial.group, trial.value): None for trial in probe.trials
            }:
                images[scene] += shown[group, value]
            for group, texts in {(trial.group, trial.prompts): None for trial in probe.trials}:
                for value, text in enumerate(texts):
                    prompts[text] += named[group, value]
        yield judge_probes(probes, images, prompts)


def centred(rows: Mapping[Any, NDArray[np.float32]]) -> dict[Any, NDArray[np.float32]]:
    """Return embeddings without their mean, of norm 1 again."""
    matrix = np.stack([*rows.values()])
    return dict(zip(rows, clipkit.normalize_rows(matrix - matrix.mean(axis=0)), strict=True))


def print_row(name: str, cards: Sequence[Card]) -> None:
    """Print what the cards of random models say, over all probes."""
    probes = [probe for card in cards for probe in card]
    covered = np.mean([p.accuracy.low <= p.chance <= p.accuracy.high for p in probes])
    within = np.mean([p.chance_low <= p.accuracy.mean <= p.chance_high for p in probes])
    small = np.mean([p.p_value <= 0.05 for p in probes])
    false = {
        verdict: sum(any(p.verdict == verdict for p in card) for card in cards)
        for verdict in ("better", "worse")
    }
    naive = sum(holm(np.array([binomial_p(p) for p in card])).min() <= 0.05 for card in cards)
    print(
        f"| {name} | {len(cards)} | {covered:.1%} | {within:.1%} | {small:.1%} | "
        f"{false['better']} | {false['worse']} | {naive} |",
        flush=True,
    )


def binomial_p(probe: ProbeResult) -> float:
    """Return the p-value of a test that takes images for independent of each other."""
    right = round(probe.accuracy.mean * probe.num_images)
    return chance_of_as_many(right, probe.num_images, probe.chance)


def print_probes(cards: Sequence[Card]) -> None:
    """Print the accuracy of random models in each probe."""
    print("\n| probe | chance | mean accuracy | lowest to highest | p below .05 |")
    print("|---|--:|--:|--:|--:|")
    for probes in zip(*cards, strict=True):
        accuracies = np.array([probe.accuracy.mean for probe in probes])
        small = np.mean([probe.p_value <= 0.05 for probe in probes])
        print(
            f"| {probes[0].name} | {probes[0].chance:.1%} | {accuracies.mean():.1%} | "
            f"{accuracies.min():.0%} to {accuracies.max():.0%} | {small:.0%} |"
        )


if __name__ == "__main__":
    main()
