"""The library behind the command-line programs in `pyscripts/`, one module per noun.

Imports run one way, each row using those above it:

    errors, files, progress, tables                 the ground
    processes, jobs, slurm, status                  jobs, here and on a cluster
    arks, audio, datadir, download, corpus, speakers    data as they lie on disk
    noise, frontend, featurejobs                    audio to features
    copypaste, options, labels, packed, store       features to batches
    device, distributed, model, checkpoint, evaluation, training    batches to a network
    scoring, verification, significance, results, plots, reporting, grid    a network to tables
"""
