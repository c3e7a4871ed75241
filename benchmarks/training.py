"""Training a small dual encoder from scratch, beside open_clip_train, on real pairs.

Run as  python benchmarks/training.py  with clipkit[torch] installed. Both trainers get the same
model, drawings, batch size, optimizer, schedule, seed, precision, reading processes and threads.
What they learnt is measured by the same code, on the drawings of a vendor that neither has seen.
"""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from emoji_pairs import EmojiPairs, as_table, make_emoji_pairs, read_table
from open_clip_train_peer import REQUIREMENTS
from report import Figure, Report, ratios, system_load, versions_in
from trainers import CLIPKIT, MODEL, PEER, Recipe, Run, Trainers
from workplace import Workplace, apart

PRECISIONS = ("fp32", "bf16")
ROUNDS = 2
TIMED_STEPS = 16  # of a short run
GRADIENT_PAIRS = 32
KS = (1, 5, 10)
SETS = ("all", "unseen concepts")
ABOVE_CHANCE = {"all": 10.0, "unseen concepts": 2.0}  # what counts as well above it


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    pairs = make_emoji_pairs(workplace)
    trainers = Trainers.prepare(workplace)
    gradient_file = trainers.peer_gradient(pairs.train, Recipe.seed, GRADIENT_PAIRS)
    gradient = apart(differences, gradient_file, trainers.config, Recipe.seed)
    recipe = Recipe(str(pairs.train))
    table = _first_rows(pairs, TIMED_STEPS * recipe.batch_size)
    short = replace(recipe, table=str(table), epochs=1)
    whole = short if workplace.is_quick else recipe
    load = system_load()
    rounds = workplace.num_rounds(ROUNDS)
    timed = {name: trainers.race(replace(short, precision=name), rounds) for name in PRECISIONS}
    runs = {CLIPKIT: trainers.clipkit(whole, "whole"), PEER: trainers.peer(whole, "whole")}
    recalls = {name: apart(recalls_of, run.model, pairs) for name, run in runs.items()}
    figures = [
        *speed_figures(timed),
        *whole_figures(runs),
        *recall_figures(recalls),
        Figure("a gradient in float64: largest difference", [gradient["gradient"]], at_most=1e-10),
    ]
    measurements = {"short runs": timed, "runs": runs, "recalls": recalls, "gradient": gradient}
    settings = {"recipe": asdict(recipe), "model": MODEL, "data": pairs.card.read_text()}
    names = [requirement.partition("==")[0] for requirement in REQUIREMENTS]
    versions = versions_in(trainers.python, names)
    Report("training", measurements, figures, settings, versions).save(workplace, load)


def recalls_of(model: str, pairs: EmojiPairs) -> dict[str, dict[str, float]]:
    """Return recall@k both ways on the held-out vendor, by set, with what guessing would give."""
    import clipkit
    from clipkit.evaluation.retrieval import evaluate_retrieval

    encoder = clipkit.load(model)
    seen, unseen = read_table(pairs.seen), read_table(pairs.unseen)
    found = {}
    for name, rows in zip(SETS, (seen + unseen, unseen), strict=True):
        captions = [caption for _, caption in rows]
        report = evaluate_retrieval(
            encoder.encode_images([path for path, _ in rows]),
            encoder.encode_texts(captions),
            range(len(rows)),
            texts=captions,
        )
        found[name] = report.recalls
        found[f"{name}, by chance"] = chance(report.recalls, len(rows))
    return found


def chance(recalls: Mapping[str, float], num_rows: int) -> dict[str, float]:
    """Return the recall@k that guessing would give among so many, for the same keys."""
    return {key: int(key.rpartition("@")[2]) / num_rows for key in recalls}


def mean_recall(recalls: Mapping[str, float]) -> float:
    """Return the mean over k and both ways."""
    return statistics.mean(recalls.values())


