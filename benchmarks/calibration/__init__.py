"""Numbers that ship with a preset, measured anew."""
