"""Make the starter's ONNX graphs from its checkpoint, and print how close they come to it.

Compared on the sample photographs and on their queries and labels. Run by ``make bundle``.
"""

import dataclasses
import json
import sys
from pathlib import Path

from clipkit.runtime.compile import compile_in_place

STARTER = Path(__file__).parent


def main() -> None:
    """Compile and print the parity of each precision, and why others are missing."""
    bundle = compile_in_place(STARTER, name="starter")
    measured = {key: dataclasses.asdict(parity) for key, parity in bundle.precisions.items()}
    refused = {key: refusal.reason for key, refusal in bundle.refused.items()}
    json.dump({"measured": measured, "refused": refused}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
