// True in builds with sanitizers, where each case takes many times as long: there tests run fewer
// of the cases that differ only in values, which sanitizers do not check.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_SANITIZERS_H_
#define TOKEN_SAMPLER_TESTS_TESTING_SANITIZERS_H_

namespace token_sampler::testing {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TOKEN_SAMPLER_TESTS_SANITIZED
#endif
#endif

#ifdef TOKEN_SAMPLER_TESTS_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_SANITIZERS_H_
