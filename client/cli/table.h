// Aligned columns of text that fit the terminal.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_TABLE_H_
#define TOKEN_SAMPLER_CLIENT_CLI_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace token_sampler::client {

class Table {
 public:
  enum class Align { kLeft, kRight };
  // What a column gives up when the table is too wide.
  enum class Shrink { kNever, kCutStart, kCutEnd };

  void AddColumn(std::string title, Align align, Shrink shrink = Shrink::kNever);

  // One cell per column.
  void AddRow(std::vector<std::string> cells);

  // Title line and rows, each ending in a newline. Columns that may shrink do, the widest first,
  // until the lines have at most `width` characters or nothing is left to give.
  std::string Render(size_t width) const;

 private:
  struct Column {
    std::string title;
    Align align;
    Shrink shrink;
  };
  std::vector<size_t> Widths(size_t width) const;
  void AppendLine(const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                  std::string& text) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Characters of UTF-8 text; a byte that is no UTF-8 counts as one.
size_t DisplayWidth(absl::string_view text);

// The text with control characters written as C escapes, so that it keeps to its line.
std::string Printable(absl::string_view text);

// Columns of the terminal that standard output is, else $COLUMNS, else 120.
size_t TerminalWidth();

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_TABLE_H_
