#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "data/mixup.h"

namespace lowbit {
namespace {

absl::Status Validate(const Dataset& dataset, const LoaderOptions& options) {
  const auto at_least_one = [](const char* field, int64_t value) {
    return value >= 1 ? absl::OkStatus() : FieldError(field, absl::StrCat("must be at least 1, got ", value));
  };
  LOWBIT_RETURN_IF_ERROR(at_least_one("batch_size", options.batch_size));
  LOWBIT_RETURN_IF_ERROR(at_least_one("prefetch", options.prefetch));
  LOWBIT_RETURN_IF_ERROR(at_least_one("threads", options.threads));
  LOWBIT_RETURN_IF_ERROR(CheckFieldRange("mixup", options.mixup, 0, 1, "in [0, 1]"));
  for (size_t i = 0; i < options.order.size(); ++i) {
    if (options.order[i] < 0 || options.order[i] >= dataset.size()) {
      return FieldError(absl::StrCat("order[", i, "]"),
                        absl::StrCat("must be in [0, ", dataset.size(), "), got ", options.order[i]));
    }
  }
  if (options.augment.has_value()) {
    return PrependField(ValidateAugment(*options.augment, dataset.image_shape()), "augment");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int64_t> SequentialOrder(int64_t size) {
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

std::vector<int64_t> ShuffledOrder(int64_t size, uint64_t seed, uint64_t epoch) {
  // The fourth key keeps this stream apart from the augmentation's, whose keys are (seed, epoch, index), and from the
  // mixing's.
  constexpr uint64_t kOrderStream = 1;
  return Rng({seed, epoch, static_cast<uint64_t>(size), kOrderStream}).Permutation(size);
}

// Each worker takes the number of the next batch that nobody has taken, makes the batch, and lays it in `ready_` under
// its number; Next() takes them out in order. No worker starts a batch that lies `prefetch` or more after the one that
// Next() gives out next, so at most `prefetch` batches exist in here.
class Loader::Impl {
 public:
  Impl(const Dataset* dataset, LoaderOptions options, Normalizer normalizer)
      : dataset_(dataset), options_(std::move(options)), normalizer_(std::move(normalizer)) {
    const int64_t workers = std::min<int64_t>({options_.threads, options_.prefetch, batch_count()});
    for (int64_t i = 0; i < workers; ++i) workers_.emplace_back([this] { Work(); });
  }

  ~Impl() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    room_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  absl::StatusOr<std::optional<Batch>> Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!failure_.ok()) return failure_;
    if (given_ == batch_count()) return std::optional<Batch>();
    batch_ready_.wait(lock, [this] { return ready_.count(given_) != 0; });
    auto found = ready_.find(given_);
    absl::StatusOr<Batch> batch = std::move(found->second);
    ready_.erase(found);
    ++given_;
    if (!batch.ok()) {
      failure_ = batch.status();
      stop_ = true;
    }
    lock.unlock();
    room_.notify_all();
    if (!batch.ok()) return batch.status();
    return std::optional<Batch>(*std::move(batch));
  }

  int64_t image_count() const { return static_cast<int64_t>(options_.order.size()); }
  int64_t batch_count() const {
    // Rounded up without image_count() + batch_size, which may overflow.
    return image_count() / options_.batch_size + (image_count() % options_.batch_size != 0 ? 1 : 0);
  }
  const Dataset& dataset() const { return *dataset_; }

 private:
  void Work() {
    std::vector<uint8_t> image(dataset_->image_shape().size());
    std::vector<uint8_t> scratch;
    while (true) {
      int64_t number;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        room_.wait(lock, [this] { return stop_ || taken_ == batch_count() || taken_ < given_ + options_.prefetch; });
        if (stop_ || taken_ == batch_count()) return;
        number = taken_++;
      }
      absl::StatusOr<Batch> batch = Make(number, &image, &scratch);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        ready_.emplace(number, std::move(batch));
      }
      batch_ready_.notify_one();
    }
  }

  absl::StatusOr<Batch> Make(int64_t number, std::vector<uint8_t>* image, std::vector<uint8_t>* scratch) const {
    const int64_t begin = number * options_.batch_size;
    const int64_t size = std::min(options_.batch_size, image_count() - begin);
    Batch batch;
    batch.shape = dataset_->image_shape();
    batch.images.resize(size * batch.shape.size());
    batch.labels.resize(size);
    batch.indices.assign(options_.order.begin() + begin, options_.order.begin() + begin + size);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t index = batch.indices[i];
      LOWBIT_RETURN_IF_ERROR(dataset_->Get(index, image->data(), &batch.labels[i]));
      if (options_.augment.has_value()) {
        const AugmentDraw draw =
            DrawAugment(*options_.augment, options_.seed, options_.epoch, static_cast<uint64_t>(index));
        ApplyAugment(draw, batch.shape, image->data(), scratch);
      }
      normalizer_.Apply(image->data(), batch.images.data() + i * batch.shape.size());
    }
    MixImages(options_.mixup, options_.seed, options_.epoch, static_cast<uint64_t>(number), batch.shape.size(),
              &batch.images);
    return batch;
  }

  const Dataset* const dataset_;
  const LoaderOptions options_;
  const Normalizer normalizer_;

  std::mutex mutex_;
  std::condition_variable room_;         // For workers: something was given out, or stop.
  std::condition_variable batch_ready_;  // For Next().
  // All of this under mutex_.
  std::map<int64_t, absl::StatusOr<Batch>> ready_;
  int64_t taken_ = 0;  // Batches that workers have taken.
  int64_t given_ = 0;  // Batches that Next() has given out.
  bool stop_ = false;
  absl::Status failure_;  // Once Next() has failed.

  std::vector<std::thread> workers_;
};

absl::StatusOr<std::unique_ptr<Loader>> Loader::Create(const Dataset* dataset, LoaderOptions options) {
  LOWBIT_RETURN_IF_ERROR(Validate(*dataset, options));
  absl::StatusOr<Normalizer> normalizer = Normalizer::Create(options.normalization, dataset->image_shape());
  if (!normalizer.ok()) return PrependField(normalizer.status(), "normalization");
  if (options.order.empty()) options.order = SequentialOrder(dataset->size());
  return absl::WrapUnique(new Loader(std::make_unique<Impl>(dataset, std::move(options), *std::move(normalizer))));
}

Loader::Loader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Loader::~Loader() = default;

absl::StatusOr<std::optional<Batch>> Loader::Next() { return impl_->Next(); }
int64_t Loader::image_count() const { return impl_->image_count(); }
int64_t Loader::batch_count() const { return impl_->batch_count(); }
const Dataset& Loader::dataset() const { return impl_->dataset(); }

}  // namespace lowbit
