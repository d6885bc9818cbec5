"""A learned codec of CompressAI, validated by what is left of the meaning, and drawn beside JPEG and WebP."""
