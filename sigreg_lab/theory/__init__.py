"""What is known exactly, each with its derivation and an independent test."""
