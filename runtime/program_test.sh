#!/bin/bash
# The programs as a user meets them: what //runtime prints, its exit codes, what it is linked with and how large it is;
# and a C program on the C interface.

set -u
runtime=$1 c_program=$2 write_tiny_model=$3 closure=$4 library=$5
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# run WANTED_EXIT_CODE WANTED_TEXT ARGUMENT...: the text (a fixed string) must be in what is printed.
run() {
  local wanted_code=$1 wanted_text=$2
  shift 2
  local output code
  output=$("$runtime" "$@" 2>&1)
  code=$?
  [[ $code -eq $wanted_code ]] || fail "exit code $code instead of $wanted_code: $*"$'\n'"$output"
  [[ $output == *"$wanted_text"* ]] || fail "no \"$wanted_text\": $*"$'\n'"$output"
}

work=$TEST_TMPDIR/work
mkdir "$work" || exit 1
for kind in residual affine levels binary float; do
  "$write_tiny_model" $kind "$work/$kind.safetensors" || fail "$kind: no model"
done

# ---- No LibTorch, no quantizer, no pipeline ----
for binary in "$runtime" "$library"; do
  libraries=$(ldd "$binary") || fail "ldd: $libraries"
  [[ $libraries == *libc.so* ]] || fail "ldd says nothing of the C library: $libraries"
  [[ ${libraries,,} != *torch* && $libraries != *libc10* ]] || fail "$binary links LibTorch: $libraries"
done
grep -q '^//runtime:network$' "$closure" || fail "the closure lacks //runtime:network"
unwanted=$(grep -E '^(@libtorch//|//third_party:torch|//(quantizers|pipeline|train|evaluation|torch_int8)[/:])' "$closure")
[[ -z $unwanted ]] || fail "depends on $unwanted"

# ---- Small (what a sanitizer adds does not count) ----
cp -L "$runtime" "$work/stripped" && chmod u+w "$work/stripped" && strip "$work/stripped" || fail "cannot strip"
size=$(stat -c %s "$work/stripped")
grep -qE '__(asan|ubsan|tsan)_' "$runtime" || [[ $size -lt 3000000 ]] || fail "the stripped program has $size bytes"

# ---- From C ----
"$c_program" "$work/residual.safetensors" || fail "the C program's exit code is $?"
exported=$(nm -D --defined-only "$library" | grep -oE ' T lowbit_\w+$' | sort)
declared=$(grep -oE '\blowbit_\w+\(' runtime/lowbit.h | tr -d '(' | sort -u | sed 's/^/ T /')
[[ $exported == "$declared" ]] || fail "liblowbit.so exports"$'\n'"$exported"$'\n'"lowbit.h declares"$'\n'"$declared"

# ---- Paths start where the user stands ----
cd "$TEST_TMPDIR" || exit 1
runtime=$OLDPWD/$runtime
export BUILD_WORKING_DIRECTORY=$work
for i in 1 2 3; do head -c 3072 /dev/zero | tr '\0' "\\$i"; done > "$work/zeros"  # no batch: labels are missing
run 2 'error: --model=<file> is missing' --images=a.png
run 2 'error: --images=<files> is missing' --model=residual.safetensors
run 2 "error: cannot read \"$work/none.safetensors\": No such file or directory" --model=none.safetensors --images=a.png
run 2 "$work/zeros: not a safetensors file" --model=zeros --images=a.png
run 2 "error: cannot read \"$work/a.png\": No such file or directory" --model=residual.safetensors --images=a.png
run 0 '--top_k' --help
run 2 'unknown flag "topk"; did you mean "top_k"?' --topk=2
LOWBIT_CPU=abacus run 2 'LOWBIT_CPU is "abacus"; this processor can run reference, portable' \
  --model=residual.safetensors --images=a.png

# ---- A full disk behind standard output ----
"$runtime" --help > /dev/full 2> "$work/errors"
[[ $? -eq 1 ]] || fail "a full disk behind standard output went unnoticed"
grep -q 'cannot write to standard output: No space left on device' "$work/errors" || fail "$(< "$work/errors")"

[[ $failures -eq 0 ]] && echo "all passed"
exit $((failures > 0))
