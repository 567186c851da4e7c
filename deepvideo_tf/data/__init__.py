"""From video files to shards of frames to full batches."""
