"""The paper's tables, measured anew: what to train for them, what came out, and the page that shows it."""
