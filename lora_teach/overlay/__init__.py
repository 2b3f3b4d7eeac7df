"""What LoRAModel leans on: targets, merging, modules under dotted names."""
