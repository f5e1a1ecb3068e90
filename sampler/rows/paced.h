// Loops that run in pieces and ask the row's Pace between them.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_PACED_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_PACED_H_

#include <algorithm>
#include <cstddef>

#include "sampler/rows/pace.h"

namespace token_sampler {

// Thrown on the asking thread when a Pace says to stop. The functions that sample or describe a row
// catch it and fail the row. Loops that threads share do not ask.
struct Interrupted {};

// Items in a piece: under a millisecond if an item takes some 30 ns.
inline constexpr size_t kPieceItems = size_t{1} << 14;

// The same if an item takes some 200 ns because it waits for memory that is in no cache.
inline constexpr size_t kScatteredItems = kPieceItems / 4;

// Asks `pace`, if it is not null. Throws Interrupted if it says to stop.
inline void Ask(Pace* pace) {
  if (pace != nullptr && !pace->GoOn()) throw Interrupted();
}

// Calls body(begin, end) for the pieces of [0, count) in order, and asks between two. Without a
// pace there is one piece.
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

// The same for a body(i) that accesses long arrays in no order.
template <class Body>
void ForEachScattered(Pace* pace, size_t count, const Body& body) {
  InPieces(pace, count, kScatteredItems, [&body](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) body(i);
  });
}

// vector.resize(size) in pieces, because touching memory for the first time takes longer than most
// loops.
template <class Vector>
void ResizePaced(Pace* pace, size_t size, Vector& vector) {
  if (vector.size() > size) vector.resize(size);
  const size_t before = vector.size();
  vector.reserve(size);
  InPieces(pace, size - before, kPieceItems * 4,
           [&](size_t, size_t end) { vector.resize(before + end); });
}

// Touches items[0, count), whose values do not matter yet, so that a later loop that does not ask
// need not wait for their memory. Does nothing without a pace.
template <class Item>
void TouchPaced(Pace* pace, size_t count, Item* items) {
  constexpr size_t kPageItems = 4096 / sizeof(Item);
  if (pace == nullptr) return;
  for (size_t i = 0; i < count; i += kPageItems) items[i] = Item();
  Ask(pace);
}

// Runs `body`, and calls interrupted() if a Pace stopped it.
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
