"""Embedding images and texts, beside sentence-transformers and open_clip's own loop.

Run as  python benchmarks/embedding.py  with clipkit[torch] installed. All have the same ViT-B-32
with the same random weights, on the CPU. The peers compute in float32, as they come; clipkit in
what it chooses, compiled. Each program is loaded once, then all take turns.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from clipkit_worker import start_clipkit
from made_models import compiled_model
from made_photos import LARGE, SMALL, make_photos
from made_texts import made_captions
from report import Figure, Report, ratios, system_load, take_turns, versions_in
from torch_environment import ARCHITECTURE, REQUIREMENTS, peer_python, start_peer
from worker import Answer, Worker
from workplace import Workplace

PEERS = ("open_clip", "sentence-transformers")
CLIPKIT = "clipkit"
ROUNDS = 4
SAME = 0.99  # mean cosine, from which on programs compute the same


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    model = compiled_model(workplace, ARCHITECTURE)
    with ExitStack() as stack:
        workers = {CLIPKIT: stack.enter_context(start_clipkit(workplace, model))}
        workers |= {peer: stack.enter_context(start_peer(workplace, peer)) for peer in PEERS}
        settings = workers[CLIPKIT].ask("settings").result
        load = system_load()
        found = {
            **_measure_images(workplace, workers, rounds),
            "texts": _measure_texts(workplace.size(256, 32), workers, rounds),
        }
    figures = []
    measurements = {}
    for task, answers in found.items():
        num = len(answers[CLIPKIT][0].result)
        seconds = {name: [one.seconds for one in ones] for name, ones in answers.items()}
        for peer in PEERS:
            what = f"embed {task}: speed beside {peer}'s"
            figures.append(Figure(what, ratios(seconds[peer], seconds[CLIPKIT]), "x"))
        for name, values in seconds.items():
            speeds = [num / value for value in values]
            figures.append(Figure(f"embed {task}: {name}", speeds, "/s"))
        measurements[task] = {
            name: [_without_result(one) for one in ones] for name, ones in answers.items()
        }
        for peer in PEERS:
            cosines = _cosines(answers[CLIPKIT][-1].result, answers[peer][-1].result)
            if cosines.mean() < SAME:
                raise RuntimeError(f"{peer} embeds {task} otherwise: {cosines}")
            figures.append(
                Figure(f"embed {task}: mean cosine to {peer}'s", [float(cosines.mean())])
            )
    settings |= {"architecture": ARCHITECTURE, "rounds": rounds}
    names = [requirement.partition("==")[0] for requirement in REQUIREMENTS]
    versions = versions_in(peer_python(workplace), names)
    Report("embedding", measurements, figures, settings, versions).save(workplace, load)


def _measure_images(
    workplace: Workplace, workers: dict[str, Worker], rounds: int
) -> dict[str, dict[str, list[Answer]]]:
    found = {}
    for photo_format, num in ((LARGE, workplace.size(32, 6)), (SMALL, workplace.size(128, 16))):
        folder = workplace.directory / "photos" / photo_format.name
        paths = [str(path) for path in make_photos(photo_format, num, folder)]
        works = {
            name: lambda worker=worker, paths=paths: worker.ask("images", paths=paths)
            for name, worker in workers.items()
        }
        found[f"{photo_format.name} photographs"] = take_turns(works, rounds)
    return found


def _measure_texts(num: int, workers: dict[str, Worker], rounds: int) -> dict[str, list[Answer]]:
    """Measure captions, other ones each round: nobody embeds what it has just embedded."""
    seeds = dict.fromkeys(workers, 0)

    def embed(name: str) -> Answer:
        seeds[name] += 1
        return workers[name].ask("texts", texts=made_captions(num, seeds[name]))

    return take_turns({name: lambda name=name: embed(name) for name in workers}, rounds)


def _cosines(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> np.ndarray:
    return (np.array(ones) * np.array(others)).sum(axis=1)


def _without_result(answer: Answer) -> dict[str, float]:
    return {"seconds": answer.seconds, "processor_seconds": answer.processor_seconds}


if __name__ == "__main__":
    main()
