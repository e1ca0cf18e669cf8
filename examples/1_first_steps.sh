#!/usr/bin/env bash
# From nothing to a distilled student, command by command.
#
#     bash examples/1_first_steps.sh
set -euo pipefail

folder=$(mktemp -d)
cd "$folder"
tdspec init                                        # writes digits.yaml and the spec of its teacher
tdspec validate digits.yaml digits_teacher.yaml    # quick: TensorFlow is not loaded
tdspec layers digits.yaml --side student           # where the student can be cut
tdspec compile digits.yaml                         # plan and picture, without weights or data
# Trains what was compiled, its teacher first, and then the same student without a teacher.
tdspec train --control --set train.epochs=20 | tee train.log
run=$(tail -n 1 train.log)                         # the last line is the run folder
tdspec evaluate "$run" --split test
echo "look at $folder/$run/report.html"
