#!/usr/bin/env python3
"""Deal the 91 actors of CREMA-D into train, dev and test: the rule behind ../conf/split.txt, which it prints.

Men and women are dealt separately, 27 + 24 to train, 4 + 4 to dev and 17 + 15 to test, from the youngest to the
oldest. The next actor goes to the set that is furthest behind its share, so the sets have similar ages. Nothing is
random. The table of actors is the corpus's own VideoDemographics.csv.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from ser.base.errors import SerError, run_main

SHARES = {"Male": {"train": 27, "dev": 4, "test": 17}, "Female": {"train": 24, "dev": 4, "test": 15}}


def deal(actors: list[str], shares: dict[str, int]) -> dict[str, list[str]]:
    """Spread `actors` over the sets in the order given; `shares` are the sizes and add up to their number."""
    hands: dict[str, list[str]] = {name: [] for name in shares}
    for dealt, actor in enumerate(actors, 1):
        behind = max(shares, key=lambda name: shares[name] * dealt / len(actors) - len(hands[name]))
        hands[behind].append(actor)
    return hands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demographics", type=Path, help="VideoDemographics.csv")
    path = parser.parse_args().demographics
    sets: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for sex, shares in SHARES.items():
        try:
            actors = sorted((int(row["Age"]), row["ActorID"]) for row in rows if row["Sex"] == sex)
        except (KeyError, ValueError, TypeError) as error:
            raise SerError(f"{path}: not CREMA-D's table of ActorID, Age and Sex ({error})") from None
        if len(actors) != sum(shares.values()):
            raise SerError(f"{path}: {len(actors)} actors are {sex}, the shares are for {sum(shares.values())}")
        for name, hand in deal([actor for _, actor in actors], shares).items():
            sets[name] += hand
    for name, actors in sets.items():
        print(name, *sorted(actors))


if __name__ == "__main__":
    run_main(main)