def recall_figures(recalls: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Figure]:
    """Return what was learnt, beside the peer and beside chance.

    Args:
        recalls: What `recalls_of` returned, by trainer.

    Returns:
        The figures.
    """
    own, peer = recalls[CLIPKIT]["all"], recalls[PEER]["all"]
    what = f"held-out vendor: mean recall beside {PEER}'s"
    figures = [Figure(what, [mean_recall(own) / mean_recall(peer)], "x", at_least=1)]
    for name in SETS:
        by_chance = recalls[CLIPKIT][f"{name}, by chance"]
        times = mean_recall(recalls[CLIPKIT][name]) / mean_recall(by_chance)
        what = f"held-out vendor, {name}: mean recall beside chance"
        figures.append(Figure(what, [times], "x", at_least=ABOVE_CHANCE[name]))
        for trainer in (CLIPKIT, PEER, "chance"):
            found = by_chance if trainer == "chance" else recalls[trainer][name]
            for key in (f"text_to_image_recall@{k}" for k in KS):
                label = f"held-out vendor, {name}: {key.replace('_', ' ')}, {trainer}"
                figures.append(Figure(label, [100 * found[key]], " %"))
    return figures


def speed_figures(timed: Mapping[str, Mapping[str, list[Run]]]) -> list[Figure]:
    """Return steps per second beside the peer's, by precision."""
    figures = []
    for precision, runs in timed.items():
        steps = {name: [run.median_step for run in found] for name, found in runs.items()}
        what = f"a training step, {precision}"
        speed = ratios(steps[PEER], steps[CLIPKIT])
        figures.append(Figure(f"{what}: speed beside {PEER}'s", speed, "x", at_least=1.3))
        figures += [Figure(f"{what}: {name}", found, " s") for name, found in steps.items()]
    return figures


def whole_figures(runs: Mapping[str, Run]) -> list[Figure]:
    """Return what the runs to the end took, reading, checkpoints and start included."""
    minutes = {name: run.seconds / 60 for name, run in runs.items()}
    return [
        Figure("a run from scratch: minutes", [minutes[CLIPKIT]], at_most=30),
        Figure(f"a run from scratch: minutes of {PEER}", [minutes[PEER]]),
        Figure(
            f"a run from scratch: speed beside {PEER}'s", [minutes[PEER] / minutes[CLIPKIT]], "x"
        ),
    ]


def differences(file: Path, config: Path, seed: int) -> dict[str, float]:
    """Return how far clipkit is from the peer before the first step.

    Args:
        file: The peer's first weights, a batch, and its gradient.
        config: Of the model.
        seed: Of the weights.

    Returns:
        The largest differences of the weights and of the gradient, that of the loss, and the
        largest gradient.
    """
    import torch

    from clipkit.inputs.tokenizer import Tokenizer
    from clipkit.models.building import build_towers
    from clipkit.runtime.base import trim_padding
    from clipkit.training.batch import Batch
    from clipkit.training.config import LossConfig
    from clipkit.training.distributed import Ranks
    from clipkit.training.losses import ContrastiveLoss
    from clipkit.training.step import ContrastiveStep
    from clipkit.training.trained_towers import TrainedTowers

    peer = torch.load(file, weights_only=True)
    towers = build_towers(str(config), seed=seed)
    own_start = towers.model.state_dict()
    start = max(float((own_start[key] - peer["start"][key]).abs().max()) for key in peer["start"])
    towers.model.load_state_dict(peer["start"])
    towers.double()
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)
    tokens = tokenizer(peer["captions"])
    keys = torch.arange(len(tokens))
    batch = Batch(
        caption_keys=keys,
        image_keys=keys,
        token_ids=torch.from_numpy(trim_padding(tokens, towers.padding_id)),
        images=_levels(peer["images"], towers),
    )
    step = ContrastiveStep(TrainedTowers(towers).train(), ContrastiveLoss(LossConfig(), Ranks()))
    loss = step.backward(batch)["loss"]
    gradients = dict(towers.model.named_parameters())
    found = [(gradients[key].grad, expected) for key, expected in peer["gradient"].items()]
    return {
        "start": start,
        "loss": abs(float(loss - peer["loss"])),
        "gradient": max(float((own - expected).abs().max()) for own, expected in found),
        "largest gradient": max(float(expected.abs().max()) for _, expected in found),
    }


def _levels(images: Any, towers: Any) -> Any:
    """Return the levels 0..255 that the peer has standardised."""
    import torch

    from clipkit.inputs.preprocess import Preprocess

    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std)
    )
    return (255 * (images * std + mean)).round().to(torch.uint8)


def _first_rows(pairs: EmojiPairs, count: int) -> Path:
    """Write the first rows to train on as a table of their own."""
    path = pairs.directory / f"first_{count}.tsv"
    path.write_text(as_table(read_table(pairs.train)[:count]), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
