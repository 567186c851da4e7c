"""Files on a disk or in a bucket: paths, staged writes, locks."""
