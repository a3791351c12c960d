#!/bin/bash
# tools/bazel and tools/apt_install.sh with a dpkg-query, an apt-get, a sudo, an id and a Bazel that are scripts.

set -u
failures=0
fakes=$TEST_TMPDIR/fakes
mkdir "$fakes"

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# fake NAME < SCRIPT
fake() {
  { echo '#!/bin/bash'; cat; } > "$fakes/$1"
  chmod +x "$fakes/$1"
}

calls=$TEST_TMPDIR/calls
export calls fakes
fake id <<< 'echo "${FAKE_UID:-0}"'
fake sleep <<< ''
# Says that everything is installed but what FAKE_MISSING names.
fake dpkg-query <<'EOF'
for package; do
  [[ $package == -* || " ${FAKE_MISSING:-} " == *" $package "* ]] || echo "$package installed"
done
EOF
fake apt-get <<'EOF'
echo "apt-get $*" >> "$calls"
echo "E: the fake's words"
[[ -z ${FAKE_APT_FAILS:-} || $* != *install* ]]
EOF
fake sudo <<'EOF'
[[ -n ${FAKE_SUDO:-} ]] || exit 1
while [[ $1 == -* ]]; do shift; done
exec "$@"
EOF
export PATH=$fakes:/usr/bin:/bin

# check WANTED_EXIT_CODE WANTED_TEXT COMMAND...: the text must be in what is printed; "" wants that nothing is.
check() {
  local wanted_code=$1 wanted_text=$2
  shift 2
  : > "$calls"
  local output code
  output=$("$@" 2>&1 < /dev/null)
  code=$?
  [[ $code -eq $wanted_code ]] || fail "exit code $code instead of $wanted_code: $*"$'\n'"$output"
  if [[ -z $wanted_text ]]; then
    [[ -z $output ]] || fail "not silent: $*"$'\n'"$output"
  else
    [[ $output == *"$wanted_text"* ]] || fail "no \"$wanted_text\": $*"$'\n'"$output"
  fi
}

called() { [[ $(< "$calls") == *"$1"* ]] || fail "apt-get was not called with $1, but:"$'\n'"$(< "$calls")"; }
not_called() { [[ ! -s $calls ]] || fail "apt-get was called:"$'\n'"$(< "$calls")"; }

apt_install=(tools/apt_install.sh "what it is for" one two)

check 0 '' "${apt_install[@]}"
not_called

FAKE_MISSING=two check 0 'installing what it is for: two' "${apt_install[@]}"
called 'update'
called 'install --no-install-recommends two'

FAKE_MISSING=two FAKE_UID=1000 FAKE_SUDO=yes check 0 'installing what it is for: two' "${apt_install[@]}"
called 'install --no-install-recommends two'

FAKE_MISSING='one two' FAKE_UID=1000 check 1 'apt-get update && apt-get install --no-install-recommends one two' "${apt_install[@]}"
not_called

FAKE_MISSING=one FAKE_APT_FAILS=yes check 1 "apt-get could not install one. Its last lines:
E: the fake's words" "${apt_install[@]}"
[[ $(grep -c install "$calls") -eq 3 ]] || fail "not tried three times:"$'\n'"$(< "$calls")"

# A machine that knows nothing of Debian packages is left alone.
PATH=$TEST_TMPDIR/nothing check 0 '' "${apt_install[@]}"

# ---- tools/bazel ----
fake real_bazel <<'EOF'
[[ $1 == --version ]] && { echo "bazel ${FAKE_VERSION:-no_version}"; exit; }
echo "skip=$BAZELISK_SKIP_WRAPPER args=$*"
for argument; do [[ $argument == --bazelrc=* ]] && cat "${argument#--bazelrc=}"; done
exit 7
EOF
unset XDG_CACHE_HOME
export HOME=$TEST_TMPDIR/home BAZEL_REAL=$fakes/real_bazel
# A LibTorch whose headers ask for nothing, and one whose headers ask for C++20.
mkdir -p "$TEST_TMPDIR"/{old,new}/include/torch/csrc/api/include/torch
echo '#error C++20 or later compatible compiler is required' > "$TEST_TMPDIR/new/include/torch/csrc/api/include/torch/all.h"
export LIBTORCH=$TEST_TMPDIR/old

# Its exit code and its arguments are Bazel's.
check 7 'skip=true args=build //a --b="c d"' tools/bazel build //a '--b="c d"'
FAKE_MISSING=libabsl-dev FAKE_UID=1000 check 1 'libabsl-dev' tools/bazel build //a
LIBTORCH=$TEST_TMPDIR/none check 1 "there is no $TEST_TMPDIR/none/include" tools/bazel build //a
LIBTORCH=$TEST_TMPDIR/new check 7 'build --config=cxx20' tools/bazel build //a
FAKE_VERSION=7.7.1 check 7 'common --noenable_bzlmod' tools/bazel build //a
XDG_CACHE_HOME=$TEST_TMPDIR/cache check 7 "build --disk_cache=$TEST_TMPDIR/cache/lowbit/bazel" tools/bazel build //a

[[ $failures -eq 0 ]] && echo "all passed"
exit $((failures > 0))
