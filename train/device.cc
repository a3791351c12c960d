#include "train/device.h"

#include <ATen/Context.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "model/torch_boundary.h"

namespace lowbit {

absl::StatusOr<c10::Device> ParseDevice(const std::string& name) {
  const absl::StatusOr<c10::Device> device = CatchTorch([&] { return c10::Device(name); });
  if (!device.ok() || !(device->is_cpu() || device->is_cuda())) {
    return FieldError(
        "device", absl::StrCat("must be \"cpu\", \"cuda\" or \"cuda:<number>\", got \"", absl::CHexEscape(name), "\""));
  }
  if (device->is_cpu()) return c10::Device(c10::kCPU);
  if (!at::globalContext().hasCUDART()) {
    return FieldError("device", absl::StrCat("this LibTorch was built without CUDA, got \"", name,
                                             "\"; set LIBTORCH to the folder of one that was built with it"));
  }
  const auto gpus = static_cast<int64_t>(at::hasCUDA() ? at::getNumGPUs() : 0);
  const int64_t index = device->has_index() ? device->index() : 0;
  if (index >= gpus) {
    return FieldError("device", absl::StrCat("LibTorch finds ", gpus, gpus == 1 ? " GPU" : " GPUs",
                                             " on this machine, numbered from 0; got \"", name, "\""));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

}  // namespace lowbit
