"""What this machine can do: probed once, then judged by pure functions."""
