"""Evaluation of image and text retrieval by captions, with all relevant items of a query.

Shapes: N images, T captions, D dimensions.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.embeddings import Embeddings
from clipkit.encoder.embedded_images import embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.report import EvaluationReport, few_warning
from clipkit.metrics.comparison import ItemValues
from clipkit.metrics.ranking import average_precisions, first_ranks, ndcgs, relevant_ranks
from clipkit.progress import Callbacks

RECALL_KS = (1, 5, 10)
_NDCG_K = 10


def evaluate_captions(
    encoder: Encoder, data: str, pairs: PairDataset, callbacks: Callbacks
) -> EvaluationReport:
    """Return how well captions find their images, and images their captions.

    Args:
        encoder: The model.
        data: What the pairs were opened from, for the report.
        pairs: Images with captions.
        callbacks: For progress.

    Returns:
        The report.

    Raises:
        InputError: If no image can be read, or one only.
    """
    images = embed_images(encoder, pairs, "embedding images", callbacks)
    if len(images.rows) < 2:
        raise InputError(
            f"{data} has one image only that can be read, and every answer would be right: "
            "retrieval needs two or more"
        )
    captions: list[str] = []
    owners: list[int] = []
    for number, row in enumerate(images.rows.tolist()):
        captions += pairs[row].captions
        owners += [number] * (len(captions) - len(owners))
    with callbacks.progress_for("embedding captions") as progress:
        texts = encoder.encode_texts(captions, progress=progress)
    of_query, median_ranks = caption_retrieval(images.embeddings, texts, np.array(owners))
    values = {
        name: ItemValues(found.values, images.rows[found.items]) for name, found in of_query.items()
    }
    num_equal = len(captions) - len({*captions})
    report = EvaluationReport.of_values(
        encoder, data, "zeroshot_retrieval", len(images.rows), values
    )
    warnings = [*few_warning(len(images.rows), "images", report.intervals)]
    if num_equal:
        warnings.append(
            f"{num_equal} of {len(captions)} captions are repeated: each counts for its own image, "
            "so that the images that share one cannot all be found by it"
        )
    return replace(
        report,
        metrics={**report.metrics, **median_ranks},
        settings={"captions": len(captions)},
        warnings=tuple(warnings),
        skipped=images.skipped,
    )


def caption_retrieval(
    images: Embeddings, captions: Embeddings, image_of_caption: NDArray[np.intp]
) -> tuple[dict[str, ItemValues], dict[str, float]]:
    """Return retrieval metrics by CLIP_benchmark's names.

    Image retrieval: a caption is the query and its image is sought. Text retrieval: an image is the
    query, and finds its texts if any of them is among the first k. A caption that several images
    carry counts for each of them by itself, as in CLIP's papers.

    Equally close items are ranked in an order that was drawn once, so ties are as good as guesses.

    Args:
        images: Shape (N, D), rows of norm 1.
        captions: Shape (T, D), rows of norm 1, T >= 1.
        image_of_caption: The image of each, shape (T,), in 0..N-1.

    Returns:
        For both directions the values of each query whose means are recall@k, mrr, map and
        ndcg@10, with its image; and the median ranks (from 1), which are no means. A k that is not
        smaller than the number of items would always give 1 and is left out.

    Source:
        LAION-AI/CLIP_benchmark, ``metrics/zeroshot_retrieval.py``; Karpathy & Fei-Fei 2015 (arXiv
        1412.2306).
    """
    asking, asker = np.unique(image_of_caption, return_inverse=True)
    each = np.arange(len(captions))
    directions = {
        "image_retrieval": (captions, images, each, image_of_caption, image_of_caption),
        "text_retrieval": (images[asking], captions, asker, each, asking),
    }
    found: dict[str, ItemValues] = {}
    median_ranks: dict[str, float] = {}
    for name, (queries, items, asked, answers, owners) in directions.items():
        ranks = _ranks(queries, items, asked, answers)
        for measure, values in query_measures(ranks, asked, len(queries), len(items)).items():
            found[f"{name}_{measure}"] = ItemValues(values, owners)
        median_ranks[f"{name}_median_rank"] = (
            float(np.median(first_ranks(ranks, asked, len(queries)))) + 1
        )
    return found, median_ranks


def query_measures(
    ranks: NDArray[np.intp], asked: NDArray[np.intp], num_queries: int, num_items: int
) -> dict[str, NDArray[np.float64]]:
    """Return measures of each query from the ranks of its relevant items.

    Args:
        ranks: Of each relevant item in the list of its query, 0 is best, shape (E,).
        asked: Whose, shape (E,); each query is there at least once.
        num_queries: Q.
        num_items: How many items are ranked.

    Returns:
        By name, shape (Q,) each, in 0..1.
    """
    first = first_ranks(ranks, asked, num_queries)
    measures = {f"recall@{k}": (first < k).astype(np.float64) for k in RECALL_KS if k < num_items}
    measures["mrr"] = 1 / (first + 1.0)
    measures["map"] = average_precisions(ranks, asked, num_queries)
    measures[f"ndcg@{_NDCG_K}"] = ndcgs(ranks, asked, num_queries, k=_NDCG_K)
    return measures


def _ranks(
    queries: Embeddings, items: Embeddings, asked: NDArray[np.intp], answers: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the ranks of relevant items, with the items in an order that tells nothing."""
    order = np.random.default_rng(0).permutation(len(items))
    place = np.empty_like(order)
    place[order] = np.arange(len(items))
    return relevant_ranks(queries, items[order], asked, place[answers])
