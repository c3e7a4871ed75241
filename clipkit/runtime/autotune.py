"""Autotuning: timed trials that choose the fastest precision for this machine, remembered on disk.

Nothing is chosen by a processor's name. The name is in the key of a trial only so that what was
measured on one machine is not believed on another. :mod:`clipkit.runtime.compiled_autotune` is the
trial of compiled models, :mod:`clipkit.runtime.torch_autotune` that of towers on torch.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object, write_text
from clipkit.paths import cache_directory
from clipkit.progress import usable_cores

LEAST_GAIN = 0.1  # share of the safest one's time; a smaller gain is noise, or not worth the risk
LEAST_ROUNDS = 3
HOPELESS = 4  # times the safest one's first call: a candidate that takes longer is given up
# The largest product in the image encoder of a ViT-B for a batch of 8 images of 197 tokens.
_ROWS, _INNER, _COLUMNS = 8 * 197, 768, 3072

Candidates = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Trial:
    """A trial of candidates: what was measured, and what was chosen."""

    chosen: str  # name of a candidate
    seconds: dict[str, float]  # of the quickest call; the safest candidate first
    refused: dict[str, str] = field(default_factory=dict)  # candidates that may not be used: why

    def __str__(self) -> str:
        times = ", ".join(f"{name} {1000 * took:.4g} ms" for name, took in self.seconds.items())
        reasons = "".join(f"; not {name}: {reason}" for name, reason in self.refused.items())
        return f"{self.chosen} ({times} a call{reasons})"


def matrix_speed(*, seconds: float = 0.2) -> float:
    """Return how fast the processor multiplies matrices in float32, measured once and remembered.

    An image encoder spends nearly all of its time on such products, so its GFLOPs divided by this
    is about the time that an image takes in float32.

    Args:
        seconds: How long to measure, where nothing is remembered.

    Returns:
        10⁹ floating-point operations a second.
    """
    generator = np.random.default_rng(0)
    left = generator.standard_normal((_ROWS, _INNER), dtype=np.float32)
    right = generator.standard_normal((_INNER, _COLUMNS), dtype=np.float32)
    trial = choose_fastest(
        {"float32": partial(np.matmul, left, right)},
        key=trial_key("matrix product", f"numpy {np.__version__}"),
        seconds=seconds,
    )
    return 2e-9 * _ROWS * _INNER * _COLUMNS / trial.seconds["float32"]


def choose_fastest(
    candidates: Candidates,
    *,
    key: str,
    seconds: float = 1.0,
    check: Callable[[str], str | None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Return the remembered trial of this key, or time the candidates and remember it.

    The candidates are called in turn, in rounds, so that a load from elsewhere falls on all of
    them, and the quickest call of each counts, because a load only ever adds to it. The fastest
    wins if it takes at most 90 % of the time of the first.

    Args:
        candidates: Names and what to call, the safest first: it is chosen unless another is faster
            by enough. One that raises is refused; the first may not raise.
        key: What the trial is remembered by; :func:`trial_key` makes one.
        seconds: How long to measure, for three rounds at least; a candidate whose first call is
            hopelessly slow is not called again.
        check: Called with the name of a candidate before it is chosen for its speed; returns why it
            may not be used, or None. The next fastest is tried then.
        clock: Seconds that only grow.

    Returns:
        The trial.
    """
    trial = remembered_trial(key)
    if trial is None or trial.chosen not in candidates:
        times, refused = _time(candidates, seconds, clock)
        safest = next(iter(candidates))
        fast_enough = (1 - LEAST_GAIN) * times[safest]
        chosen = safest
        for _, name in sorted((took, name) for name, took in times.items() if took <= fast_enough):
            reason = check(name)
            if reason is None:
                chosen = name
                break
            refused[name] = reason
        trial = Trial(chosen, times, refused)
        _remember(key, trial)
    return trial


def remembered_trial(key: str) -> Trial | None:
    """Return the trial that was remembered by a key; None if there is none that can be read."""
    try:
        content = read_json_object(_trial_file(key), CheckpointError)
        if content.pop("key") == key:
            return Trial(**content)
    except (CheckpointError, KeyError, TypeError):
        pass  # a damaged file counts as none: the trial is run again and replaces it
    return None


def trial_key(*facts: str) -> str:
    """Return a key for trials of one thing on this machine.

    Args:
        *facts: What was tried, of which space, with which version of what; any change makes
            another key.

    Returns:
        The facts, with the processor and the number of cores that this process may use.
    """
    return " | ".join([*facts, processor(), f"{usable_cores()} cores"])


def processor() -> str:
    """Return the name of the processor, as the system spells it."""
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:  # of the first core; a large machine has thousands
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform  # only here: what is remembered is looked up at every start

    return platform.processor() or platform.machine()


def _time(
    candidates: Candidates, seconds: float, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the least seconds of a call, and why some candidates cannot be called."""
    start = clock()
    safest = next(iter(candidates))
    refused: dict[str, str] = {}
    patience = 0.0
    for name, call in candidates.items():
        begin = clock()
        try:
            call()  # the first call may load, allocate and compile: it does not count
        except Exception as error:  # engines share no base class of errors
            if name == safest:
                raise
            refused[name] = f"{type(error).__name__}: {error}"
        took = clock() - begin
        if name == safest:
            patience = max(seconds, HOPELESS * took)
        elif took > patience and name not in refused:
            refused[name] = f"its first call took {took:.3g} s"
    times: dict[str, list[float]] = {name: [] for name in candidates if name not in refused}
    for number, names in enumerate(_rounds(list(times)), start=1):
        for name in names:
            begin = clock()
            candidates[name]()
            times[name].append(clock() - begin)
        if number >= LEAST_ROUNDS and clock() - start >= seconds:
            break
    return {name: min(taken) for name, taken in times.items()}, refused


def _rounds(names: list[str]) -> Iterator[list[str]]:
    while True:  # back and forth, so that none always runs after the same one
        yield names
        yield names[::-1]


def _remember(key: str, trial: Trial) -> None:
    path = _trial_file(key)
    content = {"key": key, **asdict(trial)}
    with suppress(OSError):  # a machine that cannot remember tries again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, indent=2, ensure_ascii=False))


def _trial_file(key: str) -> Path:
    # A file for each key: processes that remember different trials do not meet, and one that is
    # damaged takes no other with it.
    return cache_directory() / "trials" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
