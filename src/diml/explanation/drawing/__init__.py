"""Pictures of explanations, hits and matches, drawn with matplotlib: PNG, SVG and PDF."""
