"""Labels that are measured by everyday words: each on its own, and whether any applies at all.

Shapes: N images, R labels, B words, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.word_evidence import Vectors, WordScale, evidence_of
from clipkit.zero_shot.probabilities import sigmoid

# The logistic curve of labels that are scored on their own: where the score is .5, and its slope,
# in spreads of evidence. `benchmarks/labels.py --fit` gives 3.5 and 2 for five sets of images and
# three models, and 3.3 to 3.9 and 1.85 to 2.1 without one of the sets.
LABEL_CENTER, LABEL_SLOPE = 3.5, 2.0
# The same of an image showing any of the labels, in log odds. `benchmarks/probabilities.py --fit`
# gives them for the starter's photographs and COCO's by ViT-B/16, each model with equal weight.
KNOWN_CENTER, KNOWN_SLOPE = -1.8, 0.22
# A word whose direction from the words' mean has this cosine to a label's means the label.
SYNONYM_COSINE = 0.6
_FEWEST_WORDS = 0.1  # share of the words that are no synonyms, however many labels there are


class LabelEvidence:
    """Labels as they are seen from everyday words.

    Args:
        words: The words.
        labels: Shape (R, D), rows of norm 1.
    """

    def __init__(self, words: WordScale, labels: Embeddings) -> None:
        self._words = words
        self._labels = words.from_center(labels)

    def scores(self, images: Embeddings) -> NDArray[np.float64]:
        """Return the score of each label on its own, in 0..1, shape (N, R)."""
        evidence = evidence_of(self._labels, self._words.rows, np.asarray(images, np.float64))
        return sigmoid(LABEL_SLOPE * (evidence - LABEL_CENTER))

    def known_log_odds(self, images: Embeddings) -> NDArray[np.float64]:
        """Return evidence that images show any of the labels, as a sum of two log odds.

        The first are those of the label that is likeliest on its own; the second those of all
        labels against all words that mean none of them, exp(LABEL_SLOPE x evidence) of each.

        Args:
            images: Shape (N, D), rows of norm 1.

        Returns:
            Natural logarithms, shape (N,); higher is likelier.

        Source:
            Own. Labels against many other words: NegLabel, Jiang et al. 2024 (arXiv 2403.20078).
        """
        rows = np.asarray(images, np.float64)
        texts = np.concatenate([self._labels, self._words.rows[self._other_words()]])
        logits = LABEL_SLOPE * evidence_of(texts, self._words.rows, rows)
        of_labels, of_words = np.split(logits, [len(self._labels)], axis=1)
        alone = of_labels.max(axis=1) - LABEL_SLOPE * LABEL_CENTER
        odds: NDArray[np.float64] = np.logaddexp.reduce(of_labels, axis=1)
        odds += alone - np.logaddexp.reduce(of_words, axis=1)
        return odds

    def known(self, images: Embeddings) -> NDArray[np.float64]:
        """Return the probability that images show any of the labels, shape (N,)."""
        return sigmoid(KNOWN_SLOPE * (self.known_log_odds(images) - KNOWN_CENTER))

    def _other_words(self) -> NDArray[np.bool_]:
        """Return which words mean none of the labels, shape (B,)."""
        closeness = (_directions(self._words.rows) @ _directions(self._labels).T).max(axis=1)
        kept: NDArray[np.bool_] = closeness <= max(
            SYNONYM_COSINE, float(np.quantile(closeness, _FEWEST_WORDS))
        )
        return kept


def _directions(rows: Vectors) -> Vectors:
    directions: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return directions
