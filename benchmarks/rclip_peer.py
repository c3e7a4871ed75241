"""rclip, the peer of the folder search: installed on its own, with made images in its index.

Its model is published on a hub; here the same architecture has random weights, exported the way
rclip's own ``scripts/convert_model.py`` does it. A query takes as long with any weights.

Run by rclip's Python, as  python rclip_peer.py NUM FOLDER FILE , it writes an index of NUM images
with rclip's own code, so that schema and vector format are rclip's.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from made_images import MadeImages
from workplace import Workplace, apart

REQUIREMENT = "rclip==3.3.0"
ARCHITECTURE = "ViT-B-32-256"
EMBED_DIM = 512
_INDEX = "db.sqlite3"
_MODEL_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_TEXT_ALONE = (
    "import sys; from rclip.model import Model; Model().compute_text_features(sys.argv[1:])"
)


@dataclass(frozen=True)
class RclipPeer:
    """rclip with data directories of its own, each with the model and an index."""

    workplace: Workplace
    image_tower: str = ARCHITECTURE  # which its models and data are kept by

    @cached_property
    def python(self) -> Path:
        """The Python of its environment, which is made unless it is there."""
        return self.workplace.environment("rclip", (REQUIREMENT,))

    def prepare(self, checkpoint: Path) -> None:
        """Make what a query needs, unless it is there; exporting is done in another process.

        Args:
            checkpoint: The weights of an open_clip model of ARCHITECTURE, as a state dict.
        """
        self.prepare_from(_read_towers, checkpoint)

    def prepare_from(self, make: Callable[..., Any], *arguments: object) -> None:
        """Make what a query needs, unless it is there.

        Args:
            make: Returns open_clip's model, of images of 256 pixels and texts of 77 tokens, in a
                process that imports it.
            *arguments: Its arguments.
        """
        assert self.python.is_file()
        apart(self._export_model, make, *arguments)

    def _export_model(self, make: Callable[..., Any], *arguments: object) -> None:
        """Write the towers and the vocabulary as rclip reads them, unless they are there."""
        vocabulary = self._models / "tokenizer" / _VOCABULARY  # written last
        if vocabulary.exists():
            return
        import open_clip
        import torch

        towers = make(*arguments).eval()
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

    def data_directory(self, name: str) -> Path:
        """Return a data directory with the model and no images yet, or as it was left."""
        data = self._work / f"data-{name}"
        if not data.exists():
            unfinished = data.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            for path in self._models.rglob("*.*"):
                place = unfinished / path.relative_to(self._models)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.hardlink_to(path)
            unfinished.rename(data)
        return data

    def fill(self, num: int, folder: Path) -> Path:
        """Write an index of made images, unless it is there.

        Args:
            num: How many images.
            folder: Where they would be.

        Returns:
            The data directory.
        """
        data = self.data_directory(folder.name)
        if not (data / _INDEX).exists():
            (data / "unfinished").unlink(missing_ok=True)
            command = [str(self.python), __file__, str(num), str(folder), str(data / "unfinished")]
            subprocess.run(command, check=True, env={**os.environ, **self.variables(data)})
            (data / "unfinished").rename(data / _INDEX)
        return data

    def forget(self, data: Path) -> None:
        """Delete the index of a data directory."""
        for path in data.glob(f"{_INDEX}*"):
            path.unlink()

    def query_command(self, query: str, *, k: int, is_indexing: bool = False) -> list[str]:
        """Return the command that prints the paths of the k best, run in the folder."""
        command = [str(self.python.with_name("rclip")), "--filepath-only", "-t", str(k), query]
        return command if is_indexing else [*command, "--no-indexing"]

    def model_command(self, text: str) -> list[str]:
        """Return the command that loads the model and embeds a text, and nothing else."""
        return [str(self.python), "-c", _TEXT_ALONE, text]

    def variables(self, data: Path) -> dict[str, str]:
        """Return the environment variables that make rclip use a data directory."""
        return {"RCLIP_DATADIR": str(data)}

    def files(self, data: Path) -> list[Path]:
        """Return what a query reads: the model and the index."""
        return [path for path in data.rglob("*") if path.is_file()]

    @property
    def _work(self) -> Path:
        peers = self.workplace.directory / "peers"
        return peers / (
            "rclip" if self.image_tower == ARCHITECTURE else f"rclip-{self.image_tower}"
        )

    @property
    def _models(self) -> Path:
        return self._work / "models"


def _read_towers(checkpoint: Path) -> Any:
    import open_clip
    import torch

    towers = open_clip.create_model(ARCHITECTURE)
    towers.load_state_dict(torch.load(checkpoint))
    return towers


def _write_index(num: int, folder: Path, path: Path) -> None:
    """Write an index with rclip's own classes, in rclip's environment."""
    from rclip.db import DB, NewImage  # type: ignore[import-not-found]

    database = DB(path)
    images = MadeImages(num, EMBED_DIM)
    for first, embeddings in images.blocks():
        for details, row in zip(images.details(first, len(embeddings)), embeddings, strict=True):
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
    _write_index(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
