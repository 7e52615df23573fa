"""Data sets: finding, fetching, unpacking and reading them; labelled and captioned pictures."""
