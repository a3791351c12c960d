#ifndef LOWBIT_PIPELINE_TEXT_POSITION_H_
#define LOWBIT_PIPELINE_TEXT_POSITION_H_

#include <string>

#include "google/protobuf/descriptor.h"

namespace lowbit {

// What stands at a position of a text-format file that may be broken from there on.
struct TextPosition {
  std::string path;  // Of the field that is being read there: "steps[1].fold.check_image". Empty: none.
  int line = 0;      // Where the mistake is, from 0: the field's name while its value has not begun, else the
  int column = 0;    // position that was asked for.
};

// Reads `text`, a message of type `root`, up to a position (line and column from 0, as protobuf's parser reports
// them). The parser itself only says where it gave up, which for an unknown field is the token after its name.
TextPosition FindTextPosition(const std::string& text, const google::protobuf::Descriptor& root, int line, int column);

}  // namespace lowbit

#endif  // LOWBIT_PIPELINE_TEXT_POSITION_H_
