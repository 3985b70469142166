"""What is to be recognised."""
