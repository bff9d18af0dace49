"""What is said of a comparison: findings, each decided once."""
