// Long loops in pieces, between which the row's Pace is asked.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_PACED_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_PACED_H_

#include <algorithm>
#include <cstddef>

#include "sampler/rows/pace.h"

namespace token_sampler {

// Thrown where a Pace says to stop, on the thread that asked. What samples a row catches it, and it
// leaves no interface that takes a RowResult; nothing asks inside a loop that threads share.
struct Interrupted {};

// Items of a piece: under a millisecond where one takes some 30 ns.
inline constexpr size_t kPieceItems = size_t{1} << 14;

// The same where one takes some 200 ns, for it waits for memory that no cache has.
inline constexpr size_t kScatteredItems = kPieceItems / 4;

// Null asks nobody. Throws Interrupted.
inline void Ask(Pace* pace) {
  if (pace != nullptr && !pace->GoOn()) throw Interrupted();
}

// Calls body(begin, end) for one piece of [0, count) after the other, and asks between two. Without
// a pace there is one piece.
template <class Body>
void InPieces(Pace* pace, size_t count, size_t piece, const Body& body) {
  const size_t step = pace == nullptr ? count : piece;
  for (size_t begin = 0; begin < count;) {
    const size_t end = begin + std::min(step, count - begin);
    body(begin, end);
    if (end < count) Ask(pace);
    begin = end;
  }
}

// Calls body(i) for each i of [0, count), in order.
template <class Body>
void ForEachPaced(Pace* pace, size_t count, const Body& body) {
  InPieces(pace, count, kPieceItems, [&body](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) body(i);
  });
}

// The same where body(i) leads to places of long arrays that lie in no order.
template <class Body>
void ForEachScattered(Pace* pace, size_t count, const Body& body) {
  InPieces(pace, count, kScatteredItems, [&body](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) body(i);
  });
}

// vector.resize(size): memory that is touched for the first time takes longer than most loops.
template <class Vector>
void ResizePaced(Pace* pace, size_t size, Vector& vector) {
  if (vector.size() > size) vector.resize(size);
  const size_t before = vector.size();
  vector.reserve(size);
  InPieces(pace, size - before, kPieceItems * 4,
           [&](size_t, size_t end) { vector.resize(before + end); });
}

// Touches items[0, count), which mean nothing yet, so that what fills them with others at a time
// finds their memory. Does nothing without a pace.
template <class Item>
void TouchPaced(Pace* pace, size_t count, Item* items) {
  constexpr size_t kPageItems = 4096 / sizeof(Item);
  if (pace == nullptr) return;
  for (size_t i = 0; i < count; i += kPageItems) items[i] = Item();
  Ask(pace);
}

// Runs `body`, and calls interrupted() when a Pace stopped it.
template <class Body, class OnInterrupt>
void RunPaced(const Body& body, const OnInterrupt& interrupted) {
  try {
    body();
  } catch (const Interrupted&) {
    interrupted();
  }
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_PACED_H_
