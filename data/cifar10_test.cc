#include "data/cifar10.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

using testing::ElementsAre;

constexpr int kRecordBytes = 3073;
constexpr int kRecords = 10000;

struct Labelled {
  std::vector<uint8_t> chw;
  int label;
};

Labelled Get(const Dataset& dataset, int64_t index) {
  Labelled image{std::vector<uint8_t>(static_cast<size_t>(dataset.image_shape().size())), -1};
  const absl::Status status = dataset.Get(index, image.chw.data(), &image.label);
  EXPECT_TRUE(status.ok()) << status;
  return image;
}

// What SetUp() writes as record `record` of file `file` (6: the test images): pixels that differ from place to place,
// from record to record and from file to file.
Labelled Made(int file, int record) {
  Labelled image;
  for (int i = 0; i < kRecordBytes - 1; ++i) {
    image.chw.push_back(static_cast<uint8_t>(i % 251 + i / 1024 * 5 + record % 97 + 37 * file));
  }
  image.label = (record + file) % 10;
  return image;
}

// A folder with six files of the right size. Only the records in kWritten are there, the rest are holes, which read as
// zeros and take no space on the disk.
class Cifar10Test : public testing::Test {
 protected:
  static constexpr int kWritten[] = {0, 1, 4567, 9998, 9999};

  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              absl::StrCat(testing::UnitTest::GetInstance()->current_test_info()->name(), "-", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (int file = 1; file <= 6; ++file) {
      std::ofstream(Path(file)).flush();
      fs::resize_file(Path(file), int64_t{kRecords} * kRecordBytes);
      for (const int record : kWritten) {
        const Labelled made = Made(file, record);
        std::string bytes(1, static_cast<char>(made.label));
        bytes.append(made.chw.begin(), made.chw.end());
        Overwrite(file, int64_t{record} * kRecordBytes, bytes);
      }
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(int file) const {
    return (folder_ / (file == 6 ? "test_batch.bin" : absl::StrCat("data_batch_", file, ".bin"))).string();
  }

  void Overwrite(int file, int64_t offset, const std::string& bytes) const {
    std::fstream stream(Path(file), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(offset);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(stream.flush());
  }

  absl::Status Open(Split split) const { return OpenCifar10(folder_.string(), split).status(); }

  fs::path folder_;
};

TEST_F(Cifar10Test, TrainingImagesLieWhereTheFilesHaveThem) {
  const auto dataset = OpenCifar10(folder_.string(), Split::kTrain);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 50000);
  EXPECT_EQ((*dataset)->image_shape(), (ImageShape{3, 32, 32}));
  for (int file = 1; file <= 5; ++file) {
    for (const int record : kWritten) {
      const Labelled image = Get(**dataset, (file - 1) * 10000 + record);
      EXPECT_EQ(image.label, Made(file, record).label);
      EXPECT_EQ(image.chw, Made(file, record).chw) << "file " << file << ", record " << record;
    }
    const Labelled hole = Get(**dataset, (file - 1) * 10000 + 2);
    EXPECT_EQ(hole.label, 0);
    EXPECT_THAT(hole.chw, testing::Each(0));
  }
  EXPECT_EQ((*dataset)->Get(50000, nullptr, nullptr), absl::OutOfRangeError("image 50000 of a data set of 50000"));
}

TEST_F(Cifar10Test, TestImagesNeedNoTrainingFiles) {
  for (int file = 1; file <= 5; ++file) fs::remove(Path(file));
  const auto dataset = OpenCifar10(folder_.string(), Split::kTest);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 10000);
  for (const int record : kWritten) {
    const Labelled image = Get(**dataset, record);
    EXPECT_EQ(image.label, Made(6, record).label);
    EXPECT_EQ(image.chw, Made(6, record).chw) << "record " << record;
  }
}

TEST_F(Cifar10Test, MissingFolder) {
  const std::string none = (folder_ / "none").string();
  EXPECT_EQ(OpenCifar10(none, Split::kTrain).status(),
            absl::NotFoundError(absl::StrCat("CIFAR-10: ", none,
                                             " is not a folder; wanted one that holds data_batch_1.bin"
                                             " to data_batch_5.bin")));
  // A file is not a folder either.
  EXPECT_EQ(OpenCifar10(Path(6), Split::kTest).status(),
            absl::NotFoundError(
                absl::StrCat("CIFAR-10: ", Path(6), " is not a folder; wanted one that holds test_batch.bin")));
}

TEST_F(Cifar10Test, MissingFile) {
  fs::remove(Path(3));
  fs::remove(Path(6));
  EXPECT_EQ(Open(Split::kTrain),
            absl::NotFoundError(absl::StrCat("cannot read \"", Path(3), "\": No such file or directory")));
  EXPECT_EQ(Open(Split::kTest),
            absl::NotFoundError(absl::StrCat("cannot read \"", Path(6), "\": No such file or directory")));
}

TEST_F(Cifar10Test, FileThatIsCutOff) {
  fs::resize_file(Path(5), 30729999);
  EXPECT_EQ(Open(Split::kTrain),
            absl::InvalidArgumentError(absl::StrCat(Path(5),
                                                    ": the file is cut off: got 30729999 bytes, wanted 30730000 "
                                                    "(10000 records of 3073)")));
  fs::resize_file(Path(6), 0);
  EXPECT_EQ(Open(Split::kTest),
            absl::InvalidArgumentError(
                absl::StrCat(Path(6), ": the file is cut off: got 0 bytes, wanted 30730000 (10000 records of 3073)")));
}

TEST_F(Cifar10Test, OneFileMayHaveAnyNumberOfRecords) {
  fs::resize_file(Path(6), 2 * kRecordBytes);
  const auto dataset = OpenCifar10File(Path(6));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 2);
  EXPECT_EQ((*dataset)->class_names(), Cifar10ClassNames());
  EXPECT_EQ(Get(**dataset, 1).label, Made(6, 1).label);
  EXPECT_EQ(Get(**dataset, 1).chw, Made(6, 1).chw);
}

