"""rclip, the peer of the folder search: installed on its own, with made pictures in its index.

Its model is published on a hub; here the same architecture has random weights, exported the way
rclip's own ``scripts/convert_model.py`` does it. A query takes as long with any weights.

Run by rclip's Python, as  python rclip_peer.py NUM FOLDER , it writes an index of NUM pictures
with rclip's own code, so that schema and vector format are rclip's.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from made_pictures import MadePictures

REQUIREMENT = "rclip==3.3.0"
ARCHITECTURE = "ViT-B-32-256"
EMBED_DIM = 512
_MODEL_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_TEXT_ALONE = (
    "import sys; from rclip.model import Model; Model().compute_text_features(sys.argv[1:])"
)


@dataclass(frozen=True)
class RclipPeer:
    """rclip with an index of its own for each number of pictures."""

    work: Path  # the directory that all of it lies in

    def install(self) -> None:
        """Make rclip's environment, unless it is there."""
        if self._program("rclip").exists():
            return
        subprocess.run([sys.executable, "-m", "venv", str(self.work / "environment")], check=True)
        pip = [str(self._program("python")), "-m", "pip", "install", "--quiet", REQUIREMENT]
        subprocess.run(pip, check=True)

    def export_model(self, checkpoint: Path) -> None:
        """Write the towers and the vocabulary as rclip reads them, unless they are there.

        Args:
            checkpoint: The weights of an open_clip model of ARCHITECTURE, as a state dict.
        """
        vocabulary = self._models / "tokenizer" / _VOCABULARY  # written last
        if vocabulary.exists():
            return
        import open_clip
        import torch

        towers = open_clip.create_model(ARCHITECTURE)
        towers.load_state_dict(torch.load(checkpoint))
        towers.eval()
        towers.forward = towers.encode_text
        size = towers.visual.image_size[0]
        folder = self._models / _MODEL_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, tower, example in (
            ("visual", towers.visual, torch.zeros(1, 3, size, size)),
            ("textual", towers, torch.zeros(1, 77, dtype=torch.long)),
        ):
            torch.onnx.export(
                tower,
                (example,),
                folder / f"{name}.onnx",
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                opset_version=18,
                dynamo=False,
            )
        vocabulary.parent.mkdir()
        vocabulary.write_bytes((Path(open_clip.__file__).parent / _VOCABULARY).read_bytes())

    def fill(self, num: int, folder: Path) -> None:
        """Write an index of made pictures, unless it is there.

        Args:
            num: How many pictures.
            folder: Where they would be.
        """
        data = self._data(num)
        if data.exists():
            return
        unfinished = data.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        for path in self._models.rglob("*.*"):
            place = unfinished / path.relative_to(self._models)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(path)
        command = [str(self._program("python")), __file__, str(num), str(folder)]
        environment = {**os.environ, "RCLIP_DATADIR": str(unfinished)}
        subprocess.run(command, check=True, env=environment)
        unfinished.rename(data)

    def query_command(self, query: str, *, k: int) -> list[str]:
        """Return the command that prints the paths of the k best, run in the folder."""
        return [
            str(self._program("rclip")),
            "--no-indexing",
            "--filepath-only",
            "-t",
            str(k),
            query,
        ]

    def model_command(self, text: str) -> list[str]:
        """Return the command that loads the model and embeds a text, and nothing else."""
        return [str(self._program("python")), "-c", _TEXT_ALONE, text]

    def variables(self, num: int) -> dict[str, str]:
        """Return the environment variables that make rclip use the index of so many pictures."""
        return {"RCLIP_DATADIR": str(self._data(num)), "HF_HUB_OFFLINE": "1"}

    def files(self, num: int) -> list[Path]:
        """Return what a query reads: the model and the index."""
        return [path for path in self._data(num).rglob("*") if path.is_file()]

    @property
    def _models(self) -> Path:
        return self.work / "models"

    def _data(self, num: int) -> Path:
        return self.work / f"data-{num}"

    def _program(self, name: str) -> Path:
        return self.work / "environment" / ("Scripts" if os.name == "nt" else "bin") / name


def _write_index(num: int, folder: Path) -> None:
    """Write an index with rclip's own classes, in rclip's environment."""
    from rclip.db import DB, NewImage  # type: ignore[import-not-found]
    from rclip.utils.helpers import get_app_datadir  # type: ignore[import-not-found]

    database = DB(get_app_datadir() / "db.sqlite3")
    pictures = MadePictures(num, EMBED_DIM)
    for first, embeddings in pictures.blocks():
        for details, row in zip(pictures.details(first, len(embeddings)), embeddings, strict=True):
            image = NewImage(
                filepath=str(folder / details.path),
                modified_at=details.mtime_ns / 1e9,
                size=details.size,
                vector=row.tobytes(),
                hash=details.digest.hex() * 2,  # rclip keeps 64 digits
            )
            database.upsert_image(image, commit=False)
    database.close()


if __name__ == "__main__":
    _write_index(int(sys.argv[1]), Path(sys.argv[2]))
