"""Classification by prompting: class names and templates in, ranked labels out."""
