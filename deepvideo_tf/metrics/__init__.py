"""Hit@k, average precision and their bootstrap intervals."""
