#include "client/cli/reports/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace token_sampler::client {
namespace {

constexpr absl::string_view kGap = "  ";
constexpr absl::string_view kEllipsis = "…";
constexpr size_t kNarrowest = 12;
constexpr size_t kDefaultTerminalWidth = 120;

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// The first `count` characters.
absl::string_view Start(absl::string_view text, size_t count) {
  size_t end = 0;
  while (end < text.size() && (count > 0 || IsContinuation(text[end]))) {
    if (!IsContinuation(text[end])) --count;
    ++end;
  }
  return text.substr(0, end);
}

// The last `count` characters.
absl::string_view End(absl::string_view text, size_t count) {
  return text.substr(Start(text, DisplayWidth(text) - count).size());
}

std::string Cut(absl::string_view text, size_t width, Table::Shrink shrink) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (shrink == Table::Shrink::kCutStart) return absl::StrCat(kEllipsis, End(text, width - 1));
  return absl::StrCat(Start(text, width - 1), kEllipsis);
}

}  // namespace

void Table::AddColumn(std::string title, Align align, Shrink shrink) {
  columns_.push_back({std::move(title), align, shrink});
}

void Table::AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::vector<size_t> Table::Widths(size_t width) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t widest = DisplayWidth(columns_[c].title);
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[c]));
    widths.push_back(widest);
  }
  const size_t gaps = columns_.empty() ? 0 : kGap.size() * (columns_.size() - 1);
  while (std::accumulate(widths.begin(), widths.end(), gaps) > width) {
    size_t* widest = nullptr;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c].shrink == Shrink::kNever) continue;
      if (widths[c] > kNarrowest && (widest == nullptr || widths[c] > *widest)) {
        widest = &widths[c];
      }
    }
    if (widest == nullptr) break;
    --*widest;
  }
  return widths;
}

void Table::AppendLine(const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                       std::string& text) const {
  std::string line;
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (c > 0) line.append(kGap.data(), kGap.size());
    const std::string cell = Cut(cells[c], widths[c], columns_[c].shrink);
    const std::string padding(widths[c] - std::min(widths[c], DisplayWidth(cell)), ' ');
    absl::StrAppend(&line, columns_[c].align == Align::kRight ? padding : "", cell,
                    columns_[c].align == Align::kLeft ? padding : "");
  }
  absl::StripTrailingAsciiWhitespace(&line);
  absl::StrAppend(&text, line, "\n");
}

std::string Table::Render(size_t width) const {
  const std::vector<size_t> widths = Widths(width);
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::string text;
  AppendLine(titles, widths, text);
  for (const auto& row : rows_) AppendLine(row, widths, text);
  return text;
}

size_t DisplayWidth(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !IsContinuation(byte); }));
}

std::string Printable(absl::string_view text) {
  std::string printable;
  for (char byte : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(byte))) {
      absl::StrAppend(&printable, absl::CHexEscape(absl::string_view(&byte, 1)));
    } else {
      printable.push_back(byte);
    }
  }
  return printable;
}

size_t TerminalWidth() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  uint32_t width = 0;
  if (columns != nullptr && absl::SimpleAtoi(columns, &width) && width > 0) return width;
  return kDefaultTerminalWidth;
}

}  // namespace token_sampler::client
