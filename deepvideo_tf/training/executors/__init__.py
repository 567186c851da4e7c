"""Where the steps of training are computed."""
