#ifndef LOWBIT_EVALUATION_CONFUSION_TABLE_H_
#define LOWBIT_EVALUATION_CONFUSION_TABLE_H_

#include <string>
#include <vector>

#include "evaluation/metrics.h"

namespace lowbit {

// A text table, a row for each class that images have, a column for each class that they were taken for, and the share
// of each row that is right (of a class without images: "-"):
//
//   label \ predicted    cat    dog  right
//   cat                    3      1  75.00
//   dog                    0      4 100.00
//
// One name for each class.
std::string ConfusionTable(const ConfusionMatrix& confusion, const std::vector<std::string>& class_names);

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_CONFUSION_TABLE_H_
