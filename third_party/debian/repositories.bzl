"""The external repositories that Bazel itself loads, for Debian's Bazel.

Upstream's Bazel brings (or fetches) rules_cc and its like. Debian's Bazel 4.2.3 has them neither built in nor in a
place where it would look, and a closed network has no other source. Nothing here is used by an upstream Bazel.
"""

_DEBIAN_RULES = "/usr/share/bazel/rules"

def debian_repositories():
    # A distribution's build carries no release number: its version is empty.
    if native.bazel_version and native.bazel_version[0].isdigit():
        return
    for name in ["rules_cc", "remote_coverage_tools"]:
        native.local_repository(name = name, path = "third_party/debian/" + name)
    for name in ["java", "proto"]:
        native.local_repository(name = "rules_" + name, path = _DEBIAN_RULES + "/" + name)
