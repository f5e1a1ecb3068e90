// Sorts that can be interrupted.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_KEY_SORT_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_KEY_SORT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"

namespace token_sampler {

// Sorts items[0, count) by ascending key_of(item), a uint64_t or uint32_t, in linear time; items of
// equal keys come in any order. Items whose keys differ only in the lowest `kSorted` bytes must
// already be in order. Overwrites `scratch`, and keeps its allocation for the next call.
template <size_t kSorted = 0, class Item, class KeyOf>
void SortByKey(Pace* pace, Item* items, size_t count, const KeyOf& key_of,
               LargeVector<Item>& scratch) {
  constexpr size_t kFew = 2048;  // up to which a sort by comparisons is faster
  if (count <= kFew) {
    std::sort(items, items + count,
              [&](const Item& a, const Item& b) { return key_of(a) < key_of(b); });
    return;
  }
  // A radix sort by one byte after the other, from the least significant.
  constexpr size_t kBytes = sizeof(key_of(*items));
  constexpr size_t kValues = 256;
  constexpr size_t kPiece = size_t{1} << 16;
  constexpr size_t kMoved = kPiece / 4;  // smaller: writing to 256 places takes longer than
                                         // counting
  std::array<std::array<size_t, kValues>, kBytes> counts = {};
  InPieces(pace, count, kPiece, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const uint64_t key = key_of(items[i]);
      for (size_t byte = kSorted; byte < kBytes; ++byte) ++counts[byte][(key >> (8 * byte)) & 0xff];
    }
  });
  ResizePaced(pace, count, scratch);
  Item* from = items;
  Item* to = scratch.data();
  for (size_t byte = kSorted; byte < kBytes; ++byte) {
    const uint64_t first = (uint64_t{key_of(from[0])} >> (8 * byte)) & 0xff;
    if (counts[byte][first] == count) continue;  // all keys have the same byte
    std::array<size_t, kValues> place;
    size_t before = 0;
    for (size_t value = 0; value < kValues; ++value) {
      place[value] = before;
      before += counts[byte][value];
    }
    Ask(pace);
    InPieces(pace, count, kMoved, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        to[place[(uint64_t{key_of(from[i])} >> (8 * byte)) & 0xff]++] = from[i];
      }
    });
    std::swap(from, to);
  }
  if (from == items) return;
  InPieces(pace, count, kPiece,
           [&](size_t begin, size_t end) { std::copy(from + begin, from + end, items + begin); });
}

// Sorts `items` by `less`, by merging sorted pieces. No two items may be equal.
template <class Item, class Less>
void SortPaced(Pace* pace, LargeVector<Item>& items, const Less& less) {
  constexpr size_t kFew = kPieceItems / 2;
  constexpr size_t kMerged = kPieceItems / 4;  // merging may touch memory for the first time
  if (pace == nullptr || items.size() <= kFew) {
    std::sort(items.begin(), items.end(), less);
    return;
  }
  InPieces(pace, items.size(), kFew, [&](size_t begin, size_t end) {
    std::sort(items.data() + begin, items.data() + end, less);
  });
  LargeVector<Item> merged;
  merged.reserve(items.size());
  for (size_t width = kFew; width < items.size(); width *= 2) {
    merged.clear();
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size());
      const size_t end = std::min(begin + 2 * width, items.size());
      size_t left = begin;
      size_t right = middle;
      while (left < middle || right < end) {
        const bool take_left = right == end || (left < middle && less(items[left], items[right]));
        merged.push_back(items[take_left ? left++ : right++]);
        if (merged.size() % kMerged == 0) Ask(pace);
      }
    }
    items.swap(merged);
  }
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_KEY_SORT_H_
