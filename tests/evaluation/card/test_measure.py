"""What probes say of embeddings that are made to have an ability, or to have none."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

import clipkit
from clipkit.evaluation.card.measure import battery, judge_probes, measure_probes
from clipkit.evaluation.card.probe import Probe, Trial
from clipkit.inputs.scene import Scene

Rows = NDArray[np.float32]
DIM = 512


@pytest.fixture(scope="module")
def probes() -> list[Probe]:
    return battery()


def drawn_prompts(probes: Sequence[Probe], rng: np.random.Generator) -> dict[str, Rows]:
    """Return a random direction for each prompt."""
    texts = {text for probe in probes for trial in probe.trials for text in trial.prompts}
    return {text: rng.normal(size=DIM).astype(np.float32) for text in sorted(texts)}


def made_images(
    probes: Sequence[Probe], vector_of: Callable[[Probe, Trial], Rows]
) -> dict[Scene, Rows]:
    """Return for each scene the sum of what each of its trials asks for."""
    images: dict[Scene, Rows] = {}
    for probe in probes:
        for trial in probe.trials:
            images[trial.scene] = images.get(trial.scene, 0) + vector_of(probe, trial)
    return images


def test_a_model_that_knows_everything_can_do_everything(probes: list[Probe]) -> None:
    prompts = drawn_prompts(probes, np.random.default_rng(0))
    images = made_images(probes, lambda _, trial: prompts[trial.prompts[trial.value]])
    for result in judge_probes(probes, images, prompts):
        assert result.accuracy.mean > 0.95, result.name
        assert result.verdict == "better", result
        assert result.sentence.startswith(f"can {result.ability} (")


def test_a_model_that_takes_each_of_two_for_the_other_is_worse_than_chance(
    probes: list[Probe],
) -> None:
    pairs = [probe for probe in probes if len(probe.groups) > 1]
    assert len(pairs) == 7
    prompts = drawn_prompts(pairs, np.random.default_rng(0))
    images = made_images(pairs, lambda _, trial: prompts[trial.prompts[1 - trial.value]])
    for probe, result in zip(pairs, judge_probes(pairs, images, prompts), strict=True):
        assert (result.verdict, result.chance) == ("worse", 0.5)
        assert result.sentence == f"{probe.failure} ({result.accuracy.mean:.0%}, chance 50%)"


def test_a_model_that_tells_nothing_apart_is_at_chance_exactly(probes: list[Probe]) -> None:
    one = np.ones(DIM, np.float32)
    images = {trial.scene: one for probe in probes for trial in probe.trials}
    prompts = dict.fromkeys(drawn_prompts(probes, np.random.default_rng(0)), one)
    for result in judge_probes(probes, images, prompts):
        assert result.accuracy.mean == pytest.approx(result.chance)
        assert (result.verdict, result.p_value) == ("at chance", 1.0)
        assert {answer.chosen for answer in result.answers} == {0}


def test_a_model_that_keeps_values_apart_without_knowing_their_names_is_at_chance(
    probes: list[Probe],
) -> None:
    """The hardest model without abilities: all images of a value get the same name."""
    false = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        images: dict[Scene, Rows] = defaultdict(lambda: np.zeros(DIM, np.float32))
        prompts: dict[str, Rows] = defaultdict(lambda: np.zeros(DIM, np.float32))
        for probe in probes:
            for group, names in enumerate(probe.groups):
                shown, named = rng.normal(size=(2, len(names), DIM)).astype(np.float32)
                trials = [trial for trial in probe.trials if trial.group == group]
                for scene, value in scenes_with_values(trials):
                    images[scene] += shown[value]
                for texts in dict.fromkeys(trial.prompts for trial in trials):
                    for value, text in enumerate(texts):
                        prompts[text] += named[value]
        results = judge_probes(probes, images, prompts)
        false += any(result.verdict != "at chance" for result in results)
        within = [r.chance_low <= r.accuracy.mean <= r.chance_high for r in results]
        assert np.mean(within) > 0.8
    assert false <= 2  # at 5 % a card, three and more of eight have a probability of .6 %


def scenes_with_values(trials: Sequence[Trial]) -> list[tuple[Scene, int]]:
    """Return each scene once with its value, in the order of the trials."""
    return list(dict.fromkeys((trial.scene, trial.value) for trial in trials))


def test_words_and_motifs_of_a_group_are_in_no_other(probes: list[Probe]) -> None:
    for probe in probes:
        names = [name for group in probe.groups for name in group]
        assert len(names) == len({*names}), probe.name


def test_mirrored_wordings_keep_word_order_from_helping(probes: list[Probe]) -> None:
    """Whoever takes the first motif of a prompt for the first one of the image is at chance."""
    names = {"left or right", "above or below", "size", "negation", "orientation"}
    chosen = [probe for probe in probes if probe.name in names]
    assert len(chosen) == len(names)
    for probe in chosen:
        for group, motifs in enumerate(probe.groups):
            first = [
                min(motifs, key=trial.prompts[trial.value].index) == motifs[trial.value]
                for trial in probe.trials
                if trial.group == group
            ]
            assert sum(first) == len(first) / 2, (probe.name, motifs)


def test_the_starter_names_things_and_does_not_know_left_from_right(
    starter: clipkit.Encoder, probes: list[Probe]
) -> None:
    wanted = [probe for probe in probes if probe.name in ("objects", "left or right")]
    seen: list[tuple[int, int | None]] = []

    @contextmanager
    def progress_for(label: str) -> Iterator[clipkit.Progress]:
        assert label in ("embedding images", "embedding prompts")
        yield lambda done, total: seen.append((done, total))

    callbacks = clipkit.Callbacks(progress_for=progress_for)
    objects, sides = measure_probes(starter, wanted, callbacks)
    assert (objects.verdict, sides.verdict) == ("better", "at chance")
    assert sides.sentence.startswith("cannot tell left from right (")
    assert (objects.num_images, objects.accuracy.count) == (24, 24)
    right = [answer.is_right for answer in objects.answers]
    assert np.mean(right) == pytest.approx(objects.accuracy.mean)
    assert seen[-1][0] == seen[-1][1] and (24 + 48, 24 + 48) in seen
    assert measure_probes(starter, wanted, clipkit.Callbacks()) == (objects, sides)
