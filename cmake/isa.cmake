# Instruction sets. Some sources are compiled once per instruction set, each time into a namespace of its own (macro
# STEELYARD_ISA): *.isa.cc, and src/formats but its registry. Code beside them picks one at run time. What such a source
# shares with others must be inlined or small enough to be: the linker keeps one copy of a function for everyone, and it
# may be that of the widest instruction set. In an optimized build `nm` shows no such copy in their objects.
# -Wno-psabi: 64-byte vectors are passed between inlined functions of one file only, so their ABI does not matter.
set(STEELYARD_ISA_FLAGS_scalar -Wno-psabi)
set(STEELYARD_ISA_FLAGS_avx2 -Wno-psabi -mavx2 -mfma -mf16c -mbmi2)
# GCC 12 warns of uninitialized values within its own AVX-512 intrinsics.
set(STEELYARD_ISA_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512)

# steelyard_isa_sources(<target> <source under src/>...)
function(steelyard_isa_sources target)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/${source} PROPERTIES HEADER_FILE_ONLY ON)
    foreach(isa scalar avx2 avx512)
      set(instance ${PROJECT_BINARY_DIR}/isa/${source}.${isa}.cc)
      file(CONFIGURE OUTPUT ${instance} CONTENT "#define STEELYARD_ISA ${isa}\n#include \"${source}\"\n")
      set_source_files_properties(${instance} PROPERTIES COMPILE_OPTIONS "${STEELYARD_ISA_FLAGS_${isa}}")
      target_sources(${target} PRIVATE ${instance})
    endforeach()
  endforeach()
endfunction()
