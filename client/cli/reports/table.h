// Aligned columns of text that fit the terminal.

#ifndef TOKEN_SAMPLER_CLIENT_CLI_REPORTS_TABLE_H_
#define TOKEN_SAMPLER_CLIENT_CLI_REPORTS_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace token_sampler::client {

class Table {
 public:
  enum class Align { kLeft, kRight };
  // How a column shrinks when the table is too wide.
  enum class Shrink { kNever, kCutStart, kCutEnd };

  void AddColumn(std::string title, Align align, Shrink shrink = Shrink::kNever);

  // Adds a row with one cell per column.
  void AddRow(std::vector<std::string> cells);

  // The title line and the rows, each with a newline. Shrinks the columns that may shrink, the
  // widest first, until lines have at most `width` characters or nothing is left to shrink.
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

// The number of characters of UTF-8 text. A byte that is not UTF-8 counts as one.
size_t DisplayWidth(absl::string_view text);

// The text with control characters as C escapes, so that it stays on its line.
std::string Printable(absl::string_view text);

// The width of the terminal on standard output, else $COLUMNS, else 120.
size_t TerminalWidth();

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_CLI_REPORTS_TABLE_H_
