"""Indexing with models whose activations have outliers, as trained ones have, beside rclip.

Run as  python benchmarks/outliers.py  with clipkit[torch], and clipkit[openvino] for its engine, on
Linux. Models are those of outlier_models.py. For each: what clipkit chooses, how close that comes
to open_clip in float32, and how many 12-megapixel photographs it indexes in the time in which rclip
indexes one, starting in neither: a large folder less a folder of a few. rclip's speed does not
depend on the weights: it is measured with the clean ones.
"""

import argparse
import subprocess
from pathlib import Path

from indexing import QUERY, clipkit, forget_index, make_folders
from measured import Run, run
from outlier_models import ARCHITECTURES, KINDS, make_towers, outlier_model
from rclip_peer import REQUIREMENT, RclipPeer
from report import Figure, Report, ratios, system_load, take_turns
from workplace import Workplace, add_work_options, apart

from clipkit import load
from clipkit.doctor.golden import golden_parity
from clipkit.models.sources import resolve_source
from clipkit.runtime.bundle import Parity
from clipkit.runtime.cache import find_compiled

ROUNDS = 2


def main() -> None:
    """Make what is missing, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_work_options(parser)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    options = parser.parse_args()
    workplace = Workplace.from_options(options)
    rounds = workplace.num_rounds(ROUNDS)
    folders = make_folders(workplace)
    load, figures, chosen = system_load(), [], {}
    more = folders.num_all - folders.num_few
    for architecture in options.only:
        peer = RclipPeer(workplace, architecture)
        peer.prepare_from(make_towers, architecture, KINDS[0])
        data = peer.data_directory("photos")
        models = {kind: str(outlier_model(workplace, architecture, kind)) for kind in KINDS}
        for kind, model in models.items():
            chosen[f"{architecture}, {kind}"] = compiled(model)

        def rclip(folder: Path, peer: RclipPeer = peer, data: Path = data) -> Run:
            peer.forget(data)
            command = peer.query_command(QUERY, k=1, is_indexing=True)
            return run(command, cwd=folder, variables=peer.variables(data))

        works = {
            (name, folder): (lambda name=name, folder=folder: index(name, folder))
            for name in models.values()
            for folder in (folders.few, folders.all)
        }
        works |= {
            ("rclip", folder): (lambda folder=folder: rclip(folder))
            for folder in (folders.few, folders.all)
        }
        runs = take_turns(works, rounds)
        seconds = {
            name: [
                every.seconds - few.seconds
                for every, few in zip(runs[name, folders.all], runs[name, folders.few], strict=True)
            ]
            for name in (*models.values(), "rclip")
        }
        figures.append(
            Figure(f"{architecture}, rclip", [more / each for each in seconds["rclip"]], "/s")
        )
        for kind, name in models.items():
            speeds = [more / each for each in seconds[name]]
            what = f"{architecture}, {kind}"
            figures.append(Figure(f"{what}: clipkit", speeds, "/s"))
            faster = ratios(seconds["rclip"], seconds[name])
            figures.append(Figure(f"{what}: speed beside rclip's", faster, "x", at_least=3.5))
            print(f"{what}: {speeds[0]:.3g}/s, {faster[0]:.3g}x rclip; {chosen[what]}", flush=True)
    settings = {"images": folders.num_all, "rounds": rounds, "chosen": chosen}
    Report("outliers", {}, figures, settings, dict([REQUIREMENT.split("==")])).save(workplace, load)


def index(model: str, folder: Path) -> Run:
    """Index a folder that has no index."""
    forget_index(folder)
    command = clipkit("index", str(folder), "--model", model)
    return run(command, cwd=folder, variables={})


def compiled(model: str) -> str:
    """Compile a model, unless it is; return what is in use and how close it is, in words."""
    subprocess.run(clipkit("compile", model), check=True)
    engine, parity = apart(_measure_parity, model)
    images, texts = (
        f"{getattr(parity, f'mean_{kind}_cosine'):.5f}, "
        f"1st percentile {getattr(parity, f'p1_{kind}_cosine'):.5f}"
        for kind in ("image", "text")
    )
    shift = f"scores shift {parity.score_shift:.3f}"
    return f"{engine}: cosines of images {images}; of texts {texts}; {shift}"


def _measure_parity(model: str) -> tuple[str, Parity]:
    """Return what runs a model and how close it comes to its golden vectors."""
    encoder = load(model, cache_texts=False)
    directory = find_compiled(resolve_source(model))
    assert directory is not None
    parity = golden_parity(encoder, directory)
    assert parity is not None
    return f"{encoder.precision} on {encoder.engine}", parity


if __name__ == "__main__":
    main()
