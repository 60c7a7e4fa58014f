#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# The mini recipe: CopyPaste from audio to table on a synthetic corpus that the recipe makes itself, in minutes.
#
# Needs no data and no network once the requirements are installed. README.md says what the corpus is, and what it is
# not: a demonstration of the recipe, no evidence about people.
recipe=mini
task=emotion
emotions="angry happy neutral sad"
folds=""
scheme="none n+se-cp"
corpus_dir=
musan_dir=data/local/musan
data_options=""
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
