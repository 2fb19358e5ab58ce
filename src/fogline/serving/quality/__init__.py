"""How a served model fares: drift, confidence, accuracy, and samples worth keeping."""
