"""Measuring what a model can do: its choices in all probes, tested against chance.

Shapes: k prompts, D dimensions.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.evaluation.card.motif_pairs import motif_pair_probes
from clipkit.evaluation.card.probe import Probe
from clipkit.evaluation.card.report import ProbeAnswer, ProbeResult, Verdict
from clipkit.evaluation.card.single_motifs import other_word_probes, single_motif_probes
from clipkit.inputs.scene import Scene, draw_scene
from clipkit.metrics.comparison import Interval, clustered_share_interval
from clipkit.metrics.permutation import Counts, PermutationTest, permutation_test
from clipkit.metrics.significance import holm
from clipkit.progress import Callbacks, map_ahead

_LEVEL = 0.05  # of the whole card: how often a model without any of the abilities gets a verdict
SceneRows = Mapping[Scene, NDArray[np.float32]]
PromptRows = Mapping[str, NDArray[np.float32]]
_AHEAD = 64  # scenes that are drawn while others are embedded


def battery() -> list[Probe]:
    """Return all probes, in the order of a card.

    Returns:
        The probes: the same ones every time.

    Raises:
        CheckpointError: If clipkit was installed without its photographs.
    """
    return [*single_motif_probes(), *motif_pair_probes(), *other_word_probes()]


def measure_probes(
    encoder: Encoder, probes: Sequence[Probe], callbacks: Callbacks
) -> tuple[ProbeResult, ...]:
    """Return what a model answers in probes, and what follows.

    Args:
        encoder: The model.
        probes: All those of a card: the verdicts are corrected for their number.
        callbacks: For progress.

    Returns:
        One result a probe.
    """
    images = embed_scenes(encoder, probes, callbacks)
    prompts = embed_prompts(encoder, probes, callbacks)
    return judge_probes(probes, images, prompts)


def judge_probes(
    probes: Sequence[Probe], images: SceneRows, prompts: PromptRows
) -> tuple[ProbeResult, ...]:
    """Return what embeddings answer in probes, and what follows.

    Args:
        probes: All those of a card.
        images: The embedding of every scene, shape (D,).
        prompts: The embedding of every prompt, shape (D,).

    Returns:
        One result a probe.
    """
    answers = [tuple(_answers(probe, images, prompts)) for probe in probes]
    counts = [_counts(probe, chosen) for probe, chosen in zip(probes, answers, strict=True)]
    tests = [permutation_test(groups) for groups in counts]
    corrected = holm(np.array([test.p_value for test in tests])).tolist()
    return tuple(
        _result(probe, chosen, groups, test, p_value)
        for probe, chosen, groups, test, p_value in zip(
            probes, answers, counts, tests, corrected, strict=True
        )
    )


def embed_scenes(
    encoder: Encoder, probes: Sequence[Probe], callbacks: Callbacks
) -> dict[Scene, NDArray[np.float32]]:
    """Return the embedding of every scene of probes."""
    scenes = list(dict.fromkeys(trial.scene for probe in probes for trial in probe.trials))
    with callbacks.progress_for("embedding images") as progress:
        rows = encoder.encode_images(
            map_ahead(draw_scene, scenes, ahead=_AHEAD),
            progress=lambda done, _: progress(done, len(scenes)),
        )
    return dict(zip(scenes, np.asarray(rows), strict=True))


def embed_prompts(
    encoder: Encoder, probes: Sequence[Probe], callbacks: Callbacks
) -> dict[str, NDArray[np.float32]]:
    """Return the embedding of every prompt of probes."""
    sets = [prompts for probe in probes for prompts in probe.prompts]
    texts = list(dict.fromkeys(prompt for prompts in sets for prompt in prompts))
    with warnings.catch_warnings(), callbacks.progress_for("embedding prompts") as progress:
        # That it cannot read a language is a finding here, not a mistake of the caller's.
        warnings.simplefilter("ignore", UnknownTextWarning)
        rows = encoder.encode_texts(texts, progress=progress)
    return dict(zip(texts, np.asarray(rows), strict=True))


def _answers(probe: Probe, images: SceneRows, prompts: PromptRows) -> Iterator[ProbeAnswer]:
    sets = {words: number for number, words in enumerate(probe.prompts)}
    rows = {words: np.stack([prompts[prompt] for prompt in words]) for words in sets}
    for trial in probe.trials:
        # Summed row by row, not by a matrix product: equal prompts get equal cosines, and of equal
        # ones the first is chosen, whichever is right.
        cosines = (rows[trial.prompts] * images[trial.scene]).sum(axis=1)
        yield ProbeAnswer(
            trial.shows, sets[trial.prompts], trial.value, chosen=int(cosines.argmax())
        )


def _counts(probe: Probe, answers: Sequence[ProbeAnswer]) -> list[Counts]:
    counts = [np.zeros((len(group), len(group)), dtype=np.intp) for group in probe.groups]
    for trial, answer in zip(probe.trials, answers, strict=True):
        counts[trial.group][answer.right, answer.chosen] += 1
    return counts


def _result(
    probe: Probe,
    answers: tuple[ProbeAnswer, ...],
    groups: Sequence[Counts],
    test: PermutationTest,
    corrected_p: float,
) -> ProbeResult:
    num_images = len({trial.scene for trial in probe.trials})
    accuracy = clustered_share_interval(_independent_shares(groups), num_images)
    verdict: Verdict = "at chance"
    if corrected_p <= _LEVEL:
        verdict = "better" if test.p_better < test.p_worse else "worse"
    return ProbeResult(
        name=probe.name,
        ability=probe.ability,
        num_images=num_images,
        accuracy=accuracy,
        chance=test.chance,
        chance_low=test.low,
        chance_high=test.high,
        p_value=test.p_value,
        corrected_p=corrected_p,
        verdict=verdict,
        sentence=_sentence(probe, accuracy, test.chance, verdict),
        prompts=tuple(probe.prompts),
        answers=answers,
    )


def _independent_shares(groups: Sequence[Counts]) -> NDArray[np.float64]:
    """Return the share of right answers of each independent case.

    Those are values; but of two values, who takes one for the other does the reverse as well, so
    that a pair is one case.
    """
    shares: list[float] = []
    for counts in groups:
        right = np.diag(counts) / counts.sum(axis=1)
        shares += [float(right.mean())] if len(counts) == 2 else right.tolist()
    return np.array(shares)


def _sentence(probe: Probe, accuracy: Interval, chance: float, verdict: Verdict) -> str:
    halfway = (1 + chance) / 2  # between guessing and always right
    if verdict == "worse":
        claim = probe.failure
    elif verdict == "better" and accuracy.mean >= halfway:
        claim = f"can {probe.ability}"
    elif verdict == "better":
        claim = f"can {probe.ability} more often than by guessing, but not reliably"
    elif accuracy.high < halfway:
        claim = f"cannot {probe.ability}"
    else:
        claim = f"may or may not be able to {probe.ability}: too few cases to tell"
    return f"{claim} ({accuracy.mean:.0%}, chance {chance:.0%})"
