"""Relevance feedback: queries refitted to marked images, simulated on labelled photographs.

Run as  python benchmarks/feedback.py  [--clip-data FOLDER] ; the photographs are fetched on the
first run. FOLDER holds embeddings of published models: see stored_sets.py. The person
looks at ten images a round, marks every right one "more like this" and up to three wrong ones
"less like this". All methods get the same marks, on the pages of the ranking without feedback, and
are scored on the images that were not looked at yet: mean average precision, 0 to 1, with 95 %
intervals from a paired bootstrap over queries.

Shapes: N images, Q queries, R rounds.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from composition import Library, Mask, Vector, average_precision, build_library, interval
from labelled_photos import LabelledQuery, fetch_photos, read_queries, true_matches
from mixed_search import make_query
from stored_sets import StoredSet, read_sets

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, mix_embeddings
from clipkit.search.modality_gap import center_rows
from clipkit.search.rerank import refit_direction

PAGE = 10  # images that a person looks at in one round
ROUNDS = 5
MOST_DISLIKED = 3  # marks a round: nobody marks every wrong image
FEWEST_MATCHES = 5  # of a query that is refined
DRAWS = 5  # random choices of marks where there are no words

# What a person may have in mind beside the queries of labelled_queries.txt: looser ideas.
IDEAS = {
    "food": "fruit; apple; cherry; grapes; kiwi fruit; lemon; orange; pineapple; strawberry; fig; "
    "tomato; broccoli; corn; potato; mushroom; walnut; cup of coffee",
    "old building": "amphitheatre; castle; cathedral; church; church tower; pyramid; temple; "
    "triumphal arch; windmill",
    "tall building": "lighthouse; skyscraper; church tower; Eiffel Tower; tower; office building",
    "things that fly": "airplane; biplane; hot air balloon; space shuttle; rocket",
    "farm animal": "cow; donkey; duck; goat; goose; hen; horse; pig; ram; rooster; sheep; alpaca",
    "African animal": "elephant; giraffe; hippopotamus; lion; cheetah; meerkat; ostrich; "
    "rhinoceros; zebra; gorilla; chimpanzee; baboon",
    "bears and the like": "brown bear; polar bear; panda; koala; red panda",
    "small furry animal": "badger; beaver; hedgehog; meerkat; mouse; otter; rabbit; squirrel; "
    "red panda",
    "horned animal": "bison; goat; ibex; ram; cow; rhinoceros",
    "sport": "baseball; baseball stadium; basketball; basketball court; soccer ball; surfer; "
    "tennis racket; swimming pool",
    "landscape": "beach; canyon; mountain; sunset; volcano; wave; field; lake; river; hay bales",
    "kitchen": "cup of coffee; kettle; kitchen; mug; teapot",
    "electronics": "calculator; camera; circuit board; game controller; headphones; light bulb",
    "outer space": "astronaut; moon; planet; rocket; space shuttle",
    "plant": "flower; daffodil; dandelion; lily; rose; sunflower; Christmas tree; grass; leaf; "
    "palm tree; pine cone; potted plant; tree",
    "water bird": "pelican; flamingo; goose; gosling; heron; penguin; swan; spoonbill; duck; "
    "kingfisher",
}

Method = Callable[[Library, Sequence[int], Sequence[int], Vector | None], Vector]
"""Liked places, disliked places and a word's embedding, or None, to scores of all images."""


def centred(library: Library, word: Vector | None) -> Vector | None:
    """Return a word as seen from the centre of words."""
    return None if word is None else center_rows(word[None, :], library.text_center)[0]


