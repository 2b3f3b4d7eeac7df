"""Freezing watched: the largest change of every parameter over some steps of training, exactly zero set apart."""
