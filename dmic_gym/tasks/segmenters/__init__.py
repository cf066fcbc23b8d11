"""From an image to a vessel mask and its Dice; knows nothing of codecs or agents."""
