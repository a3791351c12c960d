#include "quant/activation_cache.h"

#include <ATen/ops/equal.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr int64_t kBytes = 2 * 3 * 4 * 5 * 4;  // of the tensors below
const std::vector<int64_t> kSizes = {2, 3, 4, 5};

std::string Folder() {
  const std::string folder = absl::StrCat(testing::TempDir(), "/activation_cache_test");
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(ActivationCacheTest, GoesToFilesBeyondTheLimit) {
  ActivationCache cache(Folder(), 2 * kBytes);
  const at::Tensor numbers = Random(kSizes, 1);
  auto first = cache.Hold(numbers), second = cache.Hold(numbers), third = cache.Hold(numbers);
  ASSERT_TRUE(first.ok() && second.ok() && third.ok()) << third.status();
  EXPECT_EQ(cache.in_memory(), 2 * kBytes);
  EXPECT_EQ(cache.in_files(), kBytes);
  EXPECT_TRUE(std::filesystem::is_empty(Folder()));
  for (const auto* held : {&first, &second, &third}) EXPECT_TRUE(at::equal(**held, numbers));
  EXPECT_EQ((*first).data_ptr(), numbers.data_ptr());
  EXPECT_NE((*third).data_ptr(), numbers.data_ptr());

  // What goes makes room.
  *first = at::Tensor();
  EXPECT_EQ(cache.in_memory(), kBytes);
  const auto fourth = cache.Empty(kSizes);
  EXPECT_EQ(cache.in_memory(), 2 * kBytes);
  *third = at::Tensor();
  EXPECT_EQ(cache.in_files(), 0);
  EXPECT_EQ(cache.most_in_files(), kBytes);
}

// Every other row and column, as a subsampling layer puts it out.
TEST(ActivationCacheTest, HoldsViewsThatAreNotDense) {
  const at::Tensor view = Random(kSizes, 3).slice(2, 0, 4, 2).slice(3, 0, 5, 2);
  const int64_t bytes = view.numel() * 4;
  for (const int64_t limit : {int64_t{0}, bytes}) {
    ActivationCache cache(Folder(), limit);
    const auto held = cache.Hold(view);
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_TRUE(at::equal(*held, view));
    EXPECT_TRUE(held->is_non_overlapping_and_dense());
    EXPECT_EQ(cache.in_memory(), limit);
    EXPECT_EQ(cache.in_files(), bytes - limit);
  }
}

TEST(ActivationCacheTest, EmptyTensorsAreChannelsLastAnywhere) {
  for (const int64_t limit : {int64_t{0}, 10 * kBytes}) {
    ActivationCache cache(Folder(), limit);
    auto images = cache.Empty(kSizes), rows = cache.Empty({6, 5});
    ASSERT_TRUE(images.ok() && rows.ok());
    EXPECT_EQ(images->sizes(), kSizes);
    EXPECT_TRUE(images->is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_EQ(rows->sizes(), (std::vector<int64_t>{6, 5}));
    EXPECT_TRUE(rows->is_contiguous());
    const at::Tensor numbers = Random(kSizes, 2);
    images->copy_(numbers);
    EXPECT_TRUE(at::equal(*images, numbers));
    EXPECT_EQ(cache.in_files(), limit == 0 ? kBytes + 6 * 5 * 4 : 0);
  }
}

TEST(ActivationCacheTest, KeepsTheMemoryFormat) {
  ActivationCache cache(Folder(), 0);
  const at::Tensor numbers = Random(kSizes, 3).contiguous(at::MemoryFormat::ChannelsLast);
  const auto held = cache.Hold(numbers);
  ASSERT_TRUE(held.ok());
  EXPECT_EQ(held->strides(), numbers.strides());
  EXPECT_TRUE(at::equal(*held, numbers));
}

TEST(ActivationCacheTest, TensorsOutliveIt) {
  at::Tensor in_memory, in_file;
  const at::Tensor numbers = Random(kSizes, 4);
  {
    ActivationCache cache(Folder(), kBytes);
    in_memory = *cache.Hold(numbers);
    in_file = *cache.Hold(numbers);
    EXPECT_EQ(cache.in_files(), kBytes);
  }
  EXPECT_TRUE(at::equal(in_memory, in_file));
}

TEST(ActivationCacheTest, ErrorsOfTheDisk) {
  ActivationCache cache("/no/such/folder", 0);
  EXPECT_THAT(std::string(cache.Empty(kSizes).status().message()), HasSubstr("/no/such/folder"));
  EXPECT_FALSE(cache.Hold(Random(kSizes, 5)).ok());
  EXPECT_EQ(cache.in_files(), 0);
}

}  // namespace
}  // namespace lowbit
