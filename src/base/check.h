// STEELYARD_CHECK: an assumption about our own code, checked in every build. Never used on foreign input (that is
// Error).
#pragma once

#include <cstdio>
#include <cstdlib>

/// Aborts with file, line and the condition when `condition` is false.
#define STEELYARD_CHECK(condition)                                                                \
  do {                                                                                            \
    if (!(condition)) [[unlikely]] {                                                              \
      std::fprintf(stderr, "%s:%d: internal check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                               \
    }                                                                                             \
  } while (false)
