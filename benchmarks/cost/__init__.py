"""What scoring takes: time and memory."""
