"""The paper's baseline: histograms of hand-made features and a neural net (section 4.1)."""