TEST_F(Cifar10Test, OneFileThatIsCutOff) {
  fs::resize_file(Path(6), 2 * kRecordBytes - 1);
  EXPECT_EQ(OpenCifar10File(Path(6)).status(),
            absl::InvalidArgumentError(
                absl::StrCat(Path(6), ": got 6145 bytes, wanted records of 3073: the last one is cut off")));
  fs::resize_file(Path(6), 0);
  EXPECT_EQ(OpenCifar10File(Path(6)).status(),
            absl::InvalidArgumentError(absl::StrCat(Path(6), ": got 0 bytes, wanted records of 3073")));
  fs::resize_file(Path(6), kRecordBytes);
  Overwrite(6, 0, std::string(1, 10));
  EXPECT_EQ(OpenCifar10File(Path(6)).status(),
            absl::InvalidArgumentError(absl::StrCat(Path(6), ": record 0 (byte 0): got label 10, wanted 0 to 9")));
}

TEST_F(Cifar10Test, FileThatIsTooLong) {
  fs::resize_file(Path(1), 30730001);
  EXPECT_EQ(Open(Split::kTrain),
            absl::InvalidArgumentError(absl::StrCat(Path(1),
                                                    ": the file has extra bytes: got 30730001 bytes, wanted "
                                                    "30730000 (10000 records of 3073)")));
}

TEST_F(Cifar10Test, LabelAboveNine) {
  Overwrite(2, 7 * kRecordBytes, std::string(1, 10));
  EXPECT_EQ(Open(Split::kTrain),
            absl::InvalidArgumentError(absl::StrCat(Path(2), ": record 7 (byte 21511): got label 10, wanted 0 to 9")));
  // A label is a byte, not a char with a sign.
  Overwrite(6, 9999 * kRecordBytes, "\xff");
  EXPECT_EQ(Open(Split::kTest), absl::InvalidArgumentError(absl::StrCat(
                                    Path(6), ": record 9999 (byte 30726927): got label 255, wanted 0 to 9")));
}

// ---- The real files ----

std::string FetchedFolder() {
  const char* root = std::getenv("TEST_SRCDIR");
  return absl::StrCat(root == nullptr ? "" : root, "/cifar10");
}

// The pixel's red, green and blue.
std::vector<int> Pixel(const Labelled& image, int position) {
  return {image.chw[position], image.chw[1024 + position], image.chw[2048 + position]};
}

std::vector<int> ClassCounts(const Dataset& dataset) {
  std::vector<int> counts(10, 0);
  for (int64_t i = 0; i < dataset.size(); ++i) ++counts[static_cast<size_t>(Get(dataset, i).label)];
  return counts;
}

TEST(RealCifar10Test, TrainingImages) {
  const auto dataset = OpenCifar10(FetchedFolder(), Split::kTrain);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 50000);
  EXPECT_EQ((*dataset)->num_classes(), 10);
  EXPECT_THAT((*dataset)->class_names(),
              ElementsAre("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"));
  EXPECT_EQ(ClassCounts(**dataset), std::vector<int>(10, 5000));
  const Labelled frog = Get(**dataset, 0);
  EXPECT_EQ((*dataset)->class_names()[frog.label], "frog");
  EXPECT_THAT(Pixel(frog, 0), ElementsAre(59, 62, 63));
  EXPECT_THAT(Pixel(frog, 1), ElementsAre(43, 46, 45));
  const Labelled automobile = Get(**dataset, 49999);
  EXPECT_EQ((*dataset)->class_names()[automobile.label], "automobile");
  EXPECT_THAT(Pixel(automobile, 0), ElementsAre(229, 229, 239));
}

TEST(RealCifar10Test, TestImages) {
  const auto dataset = OpenCifar10(FetchedFolder(), Split::kTest);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 10000);
  EXPECT_EQ(ClassCounts(**dataset), std::vector<int>(10, 1000));
  const Labelled cat = Get(**dataset, 0);
  EXPECT_EQ((*dataset)->class_names()[cat.label], "cat");
  EXPECT_THAT(Pixel(cat, 0), ElementsAre(158, 112, 49));
  const Labelled horse = Get(**dataset, 9999);
  EXPECT_EQ((*dataset)->class_names()[horse.label], "horse");
  EXPECT_EQ(horse.chw[3071], 26);
}

}  // namespace
}  // namespace lowbit
