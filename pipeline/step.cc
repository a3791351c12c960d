#include "pipeline/step.h"

#include <algorithm>

namespace lowbit {

Step::~Step() = default;

bool Makes(const Step& step, Fact fact) {
  const std::vector<Fact> made = step.makes();
  return std::find(made.begin(), made.end(), fact) != made.end();
}

}  // namespace lowbit
