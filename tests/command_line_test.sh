#!/bin/bash
# The program as a user meets it: what it prints, its exit codes, and what it leaves on the disk when things go wrong.

set -u
pipeline=$1
failures=0
out=$TEST_TMPDIR/out
export BUILD_WORKING_DIRECTORY=$PWD

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# run WANTED_EXIT_CODE WANTED_TEXT ARGUMENT...: the text (a fixed string) must be in what is printed.
run() {
  local wanted_code=$1 wanted_text=$2
  shift 2
  local output code
  output=$("$pipeline" "$@" 2>&1)
  code=$?
  [[ $code -eq $wanted_code ]] || fail "exit code $code instead of $wanted_code: $*"$'\n'"$output"
  [[ $output == *"$wanted_text"* ]] || fail "no \"$wanted_text\": $*"$'\n'"$output"
}

half_written() { find "$TEST_TMPDIR" -name '.lowbit-*'; }

sweep=configs/bit_width_sweep.textproto
quick=(--config=configs/resnet20_w4a32_min_max.textproto --output_dir="$out" --set steps[1].fold.check_images=0
       --set steps[0].evaluate.max_images=64 --set steps[3].evaluate.max_images=64)

# ---- What it says of itself ----
run 0 '--config' --help
run 0 'per_channel    options: lowbit.PerChannelOptions' --list
run 0 'sweep   bits = 2, 4, 8, 16; the first 3 steps are done once for all' --config=$sweep --dry_run
[[ ! -e out ]] || fail "--dry_run left a folder"

# ---- Mistakes of the user: 2 ----
run 2 'error: --config=<file> is missing'
run 2 'error: unknown flag "confg"; did you mean "config"?' --confg=$sweep
run 2 'no.textproto": No such file or directory' --config=no.textproto
run 2 'error: --set steps[9].fold={}: there is no steps[9]: "steps" has 5 elements' --config=$sweep --set 'steps[9].fold={}'
run 2 'error: --threads=two: Expected integer, got: two' --config=$sweep --threads=two
run 2 'error: --set seed: should be path=value' --config=$sweep --set seed
run 2 'is not a folder' --config=$sweep --output_dir="$pipeline/x"
run 2 'test_batch.bin": No such file or directory' --config=$sweep --data_dir="$TEST_TMPDIR"

# Data and weights that are damaged.
mkdir "$TEST_TMPDIR/data"
head -c 1000 /dev/zero > "$TEST_TMPDIR/data/test_batch.bin"
run 2 "test_batch.bin: " --config=$sweep --data_dir="$TEST_TMPDIR/data"
head -c 100000 weights/resnet20_cifar10.safetensors > "$TEST_TMPDIR/cut.safetensors"
run 2 "cut.safetensors: " --config=$sweep --set model.weights="$TEST_TMPDIR/cut.safetensors"
head -c 100000 /dev/urandom > "$TEST_TMPDIR/garbage.safetensors"
run 2 "garbage.safetensors: not a safetensors file" --config=$sweep --set model.weights="$TEST_TMPDIR/garbage.safetensors"
# An expression that backtracking would never be done with.
run 2 'matches no convolution or linear layer' --config=$sweep --dry_run \
  --set 'steps[3].quantize.rules[1].layers="((((.*)*)*)*)*X"'

# ---- It runs, and tells ----
run 0 'float' "${quick[@]}"
run 0 'model: none is named, so the newest one, ' --config=configs/validate_packed.textproto --output_dir="$out" \
  --set steps[1].evaluate.max_images=64
[[ $("$pipeline" "${quick[@]}" 2> /dev/null | wc -l) -eq 4 ]] || fail "standard output is not just the table"

# ---- A failed run: 1, and no half-written file ----
"$pipeline" --list > /dev/full 2> "$TEST_TMPDIR/errors"
[[ $? -eq 1 ]] || fail "a full disk behind standard output went unnoticed"
grep -q 'cannot write to standard output: No space left on device' "$TEST_TMPDIR/errors" || fail "$(< "$TEST_TMPDIR/errors")"

