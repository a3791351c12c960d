"""lowbit_quantizer: all targets of a quantizer plugin, from the four files of its folder."""

load("//third_party:proto.bzl", "lowbit_proto_library")

def lowbit_quantizer(name):
    """A plugin that registers itself in whatever links it.

    Needs in the BUILD file's folder: options.proto (the typed options; its comments are the user documentation), <name>.cc
    (ends with LOWBIT_REGISTER_QUANTIZER) and <name>_test.cc. docs/adding_a_quantizer.md goes through them.

    Args:
      name: the folder's name, which is the name in configs.
    """
    lowbit_proto_library(
        name = "options_proto",
        srcs = ["options.proto"],
        visibility = ["//visibility:private"],
        deps = ["//quant:range_options_proto"],
    )

    # All that a plugin may use: arrows point to quant and below.
    deps = [
        ":options_proto",
        "//base:field_error",
        "//base:status_macros",
        "//model:graph",
        "//quant:affine",
        "//quant:channel_grid",
        "//quant:compensated_rounding",
        "//quant:fake_quantize",
        "//quant:gram_inverse",
        "//quant:input_statistics",
        "//quant:optimal_clip",
        "//quant:parallel_for",
        "//quant:quant_params",
        "//quant:quantizer",
        "//quant:quantizer_registry",
        "//quant:range_error",
        "//quant:range_grid",
        "//quant:range_options_proto",
        "//quant:range_quantizer",
        "//quant:range_search",
        "//quant:span_kernels",
        "//quant:statistics",
        "//quant:weight_grids",
        "//third_party:absl_containers",
        "//third_party:absl_status",
        "//third_party:absl_strings",
        "//third_party:torch",
    ]
    native.cc_library(
        name = name,
        srcs = [name + ".cc"],
        visibility = [
            "//benchmarks:__subpackages__",
            "//quantizers:__pkg__",
            "//tests:__subpackages__",
        ],
        deps = deps,
        alwayslink = True,  # nobody calls it: it registers itself
    )
    native.cc_test(
        name = name + "_test",
        size = "small",
        srcs = [name + "_test.cc"],
        deps = deps + [
            ":" + name,
            "//base:random",
            "//quant:quantizer_testing",
            "//third_party:gtest_main",
        ],
    )
