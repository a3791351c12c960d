#include "evaluation/mistakes.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::Field;

auto Index(int64_t index) { return Field("index", &Mistake::index, index); }

TEST(MostConfidentMistakes, ConfidenceIsTheSoftmaxOfTheWrongClass) {
  MostConfidentMistakes mistakes(10);
  const float three = std::log(3.0f);
  // exp: 1, 3, 1 of class 0; 1, 1, 3 of class 2, which is right.
  mistakes.Add({0, three, 0, 0, 0, three}, {0, 2}, {40, 41});
  ASSERT_EQ(mistakes.mistakes().size(), 1u);
  const Mistake& mistake = mistakes.mistakes()[0];
  EXPECT_EQ(mistake.index, 40);
  EXPECT_EQ(mistake.label, 0);
  EXPECT_EQ(mistake.prediction, 1);
  EXPECT_NEAR(mistake.confidence, 0.6, 1e-7);
}

TEST(MostConfidentMistakes, KeepsTheMostConfidentOnesInOrder) {
  MostConfidentMistakes mistakes(2);
  mistakes.Add({0, 1, 0, 3}, {0, 0}, {0, 1});
  mistakes.Add({0, 2, 5, 0, 0, 9}, {0, 1, 1}, {2, 3, 4});  // the last one is right
  EXPECT_THAT(mistakes.mistakes(), ElementsAre(Index(3), Index(1)));
}

TEST(MostConfidentMistakes, EquallyConfidentOnesComeByIndex) {
  MostConfidentMistakes mistakes(3);
  mistakes.Add({0, 1, 0, 1}, {0, 0}, {9, 7});
  mistakes.Add({1, 0, 0, 1}, {1, 0}, {8, 6});
  EXPECT_THAT(mistakes.mistakes(), ElementsAre(Index(6), Index(7), Index(8)));
}

TEST(MostConfidentMistakes, OfEqualLogitsTheLowerClassIsThePrediction) {
  MostConfidentMistakes mistakes(3);
  mistakes.Add({2, 2, 2, 2}, {0, 1}, {0, 1});
  ASSERT_THAT(mistakes.mistakes(), ElementsAre(Index(1)));
  EXPECT_EQ(mistakes.mistakes()[0].confidence, 0.5);
}

TEST(MostConfidentMistakes, LargeLogitsDoNotOverflow) {
  MostConfidentMistakes mistakes(1);
  mistakes.Add({-3e38f, 3e38f}, {0}, {5});
  EXPECT_EQ(mistakes.mistakes()[0].confidence, 1);
}

TEST(MostConfidentMistakes, NoneWanted) {
  MostConfidentMistakes mistakes(0);
  mistakes.Add({0, 1}, {0}, {0});
  EXPECT_THAT(mistakes.mistakes(), ElementsAre());
}

}  // namespace
}  // namespace lowbit
