"""What ``clipkit adapt`` writes: the head or the model, the report, the chart and the splits."""

import argparse
from pathlib import Path

from clipkit.adaptation.chart import SOFTWARE, check_chart, draw_chart
from clipkit.adaptation.head import HEAD_FILE, HEAD_NAME, Head
from clipkit.adaptation.head_onnx import MARK as ONNX_MARK
from clipkit.adaptation.head_onnx import check_onnx, head_to_onnx
from clipkit.adaptation.options import LAST_CACHED_STEP, AdaptationOptions
from clipkit.adaptation.pixel_baseline import BASELINE
from clipkit.adaptation.report import AdaptationReport
from clipkit.adaptation.report_text import MARK, report_markdown
from clipkit.adaptation.rung import HEAD_NAMES
from clipkit.cli.outputs import OutputFile
from clipkit.cli.terminal import note, warn
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.paths import expand_home
from clipkit.progress import Callbacks
from clipkit.runs.adapt import fit_head

_HEAD_SUFFIXES = (".safetensors", ".onnx")


class AdaptOutputs:
    """The files that were asked for, each checked before any work.

    Args:
        arguments: As parsed.

    Raises:
        InputError: If one of them cannot be written.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._data = arguments.data
        self._is_forced = arguments.force
        self._head: OutputFile | None = None
        self._model: Path | None = None
        self._check_result(arguments)
        if arguments.chart is not None:
            check_chart(Path(arguments.chart).suffix)
        if arguments.report is not None and Path(arguments.report).suffix.lower() != ".md":
            raise InputError(f"a report is a file that ends in .md, got {arguments.report}")
        self._page = self._file(arguments.report, MARK.encode())
        self._chart = self._file(arguments.chart, SOFTWARE.encode())
        self._splits = self._split_files(arguments)

    def write_report(self, report: AdaptationReport) -> None:
        """Write the report, the chart and the splits, as far as they were asked for."""
        if self._page is not None:
            self._page.write_text(report_markdown(report))
        if self._chart is not None:
            self._chart.write_bytes([draw_chart(report)])
        for file, text in zip(self._splits, report.split_files, strict=False):
            file.write_text([text])

    def write_recommended(
        self,
        encoder: Encoder,
        report: AdaptationReport,
        options: AdaptationOptions,
        callbacks: Callbacks,
    ) -> None:
        """Write the head or the model that a report recommends, if it was asked for."""
        rung = report.recommended
        is_trained = rung in {each.name for each in report.rungs} - {*HEAD_NAMES}
        if self._model is not None and is_trained:
            self._fit_model(encoder, rung, options, callbacks)
        elif report.head is not None:
            if self._head is not None and is_trained:
                warn(
                    f"the head is of {report.head.method}, the best that leaves the model as it "
                    f"is: {rung} trains the model, and is written to a folder, with  clipkit adapt "
                    f"DATA --rung {rung} -o FOLDER"
                )
            if rung == BASELINE and (self._head is not None or self._model is not None):
                warn(
                    "the small model that is recommended is not written, as it is scikit-learn's "
                    "and needs nothing of clipkit (docs/adaptation.md says what it is): the file "
                    f"has the best rung instead, {report.head.method}"
                )
            self._write_head(report.head)

    def write_rung(
        self, encoder: Encoder, rung: str, options: AdaptationOptions, callbacks: Callbacks
    ) -> Head:
        """Fit one rung on all images, write it and return the head of its classes."""
        if self._head is None:
            return self._fit_model(encoder, rung, options, callbacks)
        head = fit_head(encoder, self._data, rung, options, callbacks=callbacks)
        self._write_head(head)
        return head

    def _write_head(self, head: Head) -> None:
        if self._head is not None:
            is_onnx = self._head.path.suffix.lower() == ".onnx"
            self._head.write_bytes([head_to_onnx(head) if is_onnx else head.to_bytes()])
            note(f"it is the head of {head.method}, for {len(head.class_names)} classes")
        elif self._model is not None:
            self._model.mkdir(exist_ok=True)
            place = OutputFile(self._model / HEAD_NAME, lambda begin: False, is_forced=False)
            place.write_bytes([head.to_bytes()])

    def _fit_model(
        self, encoder: Encoder, rung: str, options: AdaptationOptions, callbacks: Callbacks
    ) -> Head:
        from clipkit.runs.adapted_model import fit_model  # needs torch

        assert self._model is not None
        path = fit_model(encoder, self._data, rung, self._model, options, callbacks=callbacks)
        note(f"wrote {path}")
        return Head.load(path / HEAD_NAME)

    def _check_result(self, arguments: argparse.Namespace) -> None:
        """Check where the head or the model shall be written to."""
        output, rung = arguments.output, arguments.rung
        if output is None:
            if rung is not None:
                raise InputError(
                    "--rung fits one rung to write: say where to with -o FILE.safetensors, of "
                    "lora and flyp with -o FOLDER"
                )
            return
        suffix = Path(output).suffix.lower()
        is_file = suffix in _HEAD_SUFFIXES
        if rung is not None and is_file != (rung in HEAD_NAMES):
            wanted = f"a file that ends in {' or '.join(_HEAD_SUFFIXES)}"
            if is_file:
                wanted = "a folder, as it is a model"
            raise InputError(f"{rung} is written to {wanted}, got {output}")
        if is_file:
            if suffix == ".onnx":
                check_onnx()
            mark = ONNX_MARK if suffix == ".onnx" else HEAD_FILE.mark
            self._head = self._file(output, mark.encode())
            return
        if rung is None and arguments.steps <= LAST_CACHED_STEP:
            raise InputError(
                f"a head is a file that ends in {' or '.join(_HEAD_SUFFIXES)}, got {output}; a "
                "folder is for what --steps 5 or 6 recommends"
            )
        from clipkit.runs.adapted_model import check_model_output

        self._model = expand_home(output).absolute()
        check_model_output(self._model)

    def _file(self, path: str | None, mark: bytes) -> OutputFile | None:
        if path is None:
            return None
        return OutputFile(Path(path), lambda head: mark in head, self._is_forced).checked()

    def _split_files(self, arguments: argparse.Namespace) -> list[OutputFile]:
        """Return the files of the splits; none if they are not asked for."""
        if arguments.save_splits is None:
            return []
        folder = Path(arguments.save_splits)
        names = [
            f"seed-{seed}.json" for seed in range(arguments.seed, arguments.seed + arguments.splits)
        ]
        return [
            OutputFile(
                folder / name, lambda head: head.startswith(b'{"train": [['), self._is_forced
            ).checked()
            for name in names
        ]
