"""The small model: encoding rows to tensors, LoRA, training and answering."""
