#include "runtime/runtime_main.h"

#include <stb/stb_image_write.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/program.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "raster/png.h"
#include "runtime/network_testing.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Printed {
  int code = -1;
  std::string out;
  std::string errors;
};

// Each test stands in a folder of its own, with the model "tiny.safetensors", which takes images of 8 x 8.
class RuntimeMainTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    setenv("BUILD_WORKING_DIRECTORY", folder_.c_str(), 1);
    Put("tiny.safetensors", TinyModelBytes("residual"));
  }
  void TearDown() override { unsetenv("BUILD_WORKING_DIRECTORY"); }

  void Put(const std::string& name, const std::string& bytes) const {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/" + name, bytes).ok());
  }

  void PutModel(const std::string& name, const QuantizedModel& model) const {
    ASSERT_TRUE(SaveQuantizedModel(folder_ + "/" + name, model).ok());
  }

  void PutPicture(const std::string& name, int width, int height, Color color) const {
    Put(name, EncodePng(RgbImage(width, height, color)));
  }

  Printed Run(const std::vector<std::string>& arguments) const {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Printed printed;
    printed.code = RuntimeMain(arguments);
    printed.out = testing::internal::GetCapturedStdout();
    printed.errors = testing::internal::GetCapturedStderr();
    return printed;
  }

  // What it says on a mistake of the user's.
  std::string Error(const std::vector<std::string>& arguments) const {
    const Printed printed = Run(arguments);
    EXPECT_EQ(printed.code, kExitUserError);
    EXPECT_EQ(printed.out, "");
    return printed.errors;
  }

  std::string folder_;
};

TEST_F(RuntimeMainTest, ClassifiesPictures) {
  PutPicture("red.png", 8, 8, {255, 0, 0});
  PutPicture("grey.png", 8, 8, {128, 128, 128});
  const Printed printed = Run({"--model=tiny.safetensors", "--images=red.png,grey.png", "--images", "red.png"});
  EXPECT_EQ(printed.code, kExitDone) << printed.errors;
  EXPECT_THAT(printed.out, StartsWith("image     top 1   score  top 2   score  top 3   score\n"
                                      "--------  -----  ------  -----  ------  -----  ------\n"
                                      "red.png "));
  EXPECT_THAT(printed.out, ContainsRegex("red.png   (ant|bee|cat|dog|eel)    0\\.[0-9]{4}  .*\n"
                                         "grey.png  (ant|bee|cat|dog|eel)    0\\.[0-9]{4}  .*\n"
                                         "red.png   (ant|bee|cat|dog|eel)    0\\.[0-9]{4}  .*\n$"));
  EXPECT_THAT(printed.errors, ContainsRegex("^loaded in [0-9.]+ ms, first answer after another [0-9.]+ ms\n"
                                            "[0-9]+ images/s, [0-9.]+ ms an image, 1 thread, batches of 3\n$"));
}

TEST_F(RuntimeMainTest, ReadsJpegToo) {
  PutPicture("a.png", 8, 8, {128, 128, 128});
  std::string jpeg;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  const RgbImage grey(8, 8, {128, 128, 128});
  ASSERT_NE(stbi_write_jpg_to_func(append, &jpeg, 8, 8, 3, grey.bytes().data(), 100), 0);
  Put("a.jpg", jpeg);
  const Printed png = Run({"--model=tiny.safetensors", "--images=a.png"});
  const Printed jpg = Run({"--model=tiny.safetensors", "--images=a.jpg"});
  EXPECT_EQ(jpg.code, kExitDone) << jpg.errors;
  EXPECT_EQ(jpg.out, absl::StrReplaceAll(png.out, {{"a.png", "a.jpg"}}));
}

TEST_F(RuntimeMainTest, BatchAndThreadsChangeNoAnswer) {
  for (const int grey : {10, 90, 170, 250}) {
    const auto level = static_cast<uint8_t>(grey);
    PutPicture(absl::StrCat(grey, ".PNG"), 8, 8, {level, static_cast<uint8_t>(255 - level), level});
  }
  const Printed wanted = Run({"--model=tiny.safetensors", "--images=.", "--top_k=9"});
  EXPECT_THAT(wanted.out, AllOf(HasSubstr("top 5"), Not(HasSubstr("top 6")), HasSubstr("250.PNG")));
  const Printed got =
      Run({"--model=tiny.safetensors", "--images=.", "--top_k=5", "--threads=2", "--batch_size=1", "--repeat=3"});
  EXPECT_EQ(got.out, wanted.out);
  EXPECT_THAT(got.errors, AllOf(HasSubstr("(median of 3 passes; best "), HasSubstr("2 threads, batches of 1\n")));
}

