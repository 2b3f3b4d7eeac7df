"""The two lives of alpha: multiplied before training, or after it."""
