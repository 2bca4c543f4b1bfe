# Sourced by check: runs lanes, counts their tests, and remembers what passed.

results=build/check  # JUnit files, the running lane's tally, and a stamp for each program that passed
passed=0 failed=0 skipped=0
rows=() left_to_full=() not_run=()

# tally PASSED FAILED SKIPPED: adds to the running lane's counts.
tally() { echo "$@" >>"$results/tally"; }

# lane_not_run REASON: for a lane that this machine cannot run.
lane_not_run() {
  echo "not run: $1"
  echo "$1" >>"$results/not_run"
  tally 0 0 1
}

# run_lane NAME BUDGET_MINUTES COMMAND...: a failing lane does not stop the others.
run_lane() {
  local name=$1 budget=$2 started=$SECONDS status=0
  shift 2
  printf '\n=== %s\n' "$name"
  rm -f "$results"/tally "$results"/not_run
  set +e  # a subshell in a condition would lose errexit
  (set -e; "$@")
  status=$?
  set -e
  account "$name" "$budget" "$((SECONDS - started))" "$status"
}

# Adds a finished lane to the totals; one that broke before any test failed counts as one failure.
account() {
  local p=0 f=0 s=0 a b c reason
  touch "$results"/tally "$results"/not_run
  while read -r a b c; do p=$((p + a)) f=$((f + b)) s=$((s + c)); done <"$results/tally"
  while read -r reason; do not_run+=("$1: $reason"); done <"$results/not_run"
  if [ "$4" != 0 ] && [ "$f" = 0 ]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  rows+=("$(printf '%-20s %5d.%d %7s %7d %7d %8d' "$1" $(($3 / 60)) $(($3 % 60 / 6)) "$2" "$p" "$f" "$s")")
}

# build PRESET [TARGET...]; how much of the GPU's machine code is `code`, an option of CMake.
build() {
  local preset=$1
  shift
  cmake --preset "$preset" "$code" --log-level=WARNING >/dev/null
  cmake --build --preset "$preset" ${1:+--target "$@"}
}

# run_tests BUILD_FOLDER [CTEST_ARGUMENT...]: runs and counts them; that there are none is a failure.
run_tests() {
  local folder=$1 status=0 junit
  junit=$PWD/$results/$(basename "$folder").xml
  shift
  rm -f "$junit"
  ctest --test-dir "$folder" --no-tests=error --output-on-failure -j "$(nproc)" --output-junit "$junit" "$@" || status=$?
  [ -f "$junit" ] && count_junit "$junit"
  return $status
}

count_junit() {
  local tests failures disabled skips
  number() { grep -o -m1 "$1=\"[0-9]*\"" "$2" | grep -o '[0-9]*'; }
  tests=$(number tests "$1") failures=$(number failures "$1")
  disabled=$(number disabled "$1") skips=$(number skipped "$1")
  tally $((tests - failures - disabled - skips)) "$failures" $((disabled + skips))
  { grep -o 'not run: .*' "$1" || true; } | sed 's/^not run: //' | sort -u >>"$results/not_run"
}

# count_pytest JUNIT: pytest's own form, which counts errors beside failures, and says why a module was left out in the
# text of a skip.
count_pytest() {
  python3 - "$1" "$results/not_run" <<'END' >>"$results/tally"
import re, sys, xml.etree.ElementTree as tree
suite = next(tree.parse(sys.argv[1]).iter("testsuite"))
count = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
failed = count["failures"] + count["errors"]
print(count["tests"] - failed - count["skipped"], failed, count["skipped"])
skips = "\n".join(skip.get("message", "") + "\n" + (skip.text or "") for skip in suite.iter("skipped"))
with open(sys.argv[2], "a") as reasons:
    reasons.writelines(f"{reason}\n" for reason in sorted(set(re.findall(r"not run: ([^'\"\n]*)", skips))))
END
}

# unless_unchanged NAME FILE_OR_FOLDER... -- COMMAND...: leaves out what passed with these same bytes on
# this same processor before.
unless_unchanged() {
  local stamp="$results/passed-${1// /-}" files=() now
  shift
  while [ "$1" != -- ]; do files+=("$1") && shift; done
  shift
  now=$(fingerprint "${files[@]}")
  if [ "$(head -1 "$stamp" 2>/dev/null)" = "$now" ]; then
    echo "unchanged since it passed: not run again"
    echo "unchanged since it passed" >>"$results/not_run"
    tally 0 0 "$(tail -1 "$stamp")"
    return
  fi
  "$@"
  { echo "$now"; awk '{passed += $1} END {print passed}' "$results/tally"; } >"$stamp"
}

fingerprint() {
  { grep -m1 'model name' /proc/cpuinfo || true; find "$@" -type f | sort | xargs -d '\n' sha256sum; } | sha256sum
}

# tests_of BUILD_FOLDER LABEL...: the names of the tests that bear all of these labels.
tests_of() {
  local folder=$1
  shift
  ctest --test-dir "$folder" -N $(printf -- '-L ^%s$ ' "$@") | sed -n 's/^ *Test *#[0-9]*: //p'
}

summary() {
  printf '\n%-20s %7s %7s %7s %7s %8s\n' lane minutes budget passed failed skipped
  printf '%s\n' "${rows[@]}"
  [ ${#left_to_full[@]} = 0 ] || printf 'left to --full: %s\n' "${left_to_full[@]}"
  [ ${#not_run[@]} = 0 ] || printf 'not run: %s\n' "${not_run[@]}"
  echo
  echo "$passed passed, $failed failed, $skipped skipped"
}
