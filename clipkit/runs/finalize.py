"""The end of a run: the best weights, WiSE-FT with the base model, model card and report."""

from dataclasses import replace
from pathlib import Path

from clipkit.files import write_text
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.models.wise_ft import (
    Interpolation,
    alphas_to_measure,
    choose_interpolation,
    interpolate_state,
)
from clipkit.runs.build import (
    Inputs,
    identify_towers,
    initial_towers,
    live_encoder,
    tokenizer_json,
)
from clipkit.runs.data import RunData
from clipkit.runs.metrics_log import read_metrics, read_validation
from clipkit.runs.model_card import draft_card
from clipkit.runs.report import FINAL_NAME, TrainingReport, draw_curves, write_report
from clipkit.runs.validation import RETENTION_ACCURACY, Measure
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation

CARD_NAME = "README.md"


def finalize_run(
    config: RunConfig,
    data: RunData,
    measure: Measure,
    checkpoint: Path,
    report: TrainingReport,
) -> TrainingReport:
    """Write the final checkpoint of a run, its report, its curves and the draft of its card.

    Args:
        config: The run, resolved.
        data: Its pairs.
        measure: Validates weights: returns their score and metrics.
        checkpoint: Of the step whose weights are the best.
        report: What is known of the run so far.

    Returns:
        The whole report, which lies in the run's directory too.
    """
    directory = Path(config.output)
    towers = load_towers(DirectorySource(str(checkpoint), checkpoint))
    inputs = Inputs.of(towers)
    start = read_validation(directory, step=0)
    if start == Validation(None, {}):  # its line was deleted from the log
        start = measure(live_encoder(initial_towers(config), inputs, config.compute.device))
    ending = measure(live_encoder(towers, inputs, config.compute.device))
    report = replace(
        report,
        start=start.metrics,
        end=ending.metrics,
        final=ending.metrics,
        bad={**report.bad, **ending.bad},
        num_validated=ending.num_images,
    )
    if config.watch.wise_ft:
        report = _apply_wise_ft(config, measure, towers, (start, ending), report)
    report = replace(report, notes=(*report.notes, *_notes(config, data, report)))
    final = directory / FINAL_NAME
    save_towers(
        towers,
        final,
        tokenizer_json=tokenizer_json(towers, inputs),
        space_id=identify_towers(towers),
    )
    draw_curves(read_metrics(directory), directory / "curves.png")
    write_text(final / CARD_NAME, _card(config, report))
    write_report(report)
    return report


def _apply_wise_ft(
    config: RunConfig,
    measure: Measure,
    towers: Towers,
    ends: tuple[Validation, Validation],
    report: TrainingReport,
) -> TrainingReport:
    """Put the towers at the best interpolation between the initial and the trained weights."""
    base = initial_towers(config).model.state_dict()
    tuned = {
        name: tensor.detach().cpu().clone() for name, tensor in towers.model.state_dict().items()
    }
    inputs = Inputs.of(towers)

    def measure_at(alpha: float) -> Validation:
        towers.model.load_state_dict(interpolate_state(base, tuned, alpha))
        return measure(live_encoder(towers, inputs, config.compute.device))

    is_scored = ends[0].is_scored
    found = {0.0: ends[0]}
    found |= {alpha: measure_at(alpha) for alpha in alphas_to_measure(is_scored=is_scored)}
    if is_scored:
        found[1.0] = ends[1]
    chosen = choose_interpolation(
        [
            Interpolation(alpha, measured.score, measured.metrics.get(RETENTION_ACCURACY))
            for alpha, measured in found.items()
        ],
        max_forgetting=config.watch.max_forgetting,
    )
    towers.model.load_state_dict(interpolate_state(base, tuned, chosen.alpha))
    return replace(
        report,
        alpha=chosen.alpha,
        final=found[chosen.alpha].metrics,
        interpolations=tuple((alpha, measured.metrics) for alpha, measured in found.items()),
    )


def _notes(config: RunConfig, data: RunData, report: TrainingReport) -> list[str]:
    notes = []
    before, after = report.start.get(RETENTION_ACCURACY), report.end.get(RETENTION_ACCURACY)
    if before is not None and after is not None and not config.is_from_scratch:
        lost = before - after
        if lost > config.watch.max_forgetting:
            kept = report.final.get(RETENTION_ACCURACY, after)
            final = "" if kept == after else f" (the final weights are at {kept:.1%})"
            notes.append(
                f"the trained weights forgot: accuracy on the retention set fell from {before:.1%} "
                f"to {after:.1%}{final}. A lower optimizer.lr or fewer epochs forget less"
            )
    if report.alpha == 0:
        notes.append(
            "training was not worth it: no interpolation was better than the base model without "
            "forgetting more than watch.max_forgetting allows, so the final weights are the base "
            "model's"
        )
    if data.validation is None:
        notes.append(
            "nothing was measured, as there are no validation pairs: set data.validation or "
            "data.validation_fraction to know what the model is worth"
        )
    return notes


def _card(config: RunConfig, report: TrainingReport) -> str:
    results = [("start", report.start), ("trained", report.end)]
    if report.alpha is not None:
        results.append((f"final, {report.alpha:g} of the trained", report.final))
    num_pairs = {"training": report.num_pairs}
    if report.num_validated:
        num_pairs["validation"] = report.num_validated
    return draft_card(
        config,
        name=Path(config.output).name,
        num_pairs=num_pairs,
        results=[(name, metrics) for name, metrics in results if metrics],
        facts={
            "steps": f"{report.step} of {report.num_steps} planned",
            "trained weights": _origin(report),
            "hours": f"{report.seconds / 3600:.2f}",
            "pairs that could not be read": len(report.bad),
        },
    )


def _origin(report: TrainingReport) -> str:
    """Return of which step the trained weights are, and why of that one."""
    best = report.best_step or report.step
    return (
        f"those of step {best}, {'the last' if best == report.step else 'the best by validation'}"
    )
