"""What the servers of clipkit stand on: where they listen, and under which names."""
