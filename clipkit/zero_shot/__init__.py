"""Zero-shot classification: class names and prompt templates in, ranked labels out."""
