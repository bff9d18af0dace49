"""Models of boosted trees: XGBoost, LightGBM and CatBoost, each with a reader of its own, and what they share."""
