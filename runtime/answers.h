#ifndef LOWBIT_RUNTIME_ANSWERS_H_
#define LOWBIT_RUNTIME_ANSWERS_H_

// What the runtime's program prints, as text.

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/image_files.h"
#include "runtime/network.h"

namespace lowbit {

// exp(x) of each output over the sum of them all.
std::vector<double> Softmax(const float* outputs, int64_t count);

// A line for each of the first `rows` images: its name, its label where one of them is known, and the `top_k` classes
// of the highest score (softmax), best first. `outputs` are those of all images. A class without a name is its number.
std::string AnswerTable(const ImageList& images, const std::vector<float>& outputs, int64_t classes,
                        const std::vector<std::string>& class_names, int top_k, int64_t rows);

// How many of the images have a label, and how many of those have it among their k highest outputs.
struct Hits {
  int64_t labelled = 0;
  int64_t hits = 0;
};
Hits CountHits(const ImageList& images, const std::vector<float>& outputs, int64_t classes, int k);

// What a profile is about, next to the network's steps and the seconds of each.
struct ProfileScale {
  int64_t images = 0;
  double cycles_per_second = 0;  // 0: not known, and left out
};

// A line for each step, and one for all: layers, kernel, microseconds per image, share of the time,
// multiply-accumulates per image and per second, and per cycle where the clock rate is known.
std::string ProfileTable(const std::vector<StepInfo>& steps, const std::vector<double>& seconds,
                         const ProfileScale& scale);

}  // namespace lowbit

#endif  // LOWBIT_RUNTIME_ANSWERS_H_
