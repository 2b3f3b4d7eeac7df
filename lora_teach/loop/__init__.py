"""What the training loop leans on: batches, random numbers, rollback, checkpoints, several processes, CUDA graphs."""
