#ifndef LOWBIT_EVALUATION_CONFUSION_PICTURE_H_
#define LOWBIT_EVALUATION_CONFUSION_PICTURE_H_

#include <string>
#include <vector>

#include "evaluation/metrics.h"
#include "raster/rgb_image.h"

namespace lowbit {

// The matrix as a picture: a row for each class that images have, a column for each class that they were taken for.
// The darker a cell, the larger its share of the row; in it stand the number of images and their share in percent.
// (With more than 30 classes there is no room for numbers, with more than 150 none for names.) One name for each class.
RgbImage ConfusionPicture(const std::string& title, const ConfusionMatrix& confusion,
                          const std::vector<std::string>& class_names);

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_CONFUSION_PICTURE_H_
