"""Queries ready to use and to refine: DataJoint expressions and frames, nothing is inserted."""
