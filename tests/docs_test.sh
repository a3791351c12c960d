#!/bin/bash
# docs/config_reference.md ends with what `--list` prints.

pipeline=$1
doc=docs/config_reference.md
diff <(sed -n '/^```list$/,/^```$/{//!p}' "$doc") <("$pipeline" --list) && exit 0
echo
echo "$doc is not what the program says. The right text, to stand between its last pair of fences:"
echo "    tools/bazel run //pipeline -- --list"
exit 1
