"""The loss, the optimizer and the learning rate of a run (section 3.3)."""
