"""Emoji across designers: the same emoji, drawn by four designers."""
