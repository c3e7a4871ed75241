"""clipkit as a worker process, beside `torch_peers`; imported, this starts it."""

import sys
from collections.abc import Sequence
from typing import Any

from worker import Worker, serve
from workplace import Workplace

TEMPLATE = "This is a photo of {}."  # what transformers' pipeline has by default


def start_clipkit(workplace: Workplace, name: str) -> Worker:
    """Start clipkit with a model as it comes.

    Args:
        workplace: Where everything is.
        name: The starter, or what `compiled_model` returned.

    Returns:
        The worker; it loads its model before it answers.
    """
    return Worker([sys.executable, __file__, name], log=workplace.directory / "clipkit.log")


def _serve(name: str) -> None:
    import clipkit

    encoder = clipkit.load(name)

    def classify(paths: Sequence[str], labels: Sequence[str]) -> Any:
        return clipkit.ZeroShotClassifier(encoder, labels, templates=TEMPLATE).classify(paths)

    serve(
        {
            "images": lambda paths: encoder.encode_images(paths),
            "texts": lambda texts: encoder.encode_texts(texts),
            "classify": classify,
            "settings": lambda: {"engine": encoder.engine, "precision": encoder.precision},
        }
    )


if __name__ == "__main__":
    _serve(sys.argv[1])
