"""Where the next configuration comes from; the only package that imports Optuna."""
