"""The library behind the command-line programs in `pyscripts/`, one module per noun.

Imports run one way, each row using those above it:

    errors, files, progress, tables, jobs           the ground
    arks, audio, datadir, download, corpus          data as they lie on disk
    noise, frontend, featurejobs                    audio to features
    copypaste, options, labels, store               features to batches
    model, checkpoint, evaluation, training         batches to a network
    scoring, significance, results, plots, reporting    a network to tables
"""