def rocchio(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return scores by Rocchio's formula with its usual weights, in the centred space."""
    query = centred(library, word)
    images = center_rows(library.images, library.center)
    parts = [] if query is None else [(1.0, query)]
    parts += [
        (weight, images[list(places)].mean(axis=0))
        for weight, places in ((0.75, liked), (-0.15, disliked))
        if len(places)
    ]
    weights, rows = zip(*parts, strict=True)
    return np.asarray(images @ mix_embeddings(np.stack(rows), weights)[0])


def discriminant(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return scores by the query plus the liked images' discriminant against the library.

    The library's covariance, shrunk by 95 % towards a round one, takes the place of the usual one
    within classes. Disliked images are left out.
    """
    query = centred(library, word)
    images = center_rows(library.images, library.center)
    start = np.zeros(images.shape[1]) if query is None else query
    if not len(liked):
        return np.asarray(images @ start, np.float32)
    covariance = np.cov(images.T)
    round_one = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    mean = images[list(liked)].mean(axis=0)
    axis = np.linalg.solve(0.05 * covariance + 0.95 * round_one, mean)
    return np.asarray(images @ (axis / np.linalg.norm(axis) + start), np.float32)


def logistic(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return scores by logistic regression that starts at 4 times the query.

    The whole library counts as disliked with a weight of 0.02 an image; penalty 1/16, on the
    bias a tenth of it.
    """
    query = centred(library, word)
    images = center_rows(library.images, library.center)
    rows = images[[*liked, *disliked, *range(len(images))]]
    rows = np.column_stack([rows, np.ones(len(rows))])
    signs = np.where(np.arange(len(rows)) < len(liked), 1.0, -1.0)
    weights = np.where(np.arange(len(rows)) < len(liked) + len(disliked), 16.0, 16.0 * 0.02)
    penalty = np.append(np.ones(images.shape[1]), 0.1)
    start = np.zeros(len(penalty)) if query is None else np.append(4.0 * query, 0.0)
    direction = start
    for _ in range(8):  # Newton's steps
        chances = 1 / (1 + np.exp(signs * (rows @ direction)))  # of being wrong
        slope = penalty * (direction - start) - rows.T @ (weights * signs * chances)
        curvature = np.diag(penalty) + (rows.T * (weights * chances * (1 - chances))) @ rows
        direction = direction - np.linalg.solve(curvature, slope)
    return np.asarray(images @ direction[:-1], np.float32)


def refitted(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return scores by clipkit's direction, which choose the candidates."""
    query = centred(library, word)
    goods, bads = (library.images[list(places)] for places in (liked, disliked))
    return library.similarities(refit_direction(goods, bads, library.center, query))


def with_evidence(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return the order that evidence alone gives, without the refitted direction."""
    return _found(library, liked, disliked, word, weigh=False)


def clipkit_order(
    library: Library, liked: Sequence[int], disliked: Sequence[int], word: Vector | None
) -> Vector:
    """Return clipkit's order: by evidence and the refitted direction."""
    return _found(library, liked, disliked, word, weigh=True)


def _found(
    library: Library,
    liked: Sequence[int],
    disliked: Sequence[int],
    word: Vector | None,
    *,
    weigh: bool,
) -> Vector:
    goods, bads = (library.images[list(places)] for places in (liked, disliked))
    query = make_query([] if word is None else [(word, 1.0, False)], goods, bads)
    return library.search.found(query, [*liked, *disliked], weigh=weigh)[0].astype(np.float32)


METHODS: dict[str, Method] = {
    "Rocchio": rocchio,
    "LDA": discriminant,
    "logistic": logistic,
    "refitted": refitted,
    "evidence": with_evidence,
    "clipkit": clipkit_order,
}


def rounds_of_marks(ranking: Sequence[int], relevant: Mask) -> list[tuple[list[int], list[int]]]:
    """Return what is liked and disliked after each round, shape (R,)."""
    marks: list[tuple[list[int], list[int]]] = [([], [])]
    for start in range(0, ROUNDS * PAGE, PAGE):
        page = ranking[start : start + PAGE]
        wrong = [place for place in page if not relevant[place]]
        liked, disliked = marks[-1]
        marks.append(
            (
                liked + [place for place in page if relevant[place]],
                disliked + wrong[:MOST_DISLIKED],
            )
        )
    return marks[1:]


def without_marks(library: Library, word: Vector) -> Vector:
    """Return clipkit's order of the images for a word."""
    return library.search.found(make_query([(word, 1.0, False)]))[0].astype(np.float32)


def with_words(library: Library, words: Embeddings, matches: Mask) -> None:
    """Print the figures after each round that began with words."""
    print(f"{'words, then':18} {'queries':>7} {'no marks':>8}", *(f"{m:>8}" for m in METHODS))
    for number in range(ROUNDS):
        rows = []
        for word, relevant in zip(words, matches, strict=True):
            plain = without_marks(library, word)
            ranking = np.argsort(-plain, kind="stable").tolist()
            seen = ranking[: (number + 1) * PAGE]
            if not relevant.sum() - relevant[seen].sum():
                continue  # everything was found
            marks = rounds_of_marks(ranking, relevant)[number]
            scores = [plain, *(method(library, *marks, word) for method in METHODS.values())]
            rows.append([average_precision(each, relevant, seen) for each in scores])
        if rows:
            print_line(f"{number + 1} round(s)", rows)
    rows = []
    for word, relevant in zip(words, matches, strict=True):
        plain = without_marks(library, word)
        wrong = [place for place in np.argsort(-plain).tolist() if not relevant[place]][:3]
        scores = [plain, *(method(library, [], wrong, word) for method in METHODS.values())]
        rows.append([average_precision(each, relevant, wrong) for each in scores])
    print_line("3 disliked", rows)


def without_words(library: Library, matches: Mask) -> None:
    """Print the figures for marks alone: random right images and the wrong ones nearest."""
    print(f"\n{'no words, but':18} {'queries':>7} {'mean':>8}", *(f"{m:>8}" for m in METHODS))
    images = center_rows(library.images, library.center)
    for num_liked, num_disliked in ((1, 0), (3, 0), (1, 3), (3, 3), (3, 30)):
        rng, rows = np.random.default_rng(0), []
        for relevant in matches[matches.sum(axis=1) > num_liked]:
            draws = []
            for _ in range(DRAWS):
                liked = rng.choice(np.flatnonzero(relevant), num_liked, replace=False).tolist()
                mean = images @ images[liked].mean(axis=0)
                order = np.argsort(-mean).tolist()
                disliked = [place for place in order if not relevant[place]][:num_disliked]
                marks = (liked, disliked)
                scores = [mean, *(method(library, *marks, None) for method in METHODS.values())]
                hidden = [*liked, *disliked]
                draws.append([average_precision(each, relevant, hidden) for each in scores])
            rows.append(np.mean(draws, axis=0))
        print_line(f"{num_liked} liked, {num_disliked} not", rows)


def print_line(title: str, rows: Sequence[Sequence[float]]) -> None:
    """Print the means over queries, and what clipkit gains over the others."""
    table = np.array(rows)
    means = (f"{mean:8.3f}" for mean in table.mean(axis=0))
    gains = (interval(table[:, -1] - table[:, other]) for other in (0, -3, -2))
    print(f"{title:18} {len(table):7}", *means, "", "  ".join(gains), flush=True)


def stored_queries(stored: StoredSet) -> tuple[Embeddings, Mask]:
    """Return the texts of a stored set's classes and of what is wider, and what matches them."""
    texts, matches = list(stored.texts), list(stored.shows.T)
    for text, names in stored.wider.values():
        members = [stored.class_names.index(name) for name in names]
        texts.append(text)
        matches.append(stored.shows[:, members].any(axis=1))
    enough = [place for place, each in enumerate(matches) if each.sum() >= FEWEST_MATCHES]
    return np.stack(texts)[enough], np.stack(matches)[enough]


def print_tables(title: str, library: Library, words: Embeddings, matches: Mask) -> None:
    """Print one table for searches that begin with words and one for marks alone."""
    print(f"\n{title}: {len(library.images)} images; gains of clipkit over no marks (or the mean),")
    print("over the refitted direction, and over evidence alone\n")
    with_words(library, words, matches)
    without_words(library, matches)


def main() -> None:
    """Print the tables of the starter and of stored sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    arguments = parser.parse_args()
    encoder, photos = clipkit.load(), fetch_photos()
    ideas = [
        LabelledQuery(words, frozenset(label.strip() for label in labels.split(";")))
        for words, labels in IDEAS.items()
    ]
    unknown = {label for idea in ideas for label in idea.labels} - {
        name for photo in photos for name in photo.names
    }
    if unknown:
        raise SystemExit(f"no photograph is labelled {sorted(unknown)}")
    queries = [*read_queries(), *ideas]
    matches = true_matches(queries, photos)
    enough = np.flatnonzero(matches.sum(axis=1) >= FEWEST_MATCHES)
    words = encoder.encode_texts([queries[place].words for place in enough])
    images = encoder.encode_images([photo.path for photo in photos])
    bank = encoder.encode_texts(list(BACKGROUND_NAMES))
    print_tables("starter", build_library(images, bank), words, matches[enough])
    for stored in read_sets(arguments.clip_data) if arguments.clip_data else ():
        library = build_library(stored.images, stored.bank)
        print_tables(stored.name, library, *stored_queries(stored))


if __name__ == "__main__":
    main()
