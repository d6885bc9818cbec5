"""What the package costs, and whether its scores can be trusted."""
