"""Scene graphs and explanations, drawn with matplotlib: import the modules where figures are made, not before."""
