// STEELYARD_CHECK: an assumption about our own code, checked in every build. Never used on foreign input (that is
// Error).
#pragma once

#include <cstdio>
#include <cstdlib>

// The name alone: a path of the source tree has no business in a program that is installed elsewhere.
#ifdef __FILE_NAME__
#define STEELYARD_FILE_NAME __FILE_NAME__
#else
#define STEELYARD_FILE_NAME __FILE__
#endif

/// Aborts with file, line and the condition when `condition` is false.
#define STEELYARD_CHECK(condition)                                                                           \
  do {                                                                                                       \
    if (!(condition)) [[unlikely]] {                                                                         \
      std::fprintf(stderr, "%s:%d: internal check failed: %s\n", STEELYARD_FILE_NAME, __LINE__, #condition); \
      std::abort();                                                                                          \
    }                                                                                                        \
  } while (false)
