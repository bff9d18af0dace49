"""Models of boosted trees: XGBoost and LightGBM, each with a reader of its own, and what they share."""
