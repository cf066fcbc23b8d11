"""What has to survive the coding: data, segmenters, metrics. Knows no codec and no agent."""
