#!/bin/sh
# check.sh KERNEL: exit 1 where the kernel's bytes are not te's. One JUnit report a case.
set -eu
cases="ties/bf16_values_amax_6 zeros/blocks saturation/outlier random/normal random/wide_range"
nvfp4 golden make -o golden.npz --dialect te --pack ties,zeros,saturation,random --force
status=0
for case in $cases; do
  "$1" golden.npz "$case" || status=1
  nvfp4 golden check --codes codes.bin --scales scales.bin --layout 128x4 --mask padding \
    --input golden.npz --array "$case/input" --dialect te \
    --junit "$(echo "$case" | tr / -).xml" --force || status=1
done
exit $status
