#include "runtime/network.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const IntegerNetwork> Tiny(const std::string& kind) {
  auto network = IntegerNetwork::Parse(TinyModelBytes(kind), kind);
  EXPECT_TRUE(network.ok()) << network.status();
  return *network;
}

// Whether the same bits stand in both.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> Outputs(IntegerSession* session, const IntegerNetwork& network, const std::vector<float>& images) {
  const int64_t count = static_cast<int64_t>(images.size()) / (network.channels() * network.height() * network.width());
  std::vector<float> outputs(static_cast<size_t>(count * network.outputs()), -1);
  const absl::Status status = session->Run(images.data(), count, outputs.data());
  EXPECT_TRUE(status.ok()) << status;
  return outputs;
}

class EveryKind : public testing::TestWithParam<std::string> {};

TEST_P(EveryKind, AnyNumberOfThreadsGivesTheSameBits) {
  const auto network = Tiny(GetParam());
  const std::vector<float> images = TinyImages(9, 1);
  const size_t size = images.size() / 9;
  IntegerSession alone(network, 1);
  const std::vector<float> wanted = Outputs(&alone, *network, images);
  EXPECT_EQ(wanted.size(), 9u * 5);
  for (const float output : wanted) EXPECT_TRUE(std::isfinite(output));
  EXPECT_FALSE(SameBits({wanted.begin(), wanted.begin() + 5}, {wanted.begin() + 5, wanted.begin() + 10}));
  for (const int threads : {1, 2, 3, 5}) {
    IntegerSession session(network, threads);
    EXPECT_TRUE(SameBits(Outputs(&session, *network, images), wanted)) << threads << " threads, all images";
    for (size_t i = 0; i < 9; ++i) {  // one image is cut into rows
      const std::vector<float> image(images.begin() + i * size, images.begin() + (i + 1) * size);
      EXPECT_TRUE(SameBits(Outputs(&session, *network, image), {wanted.begin() + i * 5, wanted.begin() + i * 5 + 5}))
          << threads << " threads, image " << i;
    }
  }
}

