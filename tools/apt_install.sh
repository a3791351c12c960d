#!/bin/bash
# apt_install.sh WHY PACKAGE... -- makes sure that Debian packages are installed.
#
# Silent and quick (one dpkg-query) when they are. Otherwise it says what it installs and why, and installs it as root
# or through sudo; where it may do neither, it prints the command to run by hand and exits with status 1. A machine
# without dpkg is left alone: whoever runs one has the libraries from elsewhere, or will read what the build misses.

set -u

why=$1
shift

command -v dpkg-query > /dev/null || exit 0

missing_packages() {
  dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' "$@" 2> /dev/null |
    awk 'BEGIN { for (i = 1; i < ARGC; i++) wanted[ARGV[i]]; ARGC = 1 }
         $2 == "installed" { delete wanted[$1] }
         END { for (name in wanted) print name }' "$@" | sort | tr '\n' ' '
}

read -r -a missing <<< "$(missing_packages "$@")"
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  # Without a terminal nobody can type a password: only a sudo that asks for none will do.
  ask=(-n)
  [[ -t 0 && -t 2 ]] && ask=(-p "[sudo] password of %u, to install packages: ")
  if ! sudo "${ask[@]}" true 2> /dev/null; then
    {
      echo "lowbit: ${#missing[@]} packages are missing ($why), and installing them needs root. Please run:"
      echo
      echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}"
      echo
    } >&2
    exit 1
  fi
  as_root=(sudo "${ask[@]}")
fi

echo "lowbit: installing $why: ${missing[*]}" >&2
echo "lowbit: this is done once, with apt-get, and takes a minute or two." >&2

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

apt() {
  # A machine that has just booted may still be at its own updates: wait for apt's lock instead of failing.
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" < /dev/null >> "$log" 2>&1
}

# The lists of a fresh machine are empty, and those of an old one name versions that are gone. An update that fails (a
# foreign source is down, another apt holds the lock) need not matter: the install decides.
for _ in 1 2 3; do
  echo "lowbit: reading the package lists (apt-get update)" >&2
  apt update
  echo "lowbit: downloading and installing (apt-get install)" >&2
  apt install --no-install-recommends "${missing[@]}" && exit 0
  sleep 3
done

{
  echo "lowbit: apt-get could not install ${missing[*]}. Its last lines:"
  tail -n 15 "$log"
} >&2
exit 1
