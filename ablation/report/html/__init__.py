"""``ablate report``: the evidence of a grid as one self-contained page, and its figures as pictures."""
