#include "pipeline/step_order.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace lowbit {
namespace {

std::string MissingMessage(Fact fact) {
  switch (fact) {
    case Fact::kWeights:
      return "needs weights: name a file in model.weights, or put a train step before it";
    case Fact::kTrained:
      return "needs a train step before it";
    case Fact::kFolded:
      return "needs a fold step before it";
    case Fact::kStatistics:
      return "needs to know what layers read and put out: put a calibrate step before it";
    case Fact::kQuantized:
      return "needs a quantized model: put a quantize step before it";
    case Fact::kFloatTwin:
      return "needs the float network that was quantized, which a packed model has lost: put a quantize step before it";
    case Fact::kTorchInt8:
      return "needs LibTorch's 8-bit model: put a torch_int8 step before it, or name a file in model.torch_int8_model";
    case Fact::kSensitivity:
      return "needs to know what each layer does to the network: put a sensitivity step before it";
  }
  return "";
}

}  // namespace

absl::Status CheckStepOrder(const std::vector<const Step*>& steps, const std::vector<Fact>& start) {
  std::map<Fact, std::string> made;  // and by which step; "" from the start on
  for (const Fact fact : start) made[fact] = "";
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] == nullptr) continue;
    const std::string field = absl::StrCat("steps[", i, "].", steps[i]->name());
    for (const Fact fact : steps[i]->needs()) {
      if (made.count(fact) == 0) return FieldError(field, MissingMessage(fact));
    }
    for (const Fact fact : steps[i]->refuses()) {
      const auto maker = made.find(fact);
      if (maker == made.end()) continue;
      return FieldError(field, maker->second.empty() ? "is not for a model that is quantized already"
                                                     : absl::StrCat("cannot come after ", maker->second));
    }
    for (const Fact fact : steps[i]->makes()) made[fact] = field;
  }
  return absl::OkStatus();
}

}  // namespace lowbit
