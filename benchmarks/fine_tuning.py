"""Fine-tuning the starter on class folders: what is won on the task, and what is kept elsewhere.

Run as  python benchmarks/fine_tuning.py  with clipkit[torch] installed; about ten minutes on two
cores. The task: which of 30 kinds of things a drawing shows (emoji of vendors that the starter was
not trained on). The reference that must not be forgotten: 245 labelled photographs by their names.
The figures are those of the run's own report, and of drawings that the run has never seen.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from emoji_pairs import EmojiPairs, make_emoji_pairs
from labelled_photos import CACHE_FOLDER, fetch_photos
from report import Figure, Report, system_load
from workplace import Workplace, apart

FEWEST = 12  # drawings that a class needs
TRAINED = ("fluent", "fxemoji", "noto-v1")  # whom the starter has never seen
TESTED = "openmoji"
_GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
BAD_RATE = "1e-3"


def main() -> None:
    """Make what is missing, train, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    pairs = make_emoji_pairs(workplace)
    place = workplace.directory / "fine_tuning"
    shutil.rmtree(place, ignore_errors=True)
    counts = make_class_folders(pairs, place)
    config = place / "run.toml"
    config.write_text(_run_toml(epochs=1 if workplace.is_quick else 4))
    load = system_load()
    command = [sys.executable, "-m", "clipkit", "train", str(config), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    models = {"base": "starter", "final": str(place / "run" / "final")}
    tested = {name: apart(accuracy_of, model, place / "test") for name, model in models.items()}
    warned = _warnings(config)
    start, end, final = report["start"], report["end"], report["final"]
    forgotten = start["retention_accuracy"] - final["retention_accuracy"]
    figures = [
        _percent("validation drawings: accuracy of the start", start["accuracy"]),
        _percent("validation drawings: accuracy of the trained weights", end["accuracy"]),
        _percent("validation drawings: accuracy of the final weights", final["accuracy"]),
        _percent("drawings of another vendor: accuracy of the start", tested["base"]),
        _percent("drawings of another vendor: accuracy of the final weights", tested["final"]),
        _percent("what that is more", tested["final"] - tested["base"], at_least=0.0),
        _percent("reference photographs: accuracy of the start", start["retention_accuracy"]),
        _percent(
            "reference photographs: accuracy of the trained weights", end["retention_accuracy"]
        ),
        _percent(
            "reference photographs: accuracy of the final weights", final["retention_accuracy"]
        ),
        _percent("what the final weights have forgotten", forgotten, at_most=2.0),
        _percent("share of the trained weights in the final ones", report["alpha"]),
        Figure(f"warnings of lr {BAD_RATE} that name 1e-5", [float(len(warned))], at_least=1.0),
    ]
    measurements = {"report": report, "tested": tested, "warnings": warned}
    Report("fine_tuning", measurements, figures, {"images": counts}, {}).save(workplace, load)


def make_class_folders(pairs: EmojiPairs, place: Path) -> dict[str, int]:
    """Copy drawings and photographs into class folders, and return how many each part has.

    The recipe's held-out fifth of concepts is for validation, another vendor's for the test.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "weights" / "starter"))
    from recipe.emoji import _split
    from recipe.packages import Cache

    source = Cache(CACHE_FOLDER).package_folder("emoji-datasource-google") / "package/emoji.json"
    entries = [entry for entry in json.loads(source.read_text()) if entry["category"] in _GROUPS]
    sizes = Counter(entry["subcategory"] for entry in entries)
    counts: Counter[str] = Counter()
    for entry in entries:
        if sizes[entry["subcategory"]] < FEWEST:
            continue
        is_held = _split(entry["unified"]) == "test"
        for vendor in (*TRAINED, TESTED):
            drawing = pairs.directory / vendor / f"{entry['unified']}.png"
            if not drawing.is_file() or (vendor == TESTED and not is_held):
                continue
            part = "test" if vendor == TESTED else "validation" if is_held else "train"
            folder = place / part / entry["subcategory"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(drawing, folder / f"{vendor}-{drawing.name}")
            counts[part] += 1
    for number, photo in enumerate(fetch_photos()):
        folder = place / "reference" / photo.label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo.path, folder / f"{number:03}{photo.path.suffix}")
        counts["reference"] += 1
    return dict(counts)


def accuracy_of(model: str, folder: Path) -> float:
    """Return a model's zero-shot accuracy on class folders."""
    import clipkit
    from clipkit.data.pair import PairLayout
    from clipkit.data.sources import open_pairs
    from clipkit.evaluation.zero_shot import evaluate_classes

    source = open_pairs(folder, PairLayout(format="classes"))
    return evaluate_classes(clipkit.load(model), source).top_1


def _percent(what: str, share: float, **bar: float) -> Figure:
    """Return the figure of a share 0..1; its bar is in percent."""
    return Figure(what, [100 * share], " %", **bar)


def _run_toml(*, epochs: int) -> str:
    return f"""output = "run"

[model]
base = "starter"

[data]
train = "train"
validation = "validation"

[compute]
epochs = {epochs}

[watch]
retention_set = "reference"
"""


def _warnings(config: Path) -> list[str]:
    """Return what the pre-flight says against a learning rate that wrecks the model."""
    overrides = ["--set", f"optimizer.lr={BAD_RATE}", "--check", "--json"]
    command = [sys.executable, "-m", "clipkit", "train", str(config), *overrides]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in json.loads(done.stdout)["warnings"] if "1e-05" in line]


if __name__ == "__main__":
    main()
