"""Libraries that are installed on the machine, as Bazel targets.

pkg-config knows what to link: Abseil alone is split into a hundred libraries, differently in every release. Headers
are in the compiler's own search path and need no declaration.

Bazel does not see that a system library was upgraded, and would take objects that were compiled against the old one
from its caches. So each target defines a macro that carries the version; a new version is a new command line.
"""

def _run(ctx, arguments, hint):
    result = ctx.execute(arguments)
    if result.return_code != 0:
        fail("`%s` failed: %s\n%s" % (" ".join(arguments), result.stderr.strip(), hint))
    return result.stdout.strip()

_LIBRARY = """
cc_library(
    name = "{name}",
    defines = {defines},
    linkopts = {linkopts},
)
"""

def _identifier(text):
    return "".join([c if c.isalnum() else "_" for c in text.elems()])

def _system_libraries_impl(ctx):
    hint = "tools/bazel installs what is missing."
    build = ["package(default_visibility = [\"//visibility:public\"])"]
    for name, modules in ctx.attr.modules.items():
        version = _run(ctx, ["pkg-config", "--modversion", modules[0]], hint)
        flags = _run(ctx, ["pkg-config", "--libs"] + modules, hint)
        build.append(_LIBRARY.format(
            name = name,
            defines = ["LOWBIT_WITH_%s_%s" % (_identifier(name), _identifier(version))],
            linkopts = [flag for flag in flags.split(" ") if flag],
        ))
    ctx.file("BUILD", "\n".join(build))

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    attrs = {"modules": attr.string_list_dict(mandatory = True, doc = "target name -> pkg-config modules")},
    configure = True,
    local = True,
)

# ---- LibTorch ----

_LIBTORCH = """package(default_visibility = ["//visibility:public"])

cc_library(
    name = "torch",
    hdrs = {hdrs},
    defines = ["LOWBIT_WITH_libtorch_{version}"],
    includes = {includes},
    linkopts = {linkopts},
)

# The front end: <torch/torch.h>, <torch/nn.h>, <torch/optim.h>.
cc_library(
    name = "torch_api",
    hdrs = glob(["api/**/*.h"]),
    includes = ["api"],
    deps = [":torch"],
)
"""

def _libtorch_impl(ctx):
    root = ctx.os.environ.get("LIBTORCH", "")
    include = (root or "/usr") + "/include"
    if not ctx.path(include + "/ATen").exists:
        fail("There is no LibTorch in %s. " % include +
             "tools/bazel installs Debian's libtorch-dev; LIBTORCH may name the folder of an unpacked LibTorch instead.")
    if root:
        ctx.symlink(include, "include")
    ctx.symlink(include + "/torch/csrc/api/include", "api")
    version = [
        line.split("\"")[1]
        for line in ctx.read(include + "/torch/csrc/api/include/torch/version.h").splitlines()
        if line.startswith("#define TORCH_VERSION \"")
    ]
    library_flags = ["-L%s/lib" % root, "-Wl,-rpath,%s/lib" % root] if root else []
    ctx.file("BUILD", _LIBTORCH.format(
        hdrs = "glob([\"include/**\"], exclude = [\"include/torch/csrc/api/**\"])" if root else "[]",
        includes = ["include"] if root else [],
        linkopts = library_flags + ["-ltorch", "-ltorch_cpu", "-lc10"],
        version = _identifier(version[0]) if version else "unknown",
    ))

libtorch_repository = repository_rule(
    implementation = _libtorch_impl,
    configure = True,
    environ = ["LIBTORCH"],
    local = True,
)
