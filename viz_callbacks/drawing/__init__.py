"""Tensors to pixels, pixels to sheets."""
