"""lowbit_proto_library: C++ code from .proto files, by the protoc that is installed beside the protobuf library.

Bazel's own cc_proto_library would bring (and build) its own protobuf; LibTorch is linked to the system's, and one
process can hold only one.
"""

_ProtoSources = provider(
    "The .proto files that a target and its dependencies hold.",
    fields = ["files"],
)

def _proto_sources_impl(ctx):
    imports = depset(transitive = [dep[_ProtoSources].files for dep in ctx.attr.deps])
    headers = []
    sources = []
    for proto in ctx.files.srcs:
        stem = proto.basename[:-len(".proto")]
        headers.append(ctx.actions.declare_file(stem + ".pb.h"))
        sources.append(ctx.actions.declare_file(stem + ".pb.cc"))
    arguments = ctx.actions.args()
    arguments.add("--proto_path=.")
    arguments.add("--cpp_out=" + ctx.bin_dir.path)
    arguments.add_all(ctx.files.srcs)
    ctx.actions.run(
        executable = "/usr/bin/protoc",
        arguments = [arguments],
        inputs = depset(ctx.files.srcs, transitive = [imports]),
        outputs = headers + sources,
        mnemonic = "Protoc",
        progress_message = "Generating C++ from %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset(headers + sources)),
        OutputGroupInfo(headers = depset(headers), sources = depset(sources)),
        _ProtoSources(files = depset(ctx.files.srcs, transitive = [imports])),
    ]

_proto_sources = rule(
    implementation = _proto_sources_impl,
    attrs = {
        "deps": attr.label_list(providers = [_ProtoSources]),
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
    },
)

def _sources_label(label):
    """//a/b:c -> //a/b:c_proto_sources, //a/b -> //a/b:b_proto_sources, :c -> :c_proto_sources"""
    if ":" not in label:
        label = label + ":" + label.split("/")[-1]
    return label + "_proto_sources"

def lowbit_proto_library(name, srcs, deps = [], visibility = None, **kwargs):
    """A cc_library of the messages in `srcs`.

    Imports are written from the repository's root (import "pipeline/config.proto"), and so are the generated headers
    (#include "pipeline/config.pb.h"). Protobuf's own messages (google/protobuf/any.proto) need no dependency.

    Args:
      name: the cc_library's name.
      srcs: .proto files of this package.
      deps: other lowbit_proto_library targets whose files are imported.
      visibility: as usual.
      **kwargs: passed to the cc_library.
    """
    _proto_sources(
        name = name + "_proto_sources",
        srcs = srcs,
        visibility = visibility,
        deps = [_sources_label(dep) for dep in deps],
    )
    for group in ["headers", "sources"]:
        native.filegroup(
            name = name + "_" + group,
            srcs = [":" + name + "_proto_sources"],
            output_group = group,
            visibility = ["//visibility:private"],
        )
    native.cc_library(
        name = name,
        srcs = [":" + name + "_sources"],
        hdrs = [":" + name + "_headers"],
        copts = ["-w"],  # generated code is not ours to mend
        visibility = visibility,
        deps = deps + ["//third_party:protobuf"],
        **kwargs
    )
