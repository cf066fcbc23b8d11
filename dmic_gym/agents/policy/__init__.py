"""The DMIC policy: network, weights, cards, partial freeze."""
