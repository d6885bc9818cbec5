"""Whether scores follow meaning, the released code and people."""
