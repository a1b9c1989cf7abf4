"""DINOv2-S/14 from a package, for measurements of vision transformers."""
