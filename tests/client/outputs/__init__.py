"""What the rows become."""
