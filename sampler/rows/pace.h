// How a long computation shares its threads: it asks between pieces of work whether to go on.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_

namespace token_sampler {

// Thread-safe: several threads may work on one row.
class Pace {
 public:
  virtual ~Pace() = default;

  // Call it between pieces of about a millisecond of work or less, holding no lock. May block while
  // others have their turn. False, now and ever after: nobody wants the result any more; the caller
  // returns as soon as it can, and what it has computed means nothing.
  virtual bool GoOn() = 0;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_PACE_H_
