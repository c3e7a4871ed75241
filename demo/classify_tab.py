"""The tab that says which label fits a picture."""

from pathlib import Path

import gradio as gr

import clipkit

LABELS = "cat, dog, bird, boat, castle, cup of coffee, flower, mountain"


def build(encoder: clipkit.Encoder, folder: Path) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        encoder: The model.
        folder: Where example pictures come from.
    """

    def classify(picture: str | None, labels: str, is_independent: bool) -> dict[str, float]:  # noqa: FBT001 - Gradio calls by position
        if picture is None:
            raise gr.Error("Give a picture first: upload one, or take an example", duration=6)
        names = [name for name in labels.split(",") if name.strip()]
        try:
            classifier = clipkit.ZeroShotClassifier(encoder, names, multi_label=is_independent)
            (ranked,) = classifier.classify([picture])
        except clipkit.ClipkitError as error:
            raise gr.Error(str(error)) from error
        return {item["label"]: item["score"] for item in ranked}

    with gr.Row():
        with gr.Column():
            picture = gr.Image(type="filepath", label="Picture", elem_id="picture", height=320)
            labels = gr.Textbox(LABELS, label="Labels, separated by commas", elem_id="labels")
            is_independent = gr.Checkbox(label="Several may apply, or none")
            button = gr.Button("Classify", variant="primary", elem_id="classify")
        scores = gr.Label(label="Which fits", num_top_classes=8, elem_id="scores")
    examples = [[str(path)] for path in sorted(folder.glob("*.jpg"))[:8]]
    if examples:
        gr.Examples(examples, inputs=[picture], label="Try")
    inputs = [picture, labels, is_independent]
    gr.on([button.click, labels.submit], classify, inputs, scores, api_name="classify")
