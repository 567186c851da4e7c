"""The first weights of a model: another run's, or random ones fitted to the first clips."""
