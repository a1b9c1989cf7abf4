"""Furniture: textured 3-D models seen from several sides, with masks and exact correspondences."""
