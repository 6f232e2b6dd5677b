# The emulator as a library, and how kernels are built for it.
if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(STATUS "the CUDA emulator runs on x86-64 Linux only: kernels are not tested")
  return()
endif()

file(GLOB emulator_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cc ${CMAKE_CURRENT_LIST_DIR}/ptx/*.cc)
list(FILTER emulator_sources EXCLUDE REGEX "_test\\.cc$")
add_library(cuda_emulator STATIC ${emulator_sources})
# Its headers take the place of the toolkit's.
target_include_directories(cuda_emulator BEFORE PUBLIC ${CMAKE_CURRENT_LIST_DIR}/include ${CMAKE_CURRENT_LIST_DIR}/..)
target_compile_definitions(cuda_emulator PUBLIC STEELYARD_CUDA_EMULATED)
target_compile_options(cuda_emulator PRIVATE -O2 PUBLIC -Wno-unknown-pragmas)
target_link_libraries(cuda_emulator PRIVATE steelyard_warnings)

# Kernels spend their time in fmaf: an instruction where the building machine has it, else a call.
include(CheckCXXSourceRuns)
check_cxx_source_runs("int main() { return !__builtin_cpu_supports(\"fma\"); }" STEELYARD_HOST_HAS_FMA)
if(STEELYARD_HOST_HAS_FMA)
  target_compile_options(cuda_emulator PUBLIC -mfma)
endif()

# steelyard_emulated_kernels(<target> <.cu file>...): their text as C++, through one-line files, because how a source is
# compiled cannot differ between targets of one folder.
function(steelyard_emulated_kernels target)
  set(instances)
  foreach(source ${ARGN})
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
    set(instance ${PROJECT_BINARY_DIR}/emulated/${name}.cc)
    file(CONFIGURE OUTPUT ${instance} CONTENT "#include \"${source}\"\n")
    list(APPEND instances ${instance})
  endforeach()
  add_library(${target} STATIC ${instances})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${target} PUBLIC cuda_emulator PRIVATE steelyard_warnings)
endfunction()

file(GLOB probe_kernels CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cu)
steelyard_emulated_kernels(emulator_kernels ${probe_kernels})
steelyard_test(cuda_emulator emulator_kernels)
# With nvcc, the same kernels also as the PTX it emits; without, tests of it are skipped.
set(probes_ptx "")
if(STEELYARD_CUDA)
  set(probes_ptx ${PROJECT_BINARY_DIR}/ptx/probes.ptx)
  steelyard_ptx(probes_ptx_built ${probes_ptx} ${CMAKE_CURRENT_LIST_DIR}/kernels/probes.cu -I${CMAKE_CURRENT_LIST_DIR}/..)
  add_dependencies(cuda_emulator_test probes_ptx_built)
endif()
target_compile_definitions(cuda_emulator_test PRIVATE STEELYARD_PTX_PROBES="${probes_ptx}")
