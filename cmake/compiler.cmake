# Language level, warnings, sanitizers. Floating point is strict everywhere: no contraction to FMA behind our back, so
# that scalar and vector code give the same bytes.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

# The libraries also become part of Python's module, which is a shared object. Functions are not replaced at load time, so
# they may be inlined as in a program.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-semantic-interposition>)

add_library(steelyard_warnings INTERFACE)
target_compile_options(steelyard_warnings INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers)

# GCC 12 warns of std::string's own copies where it inlines them (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(steelyard_warnings INTERFACE -Wno-restrict)
endif()

# AddressSanitizer and UndefinedBehaviorSanitizer; with the instrumentation of libFuzzer, too, which counts the edges that
# an input reaches (docs/fuzzing.md), and with the checks of the standard library; or ThreadSanitizer.
if(STEELYARD_SANITIZE MATCHES "^(address|fuzzer)$")
  set(sanitizers address,undefined)
  add_compile_options(-fno-sanitize-recover=all)
elseif(STEELYARD_SANITIZE STREQUAL thread)
  set(sanitizers thread)
elseif(STEELYARD_SANITIZE)
  message(FATAL_ERROR "STEELYARD_SANITIZE is ${STEELYARD_SANITIZE}, expected address, fuzzer, thread or nothing")
endif()
if(STEELYARD_SANITIZE)
  add_compile_options(-fsanitize=${sanitizers} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${sanitizers})
endif()
if(STEELYARD_SANITIZE STREQUAL fuzzer)
  add_compile_options(-fsanitize=fuzzer-no-link -D_GLIBCXX_ASSERTIONS)
endif()
