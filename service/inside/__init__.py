"""What the network makes of a picture, and why."""
