"""CIFAR-10 as an external repository: fetched when a target that needs it is built, and not before."""

_FILES = ["data_batch_%d.bin" % batch for batch in range(1, 6)] + ["test_batch.bin"]

_BUILD = """
filegroup(
    name = "files",
    srcs = {files},
    visibility = ["//visibility:public"],
)
"""

def _cifar10_impl(ctx):
    # Resolved before the download, so that Bazel, which restarts this function when it meets an unknown label, does not
    # do the work twice.
    fetch = ctx.path(Label("//tools/data:fetch_cifar10.py"))
    ctx.path(Label("//tools:apt_install.sh"))

    ctx.report_progress("CIFAR-10")
    result = ctx.execute(
        ["python3", fetch, ctx.path(".")],
        quiet = False,  # its progress lines go to the terminal
        timeout = 6 * 3600,
    )
    files = _FILES
    if result.return_code != 0:
        # Whoever has the data elsewhere can still build, and name the folder.
        files = []
        # buildifier: disable=print
        print("CIFAR-10 could not be fetched (the lines above say why). Programs built now have no copy of it: they need " +
              "--data_dir=<folder with the .bin files>, and tests on real images fail. To try again: tools/bazel shutdown, and the command once more.")
    ctx.file("BUILD", _BUILD.format(files = files))

# The binary version of CIFAR-10, https://www.cs.toronto.edu/~kriz/cifar.html. `@cifar10//:files` are its six files.
cifar10_repository = repository_rule(
    implementation = _cifar10_impl,
    environ = ["XDG_CACHE_HOME"],
    # Looked at again whenever Bazel's server starts: what could not be fetched then may be fetched now, and what was is
    # only linked again.
    local = True,
)
