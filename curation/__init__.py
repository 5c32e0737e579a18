"""The domain: labels, masks as run lengths, census, merge rules, quality, metrics, queries. Values in, values out."""
