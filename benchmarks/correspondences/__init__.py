"""Correspondences: pairs of photographs of one scene, with points that others measured to correspond."""
