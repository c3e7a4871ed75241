"""Zero-shot classification of 12-megapixel photographs, beside the pipeline of transformers.

Run as  python benchmarks/zero_shot.py  with clipkit[torch] installed. Both have the same ViT-B-32
with the same random weights, the same prompt and the same 10 labels, other ones each round. Each
is called as its users do: with a list of paths, nothing else set. Models are loaded before.
"""

from contextlib import ExitStack

from clipkit_worker import start_clipkit
from made_models import compiled_model
from made_photos import LARGE, make_photos
from made_texts import made_labels
from report import Figure, Report, ratios, system_load, take_turns, versions_in
from torch_environment import ARCHITECTURE, peer_python, start_peer
from worker import Answer
from workplace import Workplace

CLIPKIT, PIPELINE = "clipkit", "transformers"
NUM_LABELS = 10
ROUNDS = 5
SAME = 0.02  # difference of scores that rounding may make


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    folder = workplace.directory / "photos" / LARGE.name
    paths = [str(path) for path in make_photos(LARGE, workplace.size(32, 6), folder)]
    model = compiled_model(workplace, ARCHITECTURE)
    with ExitStack() as stack:
        workers = {
            CLIPKIT: stack.enter_context(start_clipkit(workplace, model)),
            PIPELINE: stack.enter_context(start_peer(workplace, PIPELINE)),
        }
        settings = workers[CLIPKIT].ask("settings").result
        seeds = dict.fromkeys(workers, 0)

        def classify(name: str) -> Answer:
            seeds[name] += 1
            labels = made_labels(NUM_LABELS, seeds[name])
            return workers[name].ask("classify", paths=paths, labels=labels)

        load = system_load()
        answers = take_turns({name: lambda name=name: classify(name) for name in workers}, rounds)
    seconds = {name: [one.seconds for one in ones] for name, ones in answers.items()}
    figures = [
        Figure(
            f"classify 12-megapixel photographs, {NUM_LABELS} labels: speed beside transformers'",
            ratios(seconds[PIPELINE], seconds[CLIPKIT]),
            "x",
            at_least=4,
        )
    ]
    for name, values in seconds.items():
        speeds = [len(paths) / value for value in values]
        figures.append(Figure(f"classify 12-megapixel photographs: {name}", speeds, "/s"))
    apart = max(largest_difference(*pair) for pair in zip(*answers.values(), strict=True))
    if apart > SAME:
        raise RuntimeError(f"the programs classify otherwise: scores differ by {apart}")
    figures.append(Figure("largest difference of a score, 0 to 1", [apart]))
    Report(
        "zero_shot",
        {name: [vars(one) for one in ones] for name, ones in answers.items()},
        figures,
        settings | {"architecture": ARCHITECTURE, "images": len(paths), "rounds": rounds},
        versions_in(peer_python(workplace), [PIPELINE]),
    ).save(workplace, load)


def largest_difference(one: Answer, other: Answer) -> float:
    """Return by how much the scores of two answers differ where they differ most."""
    scores, others = (
        {
            (place, entry["label"]): entry["score"]
            for place, entries in enumerate(answer.result)
            for entry in entries
        }
        for answer in (one, other)
    )
    assert scores.keys() == others.keys()
    return max(abs(score - others[key]) for key, score in scores.items())


if __name__ == "__main__":
    main()
