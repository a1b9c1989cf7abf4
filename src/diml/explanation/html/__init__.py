"""HTML pages of explanations and hits: one file each, which requests nothing."""
