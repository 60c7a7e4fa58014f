"""The embedded corpus: a small speech synthesiser, its speakers and sentences, and noise and music to go with them.

A module may import those before it: `randomness`, `voice`, `speakers`, `sentences`, `corpus` and `musan`, `units`.
"""
