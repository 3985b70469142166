"""What a connection is made of: how it holds, answers, ends, and is watched."""