TEST_F(RuntimeMainTest, ProfilesEveryStep) {
  PutPicture("a.png", 8, 8, kWhite);
  const Printed printed = Run({"--model=tiny.safetensors", "--images=a.png", "--profile"});
  EXPECT_EQ(printed.code, kExitDone) << printed.errors;
  EXPECT_THAT(printed.out, HasSubstr("\nlayers                                 kernel "));
  EXPECT_THAT(printed.out,
              ContainsRegex("\nblock.conv2 \\+ block.add \\+ block.relu2  [a-z].* +[0-9.]+ +[0-9.]+% +14400 "));
  EXPECT_THAT(printed.out, ContainsRegex("\nall .* 100\\.0% +33458 +[0-9.]+"));
  EXPECT_THAT(printed.errors, ContainsRegex("memory: [0-9.]+ KiB for activations; at most [0-9.]+ MiB resident"));
}

TEST_F(RuntimeMainTest, BatchesOfCifar10HaveAccuracies) {
  QuantizedModel model = TinyModel("residual");
  // The same network for larger images, and with two labels that the batch may have.
  std::vector<Layer> layers = model.graph.layers();
  layers[0].op = Input{3, 32, 32};
  std::get<Linear>(layers.back().op).out_features = 10;
  model.graph = *Graph::Create(layers);
  PackedWeight& linear = model.weights.at("linear");
  linear.shape = {10, 10};
  linear.codes += linear.codes;
  linear.params.scale.insert(linear.params.scale.end(), 5, 1e-9f);
  linear.params.zero_point.insert(linear.params.zero_point.end(), 5, 0.0f);
  TensorBlob& bias = model.parameters.at("linear.bias");
  bias.shape = {10};
  bias.bytes += bias.bytes;
  model.metadata.erase("lowbit.classes");
  PutModel("ten.safetensors", model);
  std::string batch;
  for (int i = 0; i < 30; ++i)
    batch += std::string(1, static_cast<char>(i % 10)) + std::string(3072, static_cast<char>(i * 8));
  Put("batch.bin", batch);
  const Printed printed = Run({"--model=ten.safetensors", "--images=batch.bin", "--top_k=10", "--max_rows=2"});
  EXPECT_EQ(printed.code, kExitDone) << printed.errors;
  EXPECT_THAT(printed.out,
              ContainsRegex("^image +label +top 1 .*\n-.*\nbatch.bin\\[0\\] +0 .*\nbatch.bin\\[1\\] +1 .*\n"
                            "... 30 images in all\n"
                            "top-1 accuracy: 0.[0-9]{4} \\([0-9]+ of 30\\)\n"
                            "top-10 accuracy: 1.0000 \\(30 of 30\\)\n$"));
  EXPECT_THAT(Run({"--model=ten.safetensors", "--images=batch.bin", "--top_k=1", "--max_rows=0"}).out,
              AllOf(HasSubstr("batch.bin[29]"), Not(HasSubstr("in all")), HasSubstr("top-1 accuracy: ")));

  Put("cut.bin", batch.substr(0, 3073 + 3072));
  EXPECT_EQ(
      Error({"--model=ten.safetensors", "--images=cut.bin"}),
      absl::StrCat("error: ", folder_, "/cut.bin: got 6145 bytes, wanted records of 3073: the last one is cut off\n"));
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=batch.bin"}),
            absl::StrCat("error: ", folder_,
                         "/batch.bin: got images of 32 x 32 pixels of 3 channels, wanted 8 x 8 pixels "
                         "of 3 channels\n"));
}

TEST_F(RuntimeMainTest, PicturesThatDoNotFitAreErrors) {
  PutPicture("small.png", 7, 8, kBlack);
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=small.png"}),
            absl::StrCat("error: ", folder_, "/small.png: got 7 x 8 pixels, wanted 8 x 8\n"));
  Put("text.png", "not a picture");
  EXPECT_THAT(Error({"--model=tiny.safetensors", "--images=text.png"}),
              StartsWith(absl::StrCat("error: ", folder_, "/text.png: not a PNG or JPEG picture: ")));
  const std::string whole = EncodePng(RgbImage(8, 8, kBlack));
  Put("cut.png", whole.substr(0, whole.size() - 20));
  EXPECT_THAT(Error({"--model=tiny.safetensors", "--images=cut.png"}),
              StartsWith(absl::StrCat("error: ", folder_, "/cut.png: broken picture: ")));
  fs::create_directories(folder_ + "/empty");
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=empty"}),
            absl::StrCat("error: ", folder_, "/empty: the folder has no PNG or JPEG file\n"));
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=none.png"}),
            absl::StrCat("error: cannot read \"", folder_, "/none.png\": No such file or directory\n"));
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=,"}), "error: --images names no file\n");
}

