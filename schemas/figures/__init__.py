"""Figures: arrays and frames in, matplotlib Axes out."""
