"""Where work is done: engines, resumable jobs, worker processes."""