# A limit on the size of files acts as a full disk does: the packed model does not fit, the config and the reports do.
output=$(ulimit -f 60; "$pipeline" "${quick[@]}" --set tensorboard=false --output_dir="$TEST_TMPDIR/full" 2>&1)
code=$?
[[ $code -eq 1 ]] || fail "a full disk gave exit code $code"$'\n'"$output"
[[ $output == *'cannot write "'*'model.safetensors": File too large'* ]] || fail "the file is not named:"$'\n'"$output"
[[ -z $(find "$TEST_TMPDIR/full" -name 'model*') ]] || fail "a model that could not be written is there"
[[ -n $(find "$TEST_TMPDIR/full" -name report.json) ]] || fail "what was evaluated before is lost"
[[ -z $(half_written) ]] || fail "left behind: $(half_written)"
# The same for a picture among the events.
output=$(ulimit -f 16; "$pipeline" "${quick[@]}" --output_dir="$TEST_TMPDIR/full_events" 2>&1)
code=$?
[[ $code -eq 1 ]] || fail "a full disk gave exit code $code"$'\n'"$output"
[[ $output == *'cannot write "'*'/tensorboard/events.out.tfevents.'*'": File too large'* ]] ||
  fail "the file is not named:"$'\n'"$output"
[[ -n $(find "$TEST_TMPDIR/full_events" -name report.json) ]] || fail "what was evaluated before is lost"

# ---- An interrupt ----
# Each signal is sent when the first evaluation is under way.
for signal in INT TERM; do
  log=$TEST_TMPDIR/$signal.log
  # A job that a script starts in the background would ignore SIGINT.
  env --default-signal=INT "$pipeline" --config=$sweep --output_dir="$TEST_TMPDIR/$signal" 2> "$log" &
  job=$!
  for _ in {1..600}; do
    grep -qs '1/5' "$log" && break
    sleep 0.1
  done
  kill -s $signal $job
  wait $job
  code=$?
  [[ $code -eq 130 ]] || fail "SIG$signal gave exit code $code"$'\n'"$(< "$log")"
  grep -q '^interrupted$' "$log" || fail "SIG$signal:"$'\n'"$(< "$log")"
  grep -q '"status": "interrupted"' "$TEST_TMPDIR/$signal"/*/report.json || fail "the report does not tell of SIG$signal"
done
[[ -z $(half_written) ]] || fail "left behind: $(half_written)"

# ---- A kill ----
# A training that is killed after its first epoch and resumed ends with the weights of one that was not.
cat > "$TEST_TMPDIR/training.textproto" <<'EOF'
model { basic_block_resnet { blocks: [1] widths: [4] stem_padding: 1 final_pool: 8 } }
steps { train { epochs: 3 batch_size: 500 learning_rate: 0.05 validation_images: 47000 } }
EOF
training=(--config="$TEST_TMPDIR/training.textproto")
run 0 'epoch 3/3' "${training[@]}" --output_dir="$TEST_TMPDIR/straight"
"$pipeline" "${training[@]}" --output_dir="$TEST_TMPDIR/killed" 2> "$TEST_TMPDIR/killed.log" &
job=$!
for _ in {1..600}; do
  grep -qs '^epoch 1/3  loss' "$TEST_TMPDIR/killed.log" && break
  sleep 0.1
done
kill -KILL $job
wait $job 2> /dev/null
run 2 'made by another training, so going on would not be exact: "seed: 1" there, "seed: 2" here' \
  "${training[@]}" --output_dir="$TEST_TMPDIR/killed" --resume --set seed=2
run 0 'after epoch 1 of 3' "${training[@]}" --output_dir="$TEST_TMPDIR/killed" --resume
cmp "$TEST_TMPDIR"/straight/*/best.safetensors "$TEST_TMPDIR"/killed/*/best.safetensors || fail "the resumed training differs"
[[ -z $(half_written) ]] || fail "left behind: $(half_written)"

[[ $failures -eq 0 ]] && echo "all passed"
exit $((failures > 0))
