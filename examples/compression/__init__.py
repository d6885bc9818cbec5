"""Image codecs, compared by what they leave of the meaning."""
