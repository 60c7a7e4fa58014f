"""The library behind the command-line programs in `pyscripts/`, in rooms.

A module uses its own room and those below it, never one above (tests/test_rooms.py checks that):

    apps        what users import: a recogniser on a file (ser.predict)
    jobs        job runners, Slurm, the state of runs
    training    the loop, its options, checkpoints, several processes, evaluation
    scoring     metrics, predictions, verification, significance, tables and figures
    features    what a network reads: MFCC, noise mixing, packed features
    augment     what decides on numbers alone: CopyPaste plans
    nets        networks and their layers
    data        Kaldi data directories, arks, audio, labels, lists of corpora
    base        files, errors, progress, Kaldi's text tables, downloads, processes
"""

ROOMS = ("base", "data", "nets", "augment", "features", "scoring", "training", "jobs", "apps")
