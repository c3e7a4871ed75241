"""Make the starter's ONNX graphs from its checkpoint, and print how close they come to it.

Compared on the sample photographs and on their queries and labels. Run by ``make bundle``.
"""

import dataclasses
import json
import sys
from pathlib import Path

from clipkit.runtime.compile import compile_directory

STARTER = Path(__file__).parent
SAMPLES = STARTER.parents[1] / "demo" / "samples"


def main() -> None:
    """Compile and print the parity."""
    texts = [entry["query"] for entry in json.loads((SAMPLES / "queries.json").read_text())]
    texts += (SAMPLES / "labels.txt").read_text().split("\n")
    pictures = sorted(SAMPLES.glob("*.jpg"))
    parity = compile_directory(STARTER, pictures=pictures, texts=texts)
    json.dump(dataclasses.asdict(parity), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
