"""The end of a run: best weights, WiSE-FT with the base model, model card and report."""

from dataclasses import replace
from pathlib import Path

from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.models.wise_ft import average_state
from clipkit.runs.build import (
    Inputs,
    identify_towers,
    live_encoder,
    start_towers,
    tokenizer_json,
)
from clipkit.runs.data import RunData
from clipkit.runs.metrics_log import read_metrics, read_validation
from clipkit.runs.model_card import draft_card
from clipkit.runs.report import FINAL_NAME, TrainingReport, draw_curves, write_report
from clipkit.runs.validation import TRIPWIRE, Measure
from clipkit.runs.wise_ft import ALPHAS, PUBLISHED_ALPHA, Mixture, choose_mixture
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation

CARD_NAME = "README.md"


def end_run(
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
        measure: What the weights are measured by.
        checkpoint: Of the step whose weights are the best.
        report: What is known of the run so far.

    Returns:
        The whole report, which lies in the run's directory too.
    """
    directory = Path(config.output)
    towers = load_towers(DirectorySource(str(checkpoint), checkpoint))
    inputs = Inputs.of(towers)
    start = read_validation(directory, step=0)
    if start == Validation(None, {}):  # somebody has deleted it
        start = measure(live_encoder(start_towers(config), inputs, config.compute.device))
    ending = measure(live_encoder(towers, inputs, config.compute.device))
    report = replace(
        report,
        start=start.metrics,
        end=ending.metrics,
        final=ending.metrics,
        bad={**report.bad, **ending.bad},
        num_validated=ending.num_images,
    )
    if config.watch.average_with_start:
        report = _mix(config, measure, towers, (start, ending), report)
    report = replace(report, notes=(*report.notes, *_notes(config, data, report)))
    final = directory / FINAL_NAME
    save_towers(
        towers,
        final,
        tokenizer_json=tokenizer_json(towers, inputs),
        space_id=identify_towers(towers),
    )
    draw_curves(read_metrics(directory), directory / "curves.png")
    (final / CARD_NAME).write_text(_card(config, report), encoding="utf-8")
    write_report(report)
    return report


def _mix(
    config: RunConfig,
    measure: Measure,
    towers: Towers,
    ends: tuple[Validation, Validation],
    report: TrainingReport,
) -> TrainingReport:
    """Put the towers at the best place between start and end."""
    start = start_towers(config).model.state_dict()
    end = {
        name: tensor.detach().cpu().clone() for name, tensor in towers.model.state_dict().items()
    }
    inputs = Inputs.of(towers)

    def put(alpha: float) -> None:
        towers.model.load_state_dict(average_state(start, end, alpha))

    def measure_at(alpha: float) -> Validation:
        put(alpha)
        return measure(live_encoder(towers, inputs, config.compute.device))

    start_mixture, end_mixture = Mixture(0.0, ends[0]), Mixture(1.0, ends[1])
    if ends[0].is_scored:
        between = [Mixture(alpha, measure_at(alpha)) for alpha in ALPHAS[1:-1]]
        mixtures = [start_mixture, *between, end_mixture]
    else:
        half = [alpha for alpha in ALPHAS[1:] if alpha < PUBLISHED_ALPHA] + [PUBLISHED_ALPHA]
        mixtures = [start_mixture, *(Mixture(alpha, measure_at(alpha)) for alpha in half)]
    chosen = choose_mixture(mixtures, max_forgetting=config.watch.max_forgetting)
    put(chosen.alpha)
    return replace(
        report,
        alpha=chosen.alpha,
        final=chosen.validation.metrics,
        mixtures=tuple((mixture.alpha, mixture.validation.metrics) for mixture in mixtures),
    )


def _notes(config: RunConfig, data: RunData, report: TrainingReport) -> list[str]:
    notes = []
    before, after = report.start.get(TRIPWIRE), report.end.get(TRIPWIRE)
    if before is not None and after is not None and not config.is_from_scratch:
        lost = before - after
        if lost > config.watch.max_forgetting:
            kept = report.final.get(TRIPWIRE, after)
            final = "" if kept == after else f" (the final weights are at {kept:.1%})"
            notes.append(
                f"the trained weights forgot: accuracy on the reference set fell from {before:.1%} "
                f"to {after:.1%}{final}. A lower optimizer.lr or fewer epochs forget less"
            )
    if report.alpha == 0:
        notes.append(
            "training was not worth it: no mixture was better than the start without forgetting "
            "more than watch.max_forgetting allows, so the final weights are the start's"
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
            "steps": f"{report.best_step} of {report.num_steps} planned",
            "hours": f"{report.seconds / 3600:.2f}",
            "pairs that could not be read": len(report.bad),
        },
    )
