"""What an effect computes: the fold of a round, an aggregator's models, blocks of large ones, a device's round."""
