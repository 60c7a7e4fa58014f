"""The embedded corpus: a small speech synthesiser, its speakers and sentences, and noise and music to go with them.

Imports run one way: `randomness` ← `voice` ← `speakers`, `sentences` ← `corpus`, `musan` ← `units`.
"""
