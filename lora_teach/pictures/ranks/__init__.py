"""What rank buys: for several tasks, how much of full fine-tuning's gain each rank has."""
