// Early return from functions that return absl::Status or absl::StatusOr: the rest of the function
// reads as if nothing could fail. The only header of macros; it needs nothing but Abseil.

#ifndef TOKEN_SAMPLER_SAMPLER_STATUS_MACROS_H_
#define TOKEN_SAMPLER_SAMPLER_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Evaluates `expr`, an absl::Status, once. Returns it from the calling function unless it is OK.
#define RETURN_IF_ERROR(expr)                                                              \
  do {                                                                                     \
    if (absl::Status status_of_expr = (expr); !status_of_expr.ok()) return status_of_expr; \
  } while (false)

// Evaluates `expr`, an absl::StatusOr, once. Returns its status from the calling function unless it
// is OK; otherwise initialises the declaration `lhs` or assigns to the variable `lhs`:
//   ASSIGN_OR_RETURN(const DataType type, ParseDataType(name));
#define ASSIGN_OR_RETURN(lhs, expr) \
  TOKEN_SAMPLER_ASSIGN_OR_RETURN(TOKEN_SAMPLER_JOIN(result_of_line_, __LINE__), lhs, expr)

// Declares `result`, and perhaps `lhs`, so these cannot be in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define TOKEN_SAMPLER_ASSIGN_OR_RETURN(result, lhs, expr) \
  auto result = (expr);                                   \
  if (!result.ok()) return std::move(result).status();    \
  lhs = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)
#define TOKEN_SAMPLER_JOIN(a, b) TOKEN_SAMPLER_JOIN_EXPANDED(a, b)
#define TOKEN_SAMPLER_JOIN_EXPANDED(a, b) a##b

#endif  // TOKEN_SAMPLER_SAMPLER_STATUS_MACROS_H_
