"""The part of the tab Model that audits: does the model treat groups of images differently?"""

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

import clipkit
from clipkit.demo.audit_table import MAX_BYTES, WRITTEN, AuditTable, read_audit_table
from clipkit.demo.messages import refuse
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.step_progress import Step, told_steps
from clipkit.demo.web_component import QUIET, web_component

MAX_QUERIES = 20
ABOUT = (
    "How often images of each group are classified right, who is found by your searches, and what "
    "groups are associated with, as `clipkit audit` tells. **Groups are those in your table**, "
    "never guessed: a CSV with a column `path` (inside the folder), one or more columns with the "
    "group of each image, and `label` if classes are known. Groups of fewer than 20 images have no "
    "figures. The same in a terminal: `clipkit audit people.csv --group gender -o audit.html`."
)
TOO_LARGE = (
    f"up to {MAX_BYTES // 1000} kB here; clipkit audit TABLE --group COLUMN takes one of any size"
)


class ModelAudit:
    """What the events of this part do.

    Args:
        library: An indexed folder, of whose images a table may be.
        encoder: The model.
        queue: The queue for the model.
    """

    def __init__(
        self, library: clipkit.PhotoLibrary, encoder: clipkit.Encoder, queue: ModelQueue
    ) -> None:
        self._library = library
        self._encoder = encoder
        self._queue = queue

    async def audit(
        self, table: str | None, queries: str | None, request: gr.Request
    ) -> AsyncIterator[tuple[Step, Any]]:
        """Audit the model on the images of a table, and show the report."""
        asked = [line.strip() for line in (queries or "").splitlines() if line.strip()]
        if len(asked) > MAX_QUERIES:
            raise refuse(f"Up to {MAX_QUERIES} searches at a time, got {len(asked)}")
        try:
            read = read_audit_table(table or "", self._library)
        except clipkit.ClipkitError as error:
            raise refuse(str(error)) from error

        def work(tell: Callable[[Step], None]) -> str:
            return self._audit(read, tuple(asked), tell)

        job = self._queue.start(request.session_hash, work, kind="audit")
        try:
            async for step in job:
                yield step, gr.skip()
        except clipkit.ClipkitError as error:
            yield {"told": "", "share": None}, gr.skip()
            raise refuse(str(error)) from error
        if not job.is_replaced:
            told = f"{read.num_images:,} images."
            if read.num_unknown:
                told += f" Left out: {read.num_unknown:,} whose image is not in this library."
            yield {"told": told, "share": None}, job.result

    def _audit(
        self, table: AuditTable, queries: tuple[str, ...], tell: Callable[[Step], None]
    ) -> str:
        options = clipkit.AuditOptions(
            group_columns=table.group_columns,
            label_column=table.label_column,
            layout=clipkit.PairLayout(image_column=WRITTEN),
            queries=queries,
        )
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "table.csv"
            file.write_text(table.text, encoding="utf-8")
            report = clipkit.audit(self._encoder, file, options, callbacks=told_steps(tell))
        tell({"told": "Drawing the report …", "share": None})
        return clipkit.audit_page(report)


def build(library: clipkit.PhotoLibrary, encoder: clipkit.Encoder, queue: ModelQueue) -> None:
    """Add this part to the tab that is being built, of a page for this machine.

    Args:
        library: An indexed folder.
        encoder: The model.
        queue: The queue for the model.
    """
    events = ModelAudit(library, encoder, queue)
    with gr.Accordion(
        "Does it treat groups of images differently?", open=False, elem_id="auditing"
    ):
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(min_width=260):
                table = web_component(
                    "table_file", "", elem_id="audit-table", max_bytes=MAX_BYTES,
                    title="Choose or drop a table (CSV)", too_large=TOO_LARGE,
                )  # fmt: skip
            with gr.Column(min_width=260):
                queries = gr.Textbox(
                    label="Searches to audit", info="One a line; may be empty", lines=2,
                    max_lines=8, placeholder="a photo of a doctor", elem_id="audit-queries",
                )  # fmt: skip
        button = gr.Button("Audit", elem_id="audit")
        told = web_component("progress_line", elem_id="audit-told")
        page = web_component("report_frame", elem_id="audit-page", file="audit.html")
        button.click(events.audit, [table, queries], [told, page], **QUIET)
