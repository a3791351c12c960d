#include "tensorboard/event_writer.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tensorboard/event.pb.h"
#include "tensorboard/record.h"

namespace lowbit {
namespace {

double SecondsSince1970() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

// As a part of a file's name.
std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  std::string safe(name);
  for (char& c : safe) {
    if (c == '/') c = '_';
  }
  return safe;
}

TensorBoardEvent EventAt(absl::string_view tag, int64_t step, TensorBoardEvent::Value** value) {
  TensorBoardEvent event;
  event.set_step(step);
  *value = event.mutable_summary()->add_value();
  (*value)->set_tag(std::string(tag));
  return event;
}

}  // namespace

absl::Status EventWriter::AddScalar(absl::string_view tag, int64_t step, double number) {
  TensorBoardEvent::Value* value;
  TensorBoardEvent event = EventAt(tag, step, &value);
  value->set_simple_value(static_cast<float>(number));
  return Write(std::move(event));
}

absl::Status EventWriter::AddHistogram(absl::string_view tag, int64_t step, const HistogramSummary& histogram,
                                       absl::string_view description) {
  TensorBoardEvent::Value* value;
  TensorBoardEvent event = EventAt(tag, step, &value);
  if (!description.empty()) value->mutable_metadata()->set_summary_description(std::string(description));
  TensorBoardEvent::Histogram& histo = *value->mutable_histo();
  histo.set_min(histogram.min);
  histo.set_max(histogram.max);
  histo.set_num(histogram.count);
  histo.set_sum(histogram.sum);
  histo.set_sum_squares(histogram.sum_squares);
  *histo.mutable_bucket_limit() = {histogram.limits.begin(), histogram.limits.end()};
  *histo.mutable_bucket() = {histogram.counts.begin(), histogram.counts.end()};
  return Write(std::move(event));
}

absl::Status EventWriter::AddImage(absl::string_view tag, int64_t step, absl::string_view png, int width, int height) {
  TensorBoardEvent::Value* value;
  TensorBoardEvent event = EventAt(tag, step, &value);
  TensorBoardEvent::Image& image = *value->mutable_image();
  image.set_height(height);
  image.set_width(width);
  image.set_colorspace(3);
  image.set_encoded_image_string(png.data(), png.size());
  return Write(std::move(event));
}

absl::Status EventWriter::Restart(int64_t step) {
  TensorBoardEvent event;
  event.set_step(step);
  event.mutable_session_log()->set_status(TensorBoardEvent::SessionLog::START);
  return Write(std::move(event));
}

absl::Status EventWriter::Open() {
  LOWBIT_RETURN_IF_ERROR(MakeDirs(folder_));
  // Ten digits, so that the order of the names is that of the times.
  const std::string stem = absl::StrFormat("%s/events.out.tfevents.%010d.%s.%d.", folder_,
                                           absl::ToUnixSeconds(absl::Now()), HostName(), getpid());
  for (int number = 0; file_ == nullptr; ++number) {
    auto file = RecordFile::Create(absl::StrCat(stem, number));
    if (absl::IsAlreadyExists(file.status())) continue;
    if (!file.ok()) return file.status();
    file_ = *std::move(file);
  }
  TensorBoardEvent version;
  version.set_file_version("brain.Event:2");
  return Write(std::move(version));
}

absl::Status EventWriter::Write(TensorBoardEvent event) {
  if (file_ == nullptr) LOWBIT_RETURN_IF_ERROR(Open());
  event.set_wall_time(SecondsSince1970());
  return file_->Append(FrameRecord(event.SerializeAsString()));
}

}  // namespace lowbit
