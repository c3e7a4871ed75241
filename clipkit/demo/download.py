"""Files for a browser's downloads: they go with the answer, so nothing lies on a disk here."""

import base64

import gradio as gr

from clipkit.demo.web_component import web_component

File = dict[str, str]
"""What the component takes."""


def download(elem_id: str) -> gr.HTML:
    """Return a component without a look that hands its value to the browser's downloads."""
    return web_component("download", elem_id=elem_id)


def text_file(name: str, content_type: str, text: str) -> File:
    """Return a text as a file."""
    return {"name": name, "type": content_type, "text": text}


def binary_file(name: str, content: bytes) -> File:
    """Return bytes as a file."""
    encoded = base64.b64encode(content).decode("ascii")
    return {"name": name, "type": "application/octet-stream", "base64": encoded}
