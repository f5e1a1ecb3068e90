// Lets a long computation share its threads: between pieces of work it asks whether to go on.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_

namespace token_sampler {

// Thread-safe: several threads may work on one row.
class Pace {
 public:
  virtual ~Pace() = default;

  // Call it between pieces of work of at most about a millisecond, without holding a lock. May
  // block while others have their turn. False, from then on always, if nobody wants the result any
  // more: return as soon as possible, and discard what was computed.
  virtual bool GoOn() = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_