TEST_P(EveryKind, SessionsOnManyThreadsShareANetwork) {
  const auto network = Tiny(GetParam());
  const std::vector<float> images = TinyImages(4, 2);
  IntegerSession alone(network);
  const std::vector<float> wanted = Outputs(&alone, *network, images);
  std::vector<std::vector<float>> got(4);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < got.size(); ++i) {
    callers.emplace_back([&, i] {
      IntegerSession session(network, 1 + static_cast<int>(i % 2));
      for (int repeat = 0; repeat < 20; ++repeat) got[i] = Outputs(&session, *network, images);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<float>& outputs : got) EXPECT_TRUE(SameBits(outputs, wanted));
}

INSTANTIATE_TEST_SUITE_P(TinyModels, EveryKind, testing::ValuesIn(TinyModelKinds()),
                         [](const auto& kind) { return kind.param; });

TEST(IntegerNetwork, SaysWhatItIs) {
  const auto network = Tiny("residual");
  EXPECT_EQ(network->channels(), 3);
  EXPECT_EQ(network->height(), 8);
  EXPECT_EQ(network->width(), 8);
  EXPECT_EQ(network->outputs(), 5);
  EXPECT_EQ(network->metadata().at("lowbit.classes"), "ant\nbee\ncat\ndog\neel");
  int64_t macs = 0;
  std::vector<std::string> layers;
  for (const StepInfo& step : network->steps()) {
    macs += step.macs;
    layers.push_back(step.layers);
  }
  EXPECT_EQ(macs, 8 * 8 * 6 * 27 + 4 * 4 * 10 * 54 + 4 * 4 * 10 * 90 + 10 * 5);
  EXPECT_THAT(layers, ElementsAre("input", "conv1 + relu", "block.conv1 + block.relu1",
                                  "block.conv2 + block.add + block.relu2", "pool + flatten", "linear"));
}

TEST(IntegerNetwork, LoadsAFile) {
  const std::string path = testing::TempDir() + "/load.safetensors";
  ASSERT_TRUE(WriteFileAtomic(path, TinyModelBytes("affine")).ok());
  const auto loaded = IntegerNetwork::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::vector<float> images = TinyImages(2, 3);
  IntegerSession session(*loaded), other(Tiny("affine"));
  EXPECT_TRUE(SameBits(Outputs(&session, **loaded, images), Outputs(&other, **loaded, images)));
}

TEST(IntegerNetwork, FilesThatAreNoModelAreErrors) {
  const std::string folder = testing::TempDir();
  EXPECT_EQ(IntegerNetwork::Load(folder + "/none").status(),
            absl::NotFoundError(absl::StrCat("cannot read \"", folder, "/none\": No such file or directory")));
  const std::string bytes = TinyModelBytes("residual");
  for (const size_t size : {size_t{0}, size_t{7}, size_t{8}, bytes.size() / 2, bytes.size() - 1}) {
    const std::string path = absl::StrCat(folder, "/cut", size, ".safetensors");
    ASSERT_TRUE(WriteFileAtomic(path, bytes.substr(0, size)).ok());
    const auto network = IntegerNetwork::Load(path);
    EXPECT_EQ(network.status().code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(network.status().message()), HasSubstr(path + ": ")) << size;
  }
}

TEST(IntegerSession, NoImagesAreNoWork) {
  const auto network = Tiny("residual");
  for (const int threads : {1, 2}) {
    IntegerSession session(network, threads);
    EXPECT_TRUE(session.Run(nullptr, 0, nullptr).ok());
    EXPECT_EQ(session.Run(nullptr, -1, nullptr), absl::InvalidArgumentError("count: expected at least 0, got -1"));
  }
}

TEST(IntegerSession, AnImageThatIsNotFiniteIsNamed) {
  const auto network = Tiny("residual");
  IntegerSession session(network, 2);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> images = TinyImages(3, 4);
    images[2 * 192 + 191] = bad;
    std::vector<float> outputs(15, 7.0f);
    EXPECT_EQ(session.Run(images.data(), 3, outputs.data()),
              absl::InvalidArgumentError("image 2 has a number that is NaN or infinite"));
    EXPECT_EQ(outputs, std::vector<float>(15, 7.0f));
  }
}

TEST(IntegerSession, ProfilesEveryStep) {
  const auto network = Tiny("residual");
  const std::vector<float> images = TinyImages(50, 5);
  for (const int threads : {1, 2}) {
    IntegerSession session(network, threads);
    Outputs(&session, *network, images);
    EXPECT_EQ(session.profile(), std::vector<double>(network->steps().size(), 0.0));
    session.StartProfile();
    Outputs(&session, *network, images);
    const std::vector<double> seconds = session.profile();
    ASSERT_EQ(seconds.size(), network->steps().size());
    for (const double of_step : seconds) EXPECT_GT(of_step, 0);
  }
}

TEST(IntegerSession, EachThreadHasItsMemory) {
  const auto network = Tiny("residual");
  const int64_t bytes = IntegerSession(network, 1).memory_bytes();
  EXPECT_GT(bytes, 3 * 8 * 8 * 4);  // the image alone, in floats
  EXPECT_EQ(IntegerSession(network, 3).memory_bytes(), 3 * bytes);
}

TEST(TopK, HighestFirstAndOfEqualOnesTheFirst) {
  const float outputs[] = {1, 5, 5, -2, 7};
  EXPECT_THAT(TopK(outputs, 5, 3), ElementsAre(4, 1, 2));
  EXPECT_THAT(TopK(outputs, 5, 9), ElementsAre(4, 1, 2, 0, 3));
  EXPECT_THAT(TopK(outputs, 5, 0), ElementsAre());
  EXPECT_THAT(TopK(outputs, 0, 3), ElementsAre());
}

}  // namespace
}  // namespace lowbit
