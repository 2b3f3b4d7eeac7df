"""What a LoRA step costs, as a share of full fine-tuning's: its FLOPs by rank, and its time beside them."""
