#!/usr/bin/env python3
"""Draw what trained networks make of test utterances before their last layer, runs side by side.

example:
  pyscripts/plot_embeddings.py --out embeddings.png egs/ravdess/exp/mfcc-tdnn_clean_{none,n+se-cp}_random/fold1/seed0

A run's test set is read from where the run was made. Points are t-SNE's of the embeddings, above coloured by emotion,
below by speaker. The silhouette coefficients that are printed are of the embeddings themselves: 1 where groups lie far
apart, 0 where they lie among each other. A network that keeps emotions and not speakers has a higher one of emotions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.progress import progress
from ser.data.datadir import DataDir
from ser.data.labels import EMOTION_TABLE, SPEAKER_TABLE
from ser.features.directories import require_front_end
from ser.scoring.embeddings import Embeddings, draw_embeddings, silhouette
from ser.scoring.plots import picture_format
from ser.scoring.results import BASELINE
from ser.training.checkpoint import load_model
from ser.training.device import set_up_device
from ser.training.evaluation import embeddings
from ser.training.options import TrainOptions, read_config
from ser.training.run_folder import CONFIG
from ser.training.systems import SYSTEMS


def read_embeddings(run: Path, test: str, data: Path | None, device: str) -> Embeddings:
    """Compute the embeddings of a run's test set, or of the data directory `data`.

    Raises:
        SerError: the run is not trained, is a baseline, or has no such test set; its features are missing or others.
    """
    if not (run / CONFIG).is_file():
        raise SerError(f"{run / CONFIG}: no such file; name the folder of a run, such as exp/<condition>/fold1/seed0")
    options, (_, record) = TrainOptions.read([run / CONFIG]), read_config(run / CONFIG)
    system, tests = SYSTEMS[options.system], record.get("tests") or {}
    if data is None:
        if test not in tests:
            raise SerError(f"{run}: has no test set {test} (it has {', '.join(tests) or 'none'}); choose with --test, "
                           "or name a data directory with --data")
        data = Path(record["work"], tests[test])
    if options.system == BASELINE:
        raise SerError(f"{run}: a support vector machine has no layer before the last; name runs of networks")
    if system.networks[options.network].by_loss:
        raise SerError(f"{run}: its network has no classes, and so no layer before them; name runs of classifiers")
    model, checkpoint = load_model(run / "best.pt", set_up_device(device))
    require_front_end(system.front_end([str(data)]), checkpoint["front_end"], data, run,
                      "name a directory made with those (--data)")
    store = system.load([str(data)], set_up_device(device))
    emotions, speakers = (DataDir(data).table(table) for table in (EMOTION_TABLE, SPEAKER_TABLE))
    utterances = list(store.utterances)
    return Embeddings(titled(run), embeddings(model, store), [emotions[utterance] for utterance in utterances],
                      [speakers[utterance] for utterance in utterances])


def titled(run: Path) -> str:
    """Return `<condition>, fold1/seed0` of a run's folder."""
    parts = run.resolve().parts
    begin = -3 if parts[-2].startswith("fold") else -2
    return f"{parts[begin]}\n{'/'.join(parts[begin + 1 :])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a trained run")
    parser.add_argument("--test", default="test", metavar="NAME",
                        help="which of the runs' test sets, such as test_snr10 (default: test, the clean one)")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="instead, a data directory with features, such as data/fold1/dev_voiced")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("embeddings.png"),
                        help="where the picture goes, .png, .svg or .pdf (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of t-SNE (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    args = parser.parse_args()
    picture_format(args.out)
    found = [read_embeddings(run, args.test, args.data, args.device)
             for run in progress(args.runs, len(args.runs), "embeddings", "run")]
    draw_embeddings(args.out, found, args.seed)
    for run in found:
        of_emotions, of_speakers = (silhouette(run.vectors, groups) for groups in (run.emotions, run.speakers))
        print(f"{' '.join(run.title.split())}: {len(run.vectors)} utterances, silhouette of {len(set(run.emotions))} "
              f"emotions {of_emotions:.3f}, of {len(set(run.speakers))} speakers {of_speakers:.3f}")
    print(f"Figure: {args.out}")


if __name__ == "__main__":
    run_main(main)