TEST_F(RuntimeMainTest, NormalizesAsTheModelOrTheFlagsSay) {
  PutPicture("a.png", 8, 8, {10, 60, 200});
  const std::string with_own = Run({"--model=tiny.safetensors", "--images=a.png"}).out;
  QuantizedModel model = TinyModel("residual");
  model.metadata.erase("lowbit.mean");
  model.metadata.erase("lowbit.std");
  PutModel("bare.safetensors", model);
  const std::vector<std::string> bare = {"--model=bare.safetensors", "--images=a.png", "--mean=0.5,0.5,0.5",
                                         "--std=0.25,0.25,0.25"};
  EXPECT_EQ(Run(bare).out, with_own);
  EXPECT_NE(Run({"--model=tiny.safetensors", "--images=a.png", "--mean=0,0,0"}).out, with_own);
  EXPECT_EQ(Error({"--model=bare.safetensors", "--images=a.png"}),
            "error: bare.safetensors: the model has no metadata \"lowbit.mean\", so --mean=<numbers> is needed\n");
  EXPECT_EQ(Error({"--model=bare.safetensors", "--images=a.png", "--mean=1,2,3"}),
            "error: bare.safetensors: the model has no metadata \"lowbit.std\", so --std=<numbers> is needed\n");
  EXPECT_EQ(Error({"--model=tiny.safetensors", "--images=a.png", "--mean=1,2"}),
            "error: --mean: the images have 3 channels, got 2 values\n");
  EXPECT_THAT(Error({"--model=tiny.safetensors", "--images=a.png", "--std=1,0,1"}),
              HasSubstr("error: --std[1]: must be positive"));
  EXPECT_THAT(Error({"--model=tiny.safetensors", "--images=a.png", "--std=1,x,1"}),
              HasSubstr("--std: wanted numbers with commas between them, got \"1,x,1\""));
}

TEST_F(RuntimeMainTest, MetadataThatIsNoNormalizationIsAnError) {
  PutPicture("a.png", 8, 8, kWhite);
  QuantizedModel model = TinyModel("residual");
  model.metadata["lowbit.mean"] = "0.5";
  PutModel("one.safetensors", model);
  EXPECT_EQ(Error({"--model=one.safetensors", "--images=a.png"}),
            "error: one.safetensors: mean: the images have 3 channels, got 1 values\n");
  model.metadata["lowbit.mean"] = "grey";
  PutModel("text.safetensors", model);
  EXPECT_EQ(
      Error({"--model=text.safetensors", "--images=a.png"}),
      "error: text.safetensors: metadata \"lowbit.mean\": wanted numbers with commas between them, got \"grey\"\n");
}

TEST_F(RuntimeMainTest, NamesOfAnotherNumberOfClassesAreAnError) {
  PutPicture("a.png", 8, 8, kWhite);
  QuantizedModel model = TinyModel("residual");
  model.metadata["lowbit.classes"] = "ant\nbee";
  PutModel("odd.safetensors", model);
  EXPECT_EQ(Error({"--model=odd.safetensors", "--images=a.png"}),
            "error: odd.safetensors: it names 2 classes, but puts out 5 numbers\n");
}

TEST_F(RuntimeMainTest, FlagsOutOfRangeAreErrors) {
  const std::vector<std::string> good = {"--model=tiny.safetensors", "--images=a.png"};
  for (const char* flag :
       {"--top_k=0", "--max_rows=-1", "--threads=-1", "--threads=1025", "--batch_size=0", "--repeat=0"}) {
    std::vector<std::string> arguments = good;
    arguments.push_back(flag);
    EXPECT_THAT(Error(arguments), StartsWith(absl::StrCat("error: ", flag, ": must be in ["))) << flag;
  }
  EXPECT_EQ(Error({"--images=a.png"}), "error: --model=<file> is missing; --help says more\n");
  EXPECT_EQ(Error({"--model=a"}), "error: --images=<files> is missing; --help says more\n");
  EXPECT_EQ(Error({"a.png"}), "error: \"a.png\" is no flag; images are given as --images=<files>\n");
}

}  // namespace
}  // namespace lowbit
