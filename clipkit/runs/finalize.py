"""The end of a run: the best weights, WiSE-FT with the base model, model card and report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clipkit.files import write_text
from clipkit.models.checkpoint import save_towers
from clipkit.models.lora import scale_lora
from clipkit.models.lora_info import LORA_NAME
from clipkit.models.public_name import FINAL_NAME
from clipkit.models.towers import Towers
from clipkit.models.wise_ft import alphas_to_measure, interpolate_state
from clipkit.runs.build import (
    Inputs,
    identify_towers,
    initial_towers,
    live_encoder,
    tokenizer_json,
    trained_towers,
)
from clipkit.runs.data import RunData
from clipkit.runs.metrics_log import read_metrics, read_validation
from clipkit.runs.model_card import draft_card
from clipkit.runs.report import TrainingReport, draw_curves, trained_share, write_report
from clipkit.runs.validation import Measure
from clipkit.runs.verdict import Candidate, choose
from clipkit.runs.verdict_notes import NOTHING_MEASURED, intervals, verdict_notes
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
    towers = trained_towers(config, checkpoint)
    inputs = Inputs.of(towers)
    start = read_validation(directory, step=0)
    if not config.is_from_scratch or report.extensions or start == Validation(None, {}):
        # The log has no values of single images, and it may have been deleted, or be of images that
        # were measured on before an extension.
        start = measure(live_encoder(initial_towers(config), inputs, config.compute.device))
    end = measure(live_encoder(towers, inputs, config.compute.device))
    report = replace(
        report,
        start=start.metrics,
        end=end.metrics,
        final=end.metrics,
        intervals=intervals(end),
        bad={**report.bad, **end.bad},
        num_validated=end.num_images,
    )
    candidates = [Candidate(0.0, start), Candidate(1.0, end)]
    if config.watch.wise_ft:
        candidates, alpha = _interpolated(config, measure, towers, candidates)
        report = _with_interpolation(report, candidates, alpha)
    if not config.is_from_scratch:
        report = replace(
            report,
            notes=(*report.notes, *verdict_notes(config, candidates, end, report, checkpoint)),
        )
    if data.validation is None:
        report = replace(report, notes=(*report.notes, NOTHING_MEASURED))
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


def _interpolated(
    config: RunConfig, measure: Measure, towers: Towers, ends: Sequence[Candidate]
) -> tuple[list[Candidate], float]:
    """Return what lies between the base model and the trained weights, measured, by rising alpha.

    The towers are left at the share of the trained weights that the verdict chooses, which is
    returned too.
    """
    set_alpha = _interpolation(config, towers)
    inputs = Inputs.of(towers)
    start, end = ends
    is_scored = start.validation.is_scored
    candidates = [start]
    for alpha in alphas_to_measure(is_scored=is_scored):
        set_alpha(alpha)
        measured = measure(live_encoder(towers, inputs, config.compute.device))
        candidates.append(Candidate(alpha, measured))
    if is_scored:
        candidates.append(end)
    alpha = choose(candidates, max_forgetting=config.watch.max_forgetting).alpha
    set_alpha(alpha)
    return candidates, alpha


def _interpolation(config: RunConfig, towers: Towers) -> Callable[[float], None]:
    """Return a function that gives trained towers a share of what was trained, 0 to 1."""
    if towers.lora is not None:
        return lambda alpha: scale_lora(towers, alpha)
    base = initial_towers(config).model.state_dict()
    tuned = {
        name: tensor.detach().cpu().clone() for name, tensor in towers.model.state_dict().items()
    }
    return lambda alpha: towers.model.load_state_dict(interpolate_state(base, tuned, alpha))


def _with_interpolation(
    report: TrainingReport, candidates: Sequence[Candidate], alpha: float
) -> TrainingReport:
    chosen = next(found.validation for found in candidates if found.alpha == alpha)
    return replace(
        report,
        alpha=alpha,
        final=chosen.metrics,
        intervals=intervals(chosen),
        interpolations=tuple((found.alpha, found.validation.metrics) for found in candidates),
    )


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
            **_adapted(config, report),
            "hours": f"{report.seconds / 3600:.2f}",
            "pairs that could not be read": len(report.bad),
        },
    )


def _adapted(config: RunConfig, report: TrainingReport) -> dict[str, str]:
    """Return what was trained, by the name of the fact."""
    model, facts = config.model, {}
    if report.num_parameters:
        facts["of the weights"] = trained_share(report.num_trained, report.num_parameters)
    if model.lora_rank:
        facts["LoRA"] = (
            f"rank {model.lora_rank}, alpha {model.lora_alpha:g}, {' and '.join(model.lora_of)} "
            f"encoder; {LORA_NAME} has the adapters alone"
        )
    return facts


def _origin(report: TrainingReport) -> str:
    """Return of which step the trained weights are, and why of that one."""
    best = report.best_step or report.step
    return (
        f"those of step {best}, {'the last' if best == report.step else 'the best by validation'}"
    )
