"""The one list of quantizers. A name is a folder of quantizers/, and what stands in a config.

Whatever should reach every quantizer (the pipeline's binary, --list, the conformance test, the benchmark) depends on
//quantizers:all, which is made from this list.
"""

QUANTIZERS = [
    "aciq",
    "apot",
    "gptq",
    "kl",
    "min_max",
    "moving_average",
    "mse",
    "multi_base",
    "obq",
    "per_channel",
    "percentile",
    "squant",
    "xnor",
]
