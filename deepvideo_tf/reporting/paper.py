"""The numbers of the paper's tables; percentages as fractions of 1."""

# Table 1, on 200,000 test videos of Sports-1M (section 4.1): clip Hit@1, video Hit@1, video Hit@5.
TABLE_1 = {
    "feature_histograms": (None, 0.553, None),
    "single_frame": (0.411, 0.593, 0.777),
    "multires": (0.424, 0.600, 0.785),
    "fovea": (0.300, 0.499, 0.728),
    "context": (0.381, 0.560, 0.772),
    "early_fusion": (0.389, 0.577, 0.768),
    "late_fusion": (0.407, 0.593, 0.787),
    "slow_fusion": (0.419, 0.609, 0.802),
    "average": (0.414, 0.639, 0.824),
}
AVERAGED = ("single_frame", "early_fusion", "late_fusion", "slow_fusion")  # of which the row "CNN average" is the mean

# Table 2, first and last row: the average precision of slow fusion minus the single frame's.
TABLE_2_LARGEST_GAIN, TABLE_2_LARGEST_LOSS = ("juggling club", 0.12), ("short track motor racing", -0.07)

# Table 3, accuracy on UCF-101, mean of three folds (section 4.2).
TABLE_3 = {
    "feature_histograms": 0.590,
    "scratch": 0.413,
    "top": 0.641,
    "top3": 0.654,
    "all": 0.622,
}

# Table 4, mean average precision by group of UCF-101's classes; the last row is the mean over all classes.
TABLE_4_MODES = ("scratch", "top3", "top")
TABLE_4 = {
    "Human-Object Interaction": (0.26, 0.55, 0.52),
    "Body-Motion Only": (0.32, 0.57, 0.52),
    "Human-Human Interaction": (0.40, 0.68, 0.65),
    "Playing Musical Instruments": (0.42, 0.65, 0.46),
    "Sports": (0.57, 0.79, 0.80),
    "all": (0.44, 0.68, 0.66),
}

# Clips a second of training in one replica (section 3.2): with the full frame, with two resolutions.
SPEED_CLIPS_PER_S = {"single_frame": (6, 21), "slow_fusion": (5, 10)}
SPEED_UP = {"single_frame": 3.5, "slow_fusion": 2.0}
