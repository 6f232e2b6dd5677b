# Targets of src/simd/targets.def. Some sources are compiled once per target, each time into a namespace of its own (macro
# STEELYARD_TARGET): *.simd.cc, and src/formats but its registry. Code beside them picks one at run time. What such a
# source shares with others must be inlined: the linker keeps one copy of a function for everyone, and it may be that of
# the widest target. tests/simd/symbols_test.cc looks for such copies in the program.
# Clang cannot know which 64-byte vectors are passed on; all are, between inlined functions of one file only.
set(simd_warnings -Wno-psabi)
# GCC 12 warns of uninitialized values within its own AVX-512 intrinsics.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND simd_warnings -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(simd_targets)
set(encoder_targets)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/simd/targets.def)
file(STRINGS ${PROJECT_SOURCE_DIR}/src/simd/targets.def lines REGEX "^TARGET\\(")
foreach(line ${lines})
  string(REGEX MATCH "^TARGET\\([A-Za-z0-9]+, ([a-z0-9]+), ([a-z0-9]+), \"([^\"]*)\"" found "${line}")
  set(name ${CMAKE_MATCH_1})
  set(encoders ${CMAKE_MATCH_2})
  separate_arguments(simd_options_${name} UNIX_COMMAND "${CMAKE_MATCH_3}")
  if(name STREQUAL scalar OR (CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT STEELYARD_SCALAR_ONLY))
    list(APPEND simd_targets ${name})
    list(APPEND encoder_targets ${encoders})
  endif()
endforeach()
list(REMOVE_DUPLICATES encoder_targets)
if(STEELYARD_SCALAR_ONLY)
  add_compile_definitions(STEELYARD_SCALAR_ONLY)
endif()

# The specification, which no program runs: verbs one value at a time (tests/simd/verbs_test.cc).
set(simd_options_one_lane -DSTEELYARD_ONE_LANE)

# steelyard_simd_sources(<library or test> <targets> <source under src/ or tests/>...); the global property
# simd_libraries has all that were called for.
function(steelyard_simd_sources library targets)
  set_property(GLOBAL APPEND PROPERTY simd_libraries ${library})
  foreach(source ${ARGN})
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/${source} PROPERTIES HEADER_FILE_ONLY ON)
    foreach(target ${${targets}})
      set(instance ${PROJECT_BINARY_DIR}/simd/${source}.${target}.cc)
      file(CONFIGURE OUTPUT ${instance} CONTENT "#define STEELYARD_TARGET ${target}\n#include \"${source}\"\n")
      set_source_files_properties(${instance} PROPERTIES COMPILE_OPTIONS "${simd_warnings};${simd_options_${target}}")
      target_sources(${library} PRIVATE ${instance})
    endforeach()
  endforeach()
endfunction()
